//! `license show`, `install`, `renew`, `remove`, `history` and `rollback`, against a gate and against everything else.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::authority::{Authority, Pair};
use crate::support::dashboard::Mood;
use crate::support::program::{Place, Ran};
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::{DAY, ROOT_URL, Vendor, now};

use super::fake::{Fake, probe, respond};

const PASSWORD: &str = "LICENSE_GATE_PASSWORD";
const USER: &str = "LICENSE_GATE_USER";
const ADMIN: [(&str, &str); 2] = [(USER, "admin"), (PASSWORD, "hunter2")];

/// A user of [`Scene`]'s dashboard at the command line.
struct Operator {
    place: Place,
    url: String,
}

impl Operator {
    fn of(url: impl Into<String>) -> Self {
        Self { place: Place::new(), url: url.into() }
    }

    fn at(scene: &Scene) -> Self {
        Self::of(format!("http://{}", scene.gate.address))
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.run_as(&ADMIN, words, "")
    }

    fn run_as(&self, credentials: &[(&str, &str)], words: &[&str], input: &str) -> Ran {
        let words = [&["license"], words].concat();
        let url = [("LICENSE_GATE_URL", &*self.url)];
        let ran = self.place.run_with(&words, &[&url, credentials].concat(), input);
        for secret in credentials.iter().filter(|(name, _)| *name == PASSWORD) {
            assert!(secret.1.len() < 6 || !format!("{ran:?}").contains(secret.1), "{ran:#?}");
        }
        ran
    }
}

#[test]
fn what_is_wrong_with_the_license_is_shown() {
    let scene = Scene::new();
    let operator = Operator::at(&scene);
    scene.install(&scene.vendor.token().sign());
    let ran = operator.run(&["show"]).exits(0);
    assert!(!ran.out.contains("warning"), "{}", ran.out);
    let other = Vendor::new().pair().jwks().to_string();
    std::fs::write(scene.gate.dir().join("jwks.json"), &other).expect("written");
    scene.gate.log().wait_for("event=license.key_lost");
    let ran = operator.run(&["show"]).exits(0).prints("status           valid");
    let warning = "warning          the key of the license is no longer trusted, and the license becomes invalid at 20";
    assert!(ran.out.contains(warning) && ran.out.contains("no trusted key has the id"), "{ran:#?}");
    let scene = scene.restart();
    let ran = Operator::at(&scene).run(&["show"]).exits(0);
    assert!(ran.out.starts_with("status           not found\n"), "{ran:#?}");
    let reason =
        "reason           a license is stored, but it is not used: no trusted key has the id";
    assert!(ran.out.contains(reason), "{ran:#?}");
}

#[test]
fn a_license_is_installed_shown_replaced_restored_and_removed() {
    let scene = Scene::new();
    let operator = Operator::at(&scene);
    operator.run(&["show"]).exits(0).prints("status           not found: there is no license");
    let ran = operator.run(&["history"]).exits(0);
    assert_eq!(ran.out, "There is no former license.\n");

    let first =
        scene.vendor.token().with("lexp", now() + 100 * DAY + 60).with("prod", json!(["a", "b"]));
    let signed = first.sign();
    operator.place.write("first.jwt", &format!("\u{feff}{signed}\r\n"));
    let ran = operator.run(&["install", "--yes", "first.jwt"]).exits(0);
    let ran = ran
        .prints("signature        ok")
        .prints("issuer           not configured (license.issuers)")
        .prints("not_before       not in the token (nbf)")
        .prints("trial            not in the token (trial)")
        .prints("revocation       nothing is revoked (license.revocations)")
        .prints("product          not configured (license.product)")
        .prints("Differences to the license in force:")
        .prints("Installed.")
        .prints("products         a, b")
        .prints("users            unlimited");
    assert!(!ran.out.contains(&signed), "{}", ran.out);
    scene.holds(&signed);

    let second = scene.vendor.token().with("lid", "L-2").with("included_users", 7);
    let ran = operator.run_as(&ADMIN, &["install", "-y", "-"], &second.sign()).exits(0);
    let changed = "  lid                           L-1 -> L-2";
    ran.prints(changed).prints("users            7 included").prints("license expires  never");

    let ran = operator.run(&["show"]).exits(0).prints("license          L-2");
    assert!(
        ran.out.contains("token expires    20")
            && (ran.out.contains("(in 13 days)") || ran.out.contains("(in 14 days)")),
        "{ran:#?}"
    );
    let jti = first.claims()["jti"].as_str().expect("an id");
    let ran = operator.run(&["history"]).exits(0);
    let [head, row] = ran.out.lines().collect::<Vec<_>>()[..] else { panic!("{ran:#?}") };
    assert!(
        head.starts_with("REPLACED ") && row.contains(" L-1 ") && row.ends_with(jti),
        "{ran:#?}"
    );
    assert_eq!(head.find("TOKEN ID"), row.find(jti), "aligned: {ran:#?}");

    operator.run(&["rollback", "J-0"]).exits(1).reports(&["No former license", "license history"]);
    operator.run(&["rollback", jti]).exits(0).prints("Restored.").prints("license          L-1");
    operator.run(&["renew"]).exits(1).reports(&["Renewal is off", "license install"]);

    operator.run(&["remove"]).exits(1).reports(&["not removed", "--yes"]);
    operator.run(&["remove", "--yes"]).exits(1).reports(&["licensing.instance.mismatch", ROOT_URL]);
    operator.run(&["remove", "--yes", "--instance", ROOT_URL]).exits(0);
    scene.holds_nothing();
}

