//! Requests of instances in every state.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use super::*;
use crate::license::Config;
use crate::license::{Algorithm, KeyPair, keep_jwks};
use crate::outgoing;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// An instance `https://a.example/` with a `license.file` and a store, both empty.
struct Scene {
    dir: tempfile::TempDir,
    pair: KeyPair,
    config: Config,
    outgoing: outgoing::Config,
}

impl Scene {
    fn new() -> Self {
        let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("data")).expect("made");
        let keys = dir.path().join("jwks.json");
        fs::write(&keys, pair.jwks().to_string()).expect("written");
        let file = Some(dir.path().join("mounted.jwt"));
        let outgoing = outgoing::Config::default();
        Self { config: Config { keys, file, ..Config::default() }, outgoing, dir, pair }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A token of license 7 with this id, issued and expiring so many seconds after [`NOW`].
    fn token(&self, jti: &str, issued: i64, expires: i64) -> String {
        let after = |seconds: i64| NOW.as_secs().saturating_add_signed(seconds);
        let claims = json!({
            "sub": "https://a.example/", "lid": 7, "jti": jti, "iat": after(issued), "exp": after(expires),
        });
        self.pair.sign(&claims).expect("a token").as_str().to_owned()
    }

    fn file(&self, content: &str) {
        fs::write(self.at("mounted.jwt"), content).expect("written");
    }

    fn store(&self, content: &str) {
        fs::write(self.at("data/license.jwt"), content).expect("written");
    }

    /// Exit code, output and messages.
    fn run(&self, out: &str, force: bool) -> (u8, String, String) {
        let store = self.at("data");
        let root_url = RootUrl::parse("https://a.example").expect("a root URL");
        let instance = Instance { sources: self.sources(&store, false), root_url };
        let out = if out == "-" { out.into() } else { self.at(out) };
        output(&Args { out, force }, &instance)
    }

    fn sources<'a>(&'a self, store: &'a Path, is_copy: bool) -> Sources<'a> {
        Sources { config: &self.config, outgoing: &self.outgoing, store, is_copy, online: false }
    }

    /// The request on standard output.
    fn request(&self) -> Value {
        let (code, out, err) = self.run("-", false);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).expect("JSON")
    }
}

fn output(args: &Args, instance: &Instance<'_>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams { input: &mut io::empty(), out: &mut out, err: &mut err };
    let code = run(args, instance, NOW, &mut streams);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (code, text(out), text(err))
}

#[test]
fn a_request_names_instance_and_license() {
    let scene = Scene::new();
    let claims =
        json!({ "sub": "https://*.example/", "lid": "L-1", "exp": 1, "included_users": 25 });
    let token = scene.pair.sign(&claims).expect("a token");
    scene.store(token.as_str());
    let expected = json!({
        "typ": "license-gate-renewal-request", "version": 1, "created": "2027-01-15T08:00:00Z",
        "instance": "https://a.example/", "lid": "L-1", "jti": null, "seats": 25, "token": token.as_str(),
    });
    assert_eq!(scene.request(), expected);
}

#[test]
fn of_two_licenses_the_one_in_force_is_requested() {
    let scene = Scene::new();
    let day = 86_400;
    let (older, newer) = (scene.token("older", -2 * day, day), scene.token("newer", -day, day));
    let lapsed = scene.token("lapsed", -day / 2, -day / 4);
    for (file, store, expected) in [
        (Some(&older), None, "older"),
        (None, Some(&older), "older"),
        (Some(&older), Some(&newer), "newer"),
        (Some(&newer), Some(&older), "newer"),
        (Some(&older), Some(&lapsed), "older"),
        (None, Some(&lapsed), "lapsed"),
        (Some(&lapsed), Some(&lapsed), "lapsed"),
    ] {
        for path in [scene.at("mounted.jwt"), scene.at("data/license.jwt")] {
            let _ = fs::remove_file(path);
        }
        if let Some(token) = file {
            scene.file(&format!("\u{feff}{token}\r\n"));
        }
        if let Some(token) = store {
            scene.store(token);
        }
        assert_eq!(scene.request()["jti"], expected, "{file:?} {store:?}");
    }
}

#[test]
fn a_bad_source_is_reported_and_the_other_is_used() {
    let scene = Scene::new();
    scene.store(&scene.token("good", 0, 9));
    scene.file("");
    let (code, out, err) = scene.run("-", false);
    assert!(code == 0 && out.contains("\"good\""), "{err}");
    assert!(err.contains("mounted.jwt is ignored") && err.contains("it is empty"), "{err}");
}

