//! `init` writes a configuration that `check-config` accepts.

use serde_json::json;

use super::fake::{Fake, respond};
use crate::support::program::{Place, Ran};
use crate::support::vendor::Vendor;

const HEALTH: &str = r#"{"commit":"x","database":"ok","version":"11.3.0"}"#;

fn init(place: &Place, upstream: &str, root_url: &str, keys: &str) -> Ran {
    place.run(&["init", "--upstream", upstream, "--root-url", root_url, "--issuer-keys", keys])
}

fn with_keys() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path().join("keys")).expect("a directory");
    Vendor::new().write_jwks(&place.path().join("keys"));
    place
}

#[test]
fn the_written_file_is_valid_and_has_the_answers() {
    let grafana = Fake::start(|_| respond(200, "application/json", HEALTH));
    for (upstream, root_url, keys, listen) in [
        (&*grafana.url(), "https://metrics.example.com", "keys/jwks.json", "127.0.0.1:8080"),
        ("http://127.0.0.1:8080", "https://a.example/grafana/", "keys", "127.0.0.1:8081"),
        (
            "unix:/run/\"x\\y\".sock",
            "http://localhost:9999/",
            "https://a/jwks.json",
            "127.0.0.1:9999",
        ),
        ("http://127.0.0.1:3000", "http://a.example:9998/", " keys ", "0.0.0.0:9998"),
    ] {
        let place = with_keys();
        let ran = init(&place, upstream, root_url, keys).exits(0);
        ran.prints("gate.toml is written. Next:").prints("  license-gate serve --config gate.toml");
        let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
        assert_eq!((&*ran.out, &*ran.err), ("gate.toml: valid\n", ""));
        let text = std::fs::read_to_string(place.path().join("gate.toml")).expect("written");
        let file: toml::Table = toml::from_str(&text).expect("TOML");
        assert_eq!(file["upstream"]["url"].as_str(), Some(upstream));
        assert_eq!(file["server"]["root_url"].as_str(), Some(root_url));
        assert_eq!(file["server"]["listen"][0].as_str(), Some(listen));
    }
}

/// The path is that of where the command ran, and the file may be elsewhere.
#[test]
fn the_keys_are_found_from_another_directory() {
    let place = with_keys();
    place.write("etc/readme", "");
    let words = [
        "init",
        "--out",
        "etc/license-gate.toml",
        "--upstream",
        "http://127.0.0.1:1",
        "--root-url",
        "https://a/",
        "--issuer-keys",
        "keys",
    ];
    place.run(&words).exits(0);
    place.run(&["check-config", "--config", "etc/license-gate.toml"]).exits(0);
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let place = with_keys();
    place.write("gate.toml", "# mine\n");
    let ran = init(&place, "http://127.0.0.1:1", "https://a/", "keys").exits(1);
    ran.reports(&["gate.toml exists already", "--out"]);
    assert_eq!(std::fs::read_to_string(place.path().join("gate.toml")).expect("kept"), "# mine\n");
    std::fs::remove_file(place.path().join("gate.toml")).expect("removed");
    std::os::unix::fs::symlink("nowhere", place.path().join("gate.toml")).expect("a link");
    init(&place, "http://127.0.0.1:1", "https://a/", "keys").exits(1).reports(&["exists already"]);
    assert!(!place.path().join("nowhere").exists());
}

#[test]
fn a_file_that_cannot_be_written_says_what_to_do() {
    let place = with_keys();
    let to = |out: &str| {
        let words = ["init", "--upstream", "http://127.0.0.1:1", "--root-url", "https://a/"];
        place.run(&[&words[..], &["--issuer-keys", "keys", "--out", out]].concat()).exits(1)
    };
    to("etc/a/gate.toml").reports(&["etc/a/gate.toml cannot be written", "`mkdir -p etc/a`"]);
    to("-").reports(&["--out takes a file, not standard output"]);
    assert!(!place.path().join("-").exists());
}