/// The API's JSON, byte for byte, on standard output; sentences on standard error.
#[test]
fn json_is_that_of_the_api() {
    let scene = Scene::new();
    let operator = Operator::at(&scene);
    let token = scene.vendor.token().sign();
    operator.place.write("license.jwt", &token);
    let installed = operator.run(&["install", "--yes", "--json", "license.jwt"]).exits(0);
    let shown = operator.run(&["show", "--json"]).exits(0).out;
    assert_eq!(installed.out, shown);
    let answer = scene.admin("GET", "/api/licensing/token").send().is(200);
    assert_eq!(shown, format!("{}\n", answer.text()));

    let refused = operator.run(&["rollback", "--json", "J-0"]).exits(1);
    let body: Value = serde_json::from_str(&refused.out).expect("JSON");
    assert_eq!(body["messageId"], "licensing.history.not-found");
    let other = scene.vendor.token().with("sub", "https://other/").sign();
    operator.place.write("other.jwt", &other);
    let refused = operator.run(&["install", "--yes", "--json", "other.jwt"]).exits(1);
    let report: Value = serde_json::from_str(&refused.out).expect("JSON");
    assert_eq!((&report["valid"], &report["status"]), (&json!(false), &json!(6)));
    scene.holds(&token);
}

#[test]
fn a_token_that_the_gate_refuses_is_shown_with_its_checks_and_not_installed() {
    let scene = Scene::new();
    let operator = Operator::at(&scene);
    let other = scene.vendor.token().with("sub", "https://other/").sign();
    operator.place.write("other.jwt", &other);
    let ran = operator.run(&["install", "--yes", "other.jwt"]).exits(1);
    let ran = ran.reports(&["not installed", "has not changed"]);
    assert!(ran.out.contains("subject          FAILED: licensed for https://other/"), "{ran:#?}");
    scene.holds_nothing();
}

#[test]
fn without_a_terminal_install_shows_the_checks_and_needs_yes() {
    let scene = Scene::new();
    let operator = Operator::at(&scene);
    operator.place.write("license.jwt", &scene.vendor.token().sign());
    let ran = operator.run(&["install", "license.jwt"]).exits(1);
    ran.reports(&["not installed", "no terminal", "--yes"]).prints("signature        ok");
    scene.holds_nothing();
}

#[test]
fn a_license_that_a_file_overrules_is_installed_with_a_note() {
    let setup = Setup::new();
    let mounted = setup.vendor.token().with("iat", now()).with("lid", "L-9").sign();
    let scene = setup.file("mounted.jwt", mounted).set("license.file", "\"mounted.jwt\"").start();
    let operator = Operator::at(&scene);
    operator.place.write("license.jwt", &scene.vendor.token().sign());
    let ran = operator.run(&["install", "--yes", "license.jwt"]).exits(0);
    assert!(ran.out.contains("Another license takes precedence"), "{}", ran.out);
    let ran = operator.run(&["remove", "--yes", "--instance", ROOT_URL]).exits(0);
    assert!(ran.out.contains("stays in force") && ran.out.contains("L-9"), "{}", ran.out);
}