#[test]
fn without_a_valid_license_no_request_is_written() {
    let scene = Scene::new();
    let stranger = Scene::new();
    let elsewhere = json!({ "sub": "https://b.example/", "lid": 1, "exp": NOW.as_secs() + 9 });
    let elsewhere = scene.pair.sign(&elsewhere).expect("a token");
    let cases = [
        (None, "there is no license to renew in"),
        (Some("garbage".to_owned()), "three parts"),
        (Some(stranger.token("J", 0, 9)), "no trusted key has the id"),
        (
            Some(elsewhere.as_str().to_owned()),
            "licensed for https://b.example/, this instance is https://a.example/",
        ),
    ];
    for (stored, message) in cases {
        if let Some(stored) = &stored {
            scene.store(stored);
        }
        let (code, out, err) = scene.run("request.json", false);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains(message), "{message}: {err}");
        assert!(!scene.at("request.json").exists());
        assert!(stored.is_none_or(|stored| stored == "garbage" || !err.contains(&stored)));
    }
    fs::remove_file(scene.at("data/license.jwt")).expect("removed");
    fs::create_dir(scene.at("data/license.jwt")).expect("made");
    assert!(scene.run("-", false).2.contains("it is a directory"));
    fs::write(scene.at("jwks.json"), "{\"keys\":[]}").expect("written");
    assert!(scene.run("-", false).2.contains("no trusted key in"));
}

#[test]
fn the_copy_of_a_database_is_read() {
    let scene = Scene::new();
    scene.store(&scene.token("copied", 0, 9));
    let store = scene.at("data");
    let root_url = RootUrl::parse("https://a.example").expect("a root URL");
    let instance = Instance { sources: scene.sources(&store, true), root_url };
    let (code, out, err) = output(&Args { out: "-".into(), force: false }, &instance);
    assert!(code == 0 && out.contains("\"copied\""));
    assert!(err.contains("the store is a database"), "{err}");
}

#[test]
fn the_file_has_mode_0600_and_is_overwritten_only_with_force() {
    let scene = Scene::new();
    scene.store(&scene.token("J", 0, 9));
    let path = scene.at("request.json");
    let mode = || fs::metadata(&path).expect("there").permissions().mode() & 0o777;
    let (code, out, err) = scene.run("request.json", false);
    assert_eq!((code, err.as_str(), mode()), (0, "", 0o600));
    assert!(out.contains("nobody else") && !out.contains("eyJ"), "{out}");
    let written = fs::read_to_string(&path).expect("read");
    assert_eq!(serde_json::from_str::<Value>(&written).expect("JSON")["jti"], "J");

    fs::write(&path, "mine").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    let (code, _, err) = scene.run("request.json", false);
    assert!(code == 1 && err.contains("--force"), "{err}");
    assert_eq!(fs::read_to_string(&path).expect("read"), "mine");

    assert_eq!(scene.run("request.json", true).0, 0);
    assert_eq!((fs::read_to_string(&path).expect("read"), mode()), (written.clone(), 0o600));

    // The target of a link is not written to.
    fs::write(scene.at("other"), "other").expect("written");
    symlink("other", scene.at("link")).expect("linked");
    assert_eq!(scene.run("link", false).0, 1);
    assert_eq!(scene.run("link", true).0, 0);
    assert_eq!(fs::read_to_string(scene.at("other")).expect("read"), "other");
    assert_eq!(fs::read_to_string(scene.at("link")).expect("read"), written);

    for nowhere in ["data", "none/request.json"] {
        for force in [false, true] {
            let (code, _, err) = scene.run(nowhere, force);
            assert!(code == 1 && err.contains("cannot write"), "{err}");
        }
    }
    let left = fs::read_dir(scene.dir.path()).expect("read").flatten();
    assert!(left.map(|entry| entry.file_name()).all(|it| !it.to_string_lossy().contains("tmp")));
}

#[test]
fn keys_that_a_gate_fetched_are_trusted_too() {
    let mut scene = Scene::new();
    scene.store(&scene.token("J-1", -10, 1000));
    let (url, keys) = ("https://issuer.example/jwks.json", scene.pair.jwks().to_string());
    let kept = keep_jwks(url, keys.as_bytes()).expect("kept");
    fs::write(scene.at("data/jwks.json"), kept).expect("written");
    scene.config.keys = scene.at("certs");
    let (code, _, err) = scene.run("-", false);
    assert_eq!(code, 1, "without license.jwks_url, fetched keys are not read: {err}");

    scene.config.jwks_url = Some(url.parse().expect("a URL"));
    assert_eq!(scene.request()["jti"], "J-1");
    scene.config.keys_named = true;
    let (code, _, err) = scene.run("-", false);
    assert_eq!(code, 1, "named and missing: {err}");

    scene.config.keys_named = false;
    fs::write(scene.at("data/jwks.json"), "{").expect("written");
    let (code, _, err) = scene.run("-", false);
    assert_eq!(code, 1);
    assert!(err.contains("the fetched keys in"), "{err}");
    assert!(err.contains("or among the keys that a gate fetched"), "{err}");
    fs::write(scene.at("certs"), &keys).expect("written");
    assert_eq!(scene.request()["jti"], "J-1");
}