#[test]
fn bad_flags_are_all_reported_and_nothing_is_written() {
    let place = with_keys();
    place.write("private.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    for (upstream, root_url, keys, fragments) in [
        ("grafana", "https://a/", "keys", &["--upstream: upstream.url"][..]),
        ("", "https://a/", "keys", &["--upstream", "the answer is empty"]),
        ("http://u:p4ss@a/", "https://a/", "keys", &["--upstream"]),
        ("http://127.0.0.1:1", "a.example", "keys", &["--root-url: server.root_url", "https://"]),
        (
            "http://127.0.0.1:3000",
            "http://localhost:3000/",
            "keys",
            &["--root-url", "is the gate itself"],
        ),
        (
            "http://127.0.0.1:1",
            "https://a/",
            "nowhere",
            &["--issuer-keys: license.keys", "nowhere"],
        ),
        ("http://127.0.0.1:1", "https://a/", "private.pem", &["--issuer-keys", "private key"]),
        ("http://127.0.0.1:1", "https://a/", "https://", &["--issuer-keys: license.jwks_url"]),
        ("http://127.0.0.1:1\n[log]", "https://a/", "keys", &["--upstream"]),
    ] {
        let ran = init(&place, upstream, root_url, keys).exits(1).reports(fragments);
        assert!(!ran.err.contains("p4ss"), "{}", ran.err);
        assert!(!place.path().join("gate.toml").exists(), "{upstream} {root_url} {keys}");
    }
    let ran = init(&place, "x", "y", "z").exits(1);
    ran.reports(&["--upstream: "]).reports(&["--root-url: "]).reports(&["--issuer-keys: "]);
    place
        .run(&["init"])
        .exits(1)
        .reports(&["no terminal", "--upstream, --root-url, --issuer-keys"]);
    place.run(&["init", "--bogus"]).exits(2);
    let words = [
        "init",
        "--out",
        "no/gate.toml",
        "--upstream",
        "unix:/x",
        "--root-url",
        "https://a/",
        "--issuer-keys",
        "keys",
    ];
    place.run(&words).exits(1).reports(&["no/gate.toml cannot be written"]);
}

#[test]
fn what_answers_at_the_dashboards_address_is_named() {
    let health: fn(&str) -> Fake = |_| Fake::start(|_| respond(200, "application/json", HEALTH));
    let page = Fake::start(|_| respond(404, "text/html", "<p>no such page"));
    let broken = Fake::start(|_| respond(503, "text/plain", ""));
    let odd = json!({ "database": "ok", "version": "\u{1b}[2J" }).to_string();
    let hostile = Fake::start(move |_| respond(200, "application/json", &odd));
    for (url, fragment) in [
        (health("").url(), "Grafana 11.3.0 answers at"),
        (page.url(), "does not look like Grafana"),
        (broken.url(), "with status 503"),
        (hostile.url(), "Grafana \\u{1b}[2J answers"),
        ("http://127.0.0.1:1".to_owned(), "cannot be reached"),
        (page.url().replace("http:", "https:"), "upstream.tls.ca_file"),
        ("unix:/nowhere/socket".to_owned(), "/nowhere/socket"),
    ] {
        let place = with_keys();
        init(&place, &url, "https://a/", "keys").exits(0).reports(&[fragment]);
    }
}

#[test]
fn the_user_in_the_file_only_needs_a_hash() {
    let place = with_keys();
    init(&place, "http://127.0.0.1:9090", "http://localhost:9999/", "keys").exits(0);
    let hash = place.run_with(&["hash-password"], &[], "secret").exits(0).out;
    let written = std::fs::read_to_string(place.path().join("gate.toml")).expect("the file");
    let mut local = written.replace("mode = \"dashboard\"", "mode = \"local\"");
    for line in ["[[auth.users]]", "name =", "password_hash =", "permissions ="] {
        local = local.replace(&format!("# {line}"), line);
    }
    place.write("gate.toml", &local.replace("$argon2id$...", hash.trim()));
    let checked = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
    assert!(!checked.err.contains("auth"), "{}", checked.err);
}