#[test]
fn who_may_not_gets_exit_code_3_and_a_dashboard_that_is_down_2() {
    let scene = Scene::new();
    let operator = Operator::at(&scene);
    operator.place.write("license.jwt", &scene.vendor.token().sign());
    let install = ["install", "--yes", "license.jwt"];
    let reader = [(USER, "reader"), (PASSWORD, "r")];
    operator.run_as(&reader, &["show"], "").exits(0);
    operator.run_as(&reader, &install, "").exits(3).reports(&["licensing:write", "administrator"]);
    let nobody = [(USER, "nobody"), (PASSWORD, "n")];
    operator.run_as(&nobody, &["show"], "").exits(3).reports(&["licensing:read"]);
    let wrong = [(USER, "admin"), (PASSWORD, "wrong-password")];
    operator
        .run_as(&wrong, &["show"], "")
        .exits(3)
        .reports(&["Invalid username or password", "Check"]);
    // The permission to read is not needed.
    let writer = [(USER, "writer"), (PASSWORD, "w")];
    operator.run_as(&writer, &install, "").exits(0).prints("Installed.");
    let deleter = [(USER, "deleter"), (PASSWORD, "d")];
    operator.run_as(&deleter, &["remove", "--yes", "--instance", ROOT_URL], "").exits(0);

    scene.dashboard.mood("/api/user", Mood::HangsUp);
    let other = [(USER, "former"), (PASSWORD, "hunter2")];
    operator.run_as(&other, &["show"], "").exits(2).reports(&["auth.unavailable", "dashboard"]);
}

#[test]
fn the_base_path_belongs_to_the_url() {
    let scene = Setup::new().set("server.root_url", "\"http://metrics.example/grafana/\"").start();
    for path in ["/grafana", "/grafana/", "", "/"] {
        let operator = Operator::of(format!("http://{}{path}", scene.gate.address));
        operator.run(&["show"]).exits(0);
    }
    let operator = Operator::of(format!("http://{}/api/licensing/token", scene.gate.address));
    operator
        .run(&["show"])
        .exits(1)
        .reports(&["without the path of the API", "use http://127.0.0.1:"]);
    // The gate forwards this, and the dashboard has no such page.
    let operator = Operator::of(format!("http://{}/other/", scene.gate.address));
    operator.run(&["show"]).exits(2).reports(&["no license-gate at", "/other/", "base path"]);
    let forwarded = scene.dashboard.asked("/other/api/licensing/check");
    assert_eq!(forwarded.len(), 1);
    assert_eq!(forwarded[0].value("authorization"), None);
}

const PRIVATE: &str =
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n";

/// Nothing of this is sent to anyone.
#[test]
fn what_is_not_a_token_is_refused_before_anything_is_sent() {
    let server = Fake::start(|_| panic!("nothing is sent"));
    let operator = Operator::of(server.url());
    let one = Setup::new().vendor.token().sign();
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(one.bytes().flat_map(|b| [b, 0])).collect();
    let cases: [(&str, Vec<u8>, &[&str]); 16] = [
        ("picture", png, &["a picture (PNG)", "eyJ"]),
        ("archive", b"PK\x03\x04rest".to_vec(), &["an archive"]),
        ("private", PRIVATE.into(), &["a private key", "was not sent"]),
        ("openssh", b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n".to_vec(), &["a private key"]),
        ("jwk", b"{\"kty\":\"EC\",\"d\":\"x\"}".to_vec(), &["a private key", "keep it secret"]),
        ("jwks", b" {\"keys\": []}\n".to_vec(), &["set of keys (JWKS)", "license.keys"]),
        ("public", b"-----BEGIN PUBLIC KEY-----\nx\n".to_vec(), &["PEM file", "license.keys"]),
        ("two", format!("{one}\n{one}\n").into(), &["more than one token", "give one token"]),
        ("empty", Vec::new(), &["it is empty"]),
        ("blank", b"\xef\xbb\xbf \r\n".to_vec(), &["it is empty"]),
        ("quoted", format!("\"{one}\"\n").into(), &["in quotes", "remove them"]),
        (
            "json",
            json!({ "token": one }).to_string().into(),
            &["JSON object with a token", "value of `token`"],
        ),
        ("utf16", utf16, &["UTF-16", "UTF-8"]),
        ("binary", vec![0xfe, 1, 2, 3], &["cannot be installed", "not text"]),
        ("text", b"see the attached license".to_vec(), &["contains other text", "only the token"]),
        ("cut", one[..one.len() / 2].into(), &["copy it whole"]),
    ];
    for (name, content, fragments) in cases {
        std::fs::write(operator.place.path().join(name), &content).expect("written");
        let ran = operator.run(&["install", "--yes", name]).exits(1).reports(fragments);
        let ran = ran.reports(&[name]);
        assert!(!ran.err.contains(&one[..20]) && !ran.err.contains("MIGH"), "{ran:#?}");
        assert_eq!(ran.out, "");
    }
    operator
        .run_as(&ADMIN, &["install", "-y", "-"], "")
        .exits(1)
        .reports(&["standard input", "empty"]);
    operator.run(&["install", "-y", "absent"]).exits(1).reports(&["absent cannot be read"]);
    operator
        .run(&["install", "-y", "/dev/zero"])
        .exits(1)
        .reports(&["/dev/zero", "more than 1048576"]);
    assert!(server.asked().is_empty());
}

#[test]
fn wrong_usage_is_exit_code_1_because_2_means_unreachable() {
    let place = Place::new();
    for words in
        [&["install"][..], &["show", "--bogus"], &["rollback"], &["rollback", ""], &["remove", "x"]]
    {
        place.run(&[&["license"], words].concat()).exits(1);
    }
    place.run(&["license", "show", "--timeout", "0s"]).exits(1).reports(&["between 1ms and 1h"]);
    for timeout in ["fish", "10", "1 parsec", ""] {
        let ran = place.run(&["license", "show", "--timeout", timeout]).exits(1);
        ran.reports(&["--timeout", "write a number with a unit, such as 10s"]);
    }
    place.run(&["license", "bogus"]).exits(2);
}

#[test]
fn a_url_that_cannot_be_used_says_why_and_is_not_shown() {
    let place = Place::new();
    place
        .run_with(&["license", "show"], &ADMIN, "")
        .exits(1)
        .reports(&["--url", "LICENSE_GATE_URL"]);
    for (url, fragments) in [
        ("https://ops:s3cret@gate/", &["no user name or password"][..]),
        ("gate:8080", &["http:// or https://"]),
        ("https://gate/?token=s3cret", &["neither query nor fragment"]),
        ("unix:/run/s3cret", &["http:// or https://"]),
        ("https://*.example/", &["names one instance"]),
    ] {
        let ran = place.run_with(&["license", "show", "--url", url], &ADMIN, "");
        let ran = ran.exits(1).reports(fragments);
        assert!(!ran.err.contains("s3cret"), "{}", ran.err);
    }
}

#[test]
fn credentials_are_sent_over_plain_http_only_to_this_machine_or_with_a_flag() {
    let server = Fake::start(|asked| match asked.target.ends_with("/check") {
        true => probe(),
        false => respond(200, "application/json", r#"{"status":4,"lid":""}"#),
    });
    // Reaches this machine, and is not a loopback address.
    let operator = Operator::of(format!("http://0.0.0.0:{}/", server.address.port()));
    operator.run(&["show"]).exits(1).reports(&["plain http", "https://", "--insecure-http"]);
    assert!(server.asked().is_empty());
    operator.run(&["show", "--insecure-http"]).exits(0);
    let [check, show] = &server.asked()[..] else { panic!("{:?}", server.asked()) };
    assert_eq!(check.value("authorization"), None);
    assert_eq!(show.value("authorization"), Some("Basic YWRtaW46aHVudGVyMg=="));

    // A proxy of the environment would read what is sent to this machine.
    let operator = Operator::of(server.url());
    let proxied = [&ADMIN[..], &[("http_proxy", "http://127.0.0.1:1")]].concat();
    operator.run_as(&proxied, &["show"], "").exits(0);
}

#[test]
fn a_redirect_is_not_followed_and_says_what_to_use() {
    let server = Fake::start(|asked| {
        let to = format!("https://metrics.example{}", asked.target);
        format!("HTTP/1.1 308 Permanent Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
            .into()
    });
    let operator = Operator::of(format!("{}grafana/", server.url()));
    let ran = operator.run(&["show"]).exits(2);
    ran.reports(&["redirect, which is not followed", "use --url https://metrics.example/grafana/"]);
    let server = Fake::start(|_| {
        "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n".into()
    });
    Operator::of(server.url()).run(&["show"]).exits(2).reports(&["redirect", "not a gate"]);
    assert!(server.asked().iter().all(|asked| asked.value("authorization").is_none()));

    // A gate that redirects.
    let scene = Setup::new()
        .set("server.root_url", "\"https://metrics.example/\"")
        .set("server.redirect", "[\"127.0.0.1:0\"]")
        .start();
    let operator = Operator::of(format!("http://{}", scene.gate.redirect()));
    operator.run(&["show"]).exits(2).reports(&["use --url https://metrics.example/"]);
}

/// Grafana answers in its own manner: the open-source build has no such route, others do.
#[test]
fn a_dashboard_without_a_gate_is_recognised_and_gets_no_credentials() {
    const NOT_FOUND: &str = r#"{"message":"Not found","traceID":""}"#;
    const UNAUTHORIZED: &str = r#"{"extra":null,"message":"Unauthorized","messageId":"auth.unauthorized","statusCode":401,"traceID":""}"#;
    const PAGE: &str = "<!DOCTYPE html><title>Grafana</title>";
    const HEALTH: &str = r#"{"commit":"x","database":"ok","version":"11.3.0"}"#;
    for (status, kind, body) in [
        (404, "application/json", NOT_FOUND),
        (401, "application/json", UNAUTHORIZED),
        (404, "text/html", PAGE),
        (200, "text/html", PAGE),
        (200, "application/json", r#"{"message":"hello"}"#),
    ] {
        let server = Fake::start(move |asked| match &*asked.target {
            "/api/health" => respond(200, "application/json", HEALTH),
            _ => respond(status, kind, body),
        });
        let ran = Operator::of(server.url()).run(&["show"]).exits(2);
        ran.reports(&["no license-gate at", "Grafana 11.3.0 answers there", "server.root_url"]);
        assert!(server.asked().iter().all(|asked| asked.value("authorization").is_none()));
    }
    let server = Fake::start(|_| respond(404, "text/html", PAGE));
    Operator::of(server.url()).run(&["show"]).exits(2).reports(&["no license-gate", "status 404"]);
}

/// The probe needs no credentials if `auth.public_check` is set.
#[test]
fn a_gate_with_a_public_check_is_recognised() {
    let scene = Setup::new().set("auth.public_check", "true").start();
    Operator::at(&scene).run(&["show"]).exits(0);
}

fn tls(pair: &Pair) -> Scene {
    let setup = Setup::new();
    pair.write(setup.dir(), "tls");
    setup
        .set("server.listen", "[\"https://127.0.0.1:0\"]")
        .set("server.tls.cert_file", "\"tls.pem\"")
        .set("server.tls.key_file", "\"tls.key\"")
        .start()
}

#[test]
fn a_certificate_that_does_not_verify_is_named_with_the_reason_and_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let place = Place::new();
    place.write("ca.pem", &authority.pem());
    place.write("other.pem", &other.pem());
    let show = |scene: &Scene, host: &str, ca: &str| {
        let url = format!("https://{host}:{}/", scene.gate.address.port());
        place.run_with(&["license", "show", "--url", &url, "--ca-file", ca], &ADMIN, "")
    };
    let scene = tls(&authority.issue("localhost"));
    show(&scene, "localhost", "ca.pem").exits(0);
    let unknown = show(&scene, "localhost", "other.pem").exits(2);
    unknown.reports(&[
        "does not trust its issuer",
        "for localhost",
        "issued by",
        "SHA-256 ",
        "--ca-file",
    ]);
    let named = show(&scene, "127.0.0.1", "ca.pem").exits(2);
    named.reports(&["it is for another name", "for localhost", "Write --url with a name"]);
    show(&scene, "localhost", "absent.pem")
        .exits(1)
        .reports(&["--ca-file cannot be used", "absent.pem"]);
    place.write("key.pem", PRIVATE);
    show(&scene, "localhost", "key.pem").exits(1).reports(&["--ca-file cannot be used", "key.pem"]);
    // Plain HTTP on a port with TLS, and the other way round.
    let url = format!("http://localhost:{}/", scene.gate.address.port());
    let plain = place.run_with(&["license", "show", "--url", &url], &ADMIN, "").exits(2);
    plain.reports(&["request.plain-http", "https://"]);

    let expired = tls(&authority.issue_until("localhost", 2020));
    let ran = show(&expired, "localhost", "ca.pem").exits(2);
    ran.reports(&["it has expired", "valid until 2020-01-01T00:00:00Z", "renew it"]);
    // `openssl req -x509`: the certificate is its own authority.
    let own = Authority::serving("localhost", 2080);
    place.write("own.pem", &own.cert);
    let scene = tls(&own);
    show(&scene, "localhost", "own.pem").exits(0);
    show(&scene, "localhost", "ca.pem").exits(2).reports(&[
        "self-signed",
        "does not trust it",
        "--ca-file",
    ]);

    let plain = Scene::new();
    let ran = show(&plain, "localhost", "ca.pem").exits(2);
    ran.reports(&["does not speak TLS", "http://"]);
}

#[test]
fn a_netrc_file_gives_the_credentials() {
    let scene = Scene::new();
    let operator = Operator::at(&scene);
    let netrc = operator.place.write(
        "logins",
        "machine other login x password y\nmachine 127.0.0.1 login admin password hunter2\nmachine 127.0.0.1 login nobody password n\n",
    );
    let mode =
        |mode| std::fs::set_permissions(&netrc, PermissionsExt::from_mode(mode)).expect("a mode");
    mode(0o600);
    let ran = operator.run_as(&[], &["show", "--netrc=logins"], "").exits(0);
    assert_eq!(ran.err, "");
    mode(0o644);
    let ran = operator.run_as(&[], &["show", "--netrc=logins"], "").exits(0);
    ran.reports(&["warning", "other users can read it (mode 0644)", "chmod 600 logins"]);
    // The flag overrides the password of the environment; the user selects.
    operator.run_as(&[(PASSWORD, "wrong")], &["show", "--netrc=logins"], "").exits(0);
    operator.run_as(&[(USER, "nobody")], &["show", "--netrc=logins"], "").exits(3);
    operator
        .run_as(&[(USER, "ops")], &["show", "--netrc=logins"], "")
        .exits(1)
        .reports(&["no entry for 127.0.0.1 with login ops (LICENSE_GATE_USER)"]);
    operator.place.write("other", "machine other login x password y\n");
    let ran = operator.run_as(&[], &["show", "--netrc=other"], "").exits(1);
    ran.reports(&["no entry for 127.0.0.1 with login and password", "add `machine 127.0.0.1"]);

    let home = operator.place.path().display().to_string();
    std::fs::rename(&netrc, operator.place.path().join(".netrc")).expect("renamed");
    operator.run_as(&[("HOME", &home)], &["show", "--netrc"], "").exits(0);
    operator.run_as(&[], &["show", "--netrc"], "").exits(1).reports(&["HOME is not set"]);
    operator.run(&["show", "--netrc=absent"]).exits(1).reports(&["--netrc: absent cannot be read"]);
    operator.place.write("bad", "machine 127.0.0.1\nhunter2 s3cret\n");
    let ran = operator.run(&["show", "--netrc=bad"]).exits(1).reports(&["bad line 2 is not"]);
    assert!(!ran.err.contains("s3cret"), "{}", ran.err);
}

#[test]
fn credentials_that_cannot_be_sent_are_refused() {
    let scene = Scene::new();
    let operator = Operator::at(&scene);
    let long = "x".repeat(2000);
    for (credentials, fragments) in [
        (&[][..], &["no credentials", "LICENSE_GATE_USER", "--netrc"][..]),
        (&[(USER, "admin")], &["no credentials", "LICENSE_GATE_PASSWORD"]),
        (&[(PASSWORD, "hunter2")], &["LICENSE_GATE_USER is not"]),
        (&[(USER, ""), (PASSWORD, "")], &["no credentials"]),
        (&[(USER, "a:b"), (PASSWORD, "hunter2")], &["contains a colon"]),
        (&[(USER, "admin"), (PASSWORD, "hunter2\n")], &["control character"]),
        (&[(USER, "admin"), (PASSWORD, &long)], &["longer than 1024 bytes"]),
    ] {
        operator.run_as(credentials, &["show"], "").exits(1).reports(fragments);
    }
}

#[test]
fn every_wait_is_bounded() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}/", silent.local_addr().expect("an address"));
    let show = ["show", "--timeout", "100ms"];
    Operator::of(silent).run(&show).exits(2).reports(&["did not answer within 0.1 s", "--timeout"]);
    // A response that does not end.
    let endless = Fake::start(|asked| match asked.target.ends_with("/check") {
        true => probe(),
        false => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".into(),
    });
    endless.keep_open();
    Operator::of(endless.url()).run(&show).exits(2).reports(&["did not answer within"]);
    let renew = ["renew", "--timeout", "100ms"];
    let ran = Operator::of(endless.url()).run(&renew).exits(2);
    ran.reports(&["may have been made", "license show"]);
    Operator::of("http://127.0.0.1:1/")
        .run(&["show"])
        .exits(2)
        .reports(&["cannot be reached", "--url"]);
    Operator::of("https://gate.invalid/").run(&show).exits(2);
}

/// Each row of the manual's tables of `messageId`s.
#[test]
fn every_message_of_the_api_reaches_the_user_with_what_to_do() {
    const MANUAL: &str = include_str!("../../../src/manual/api.md");
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let id = cells.next()?.strip_suffix('`')?;
        Some((id, cells.next()?.parse::<u16>().ok()?)).filter(|(id, _)| id.contains('.'))
    };
    let rows: Vec<_> = MANUAL.lines().filter_map(row).collect();
    assert!(rows.len() > 90, "{rows:?}");
    for (id, status) in rows {
        let server = Fake::start(move |asked| {
            match asked.target.ends_with("/check") {
            true => probe(),
            false => respond(
                status,
                "application/json",
                &json!({ "extra": null, "message": "this is the reason: do something", "messageId": id,
                         "statusCode": status, "traceID": "r-1" })
                .to_string(),
            ),
        }
        });
        let ran = Operator::of(server.url()).run(&["show"]);
        let begin = "license-gate: This is the reason: do something. ";
        let end = format!(" ({id}, request r-1)\n");
        let advice = ran.err.strip_prefix(begin).and_then(|rest| rest.strip_suffix(&end));
        let advice = advice.unwrap_or_else(|| panic!("{id}: {ran:#?}"));
        assert!(advice.len() > 15 && advice.ends_with('.'), "{id}: {advice:?}");
        let expected: &[i32] = match status {
            401 | 403 => &[3],
            429 => &[1, 3],
            400 | 404 | 405 | 409 | 413 | 415 | 422 => &[1, 2],
            _ => &[1, 2],
        };
        assert!(expected.contains(&ran.code), "{id}: {ran:#?}");
        assert_eq!(ran.out, "");
    }
}

#[test]
fn the_gate_states_how_long_to_wait() {
    let server = Fake::start(|asked| {
        match asked.target.ends_with("/check") {
        true => probe(),
        false => "HTTP/1.1 429 Too Many\r\nRetry-After: 17\r\nContent-Type: application/json\r\nContent-Length: 64\r\n\r\n{\"message\":\"Too many.\",\"messageId\":\"licensing.writes.too-many\"}  ".into(),
    }
    });
    let ran = Operator::of(server.url()).run(&["show"]).exits(1);
    ran.reports(&["Too many. ", "limits.writes_per_minute", "Wait 17 s first."]);
}
