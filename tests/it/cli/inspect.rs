//! `license inspect` uses every source that the gate uses, or its last line says what was not checked.

use serde_json::Value;

use crate::support::issuer::{Issuer, Script, answer};
use crate::support::program::{Place, Ran};

const ROOT: &str = "https://metrics.example.com/";

/// A place with keys in `issuer/`, a license for [`ROOT`] in `license.jwt`, and a revocation list that revokes it.
struct Scene {
    place: Place,
    revoked: String,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        place.run(&["keys", "generate", "--out", "issuer"]).exits(0);
        let key = ["--key", "issuer/private.pem", "--lid", "7"];
        let issue = [&["license", "issue", "--sub", ROOT][..], &key].concat();
        place.write("license.jwt", &place.run(&issue).exits(0).out);
        let revoke = [&["license", "revoke", "--sequence", "5"][..], &key].concat();
        let revoked = place.run(&revoke).exits(0).out.trim().to_owned();
        let this = Self { place, revoked };
        this.configure("");
        this
    }

    fn configure(&self, license: &str) {
        let file = format!(
            "[server]\nroot_url = '{ROOT}'\n[store]\nurl = 'file:data'\n[renewal]\ntimeout = '5s'\n\
             [license]\n{license}\n"
        );
        let keys = if license.contains("keys") { "" } else { "keys = 'issuer/jwks.json'\n" };
        self.place.write("gate.toml", &format!("{file}{keys}"));
    }

    /// A list with a higher sequence that revokes nothing.
    fn forgiving(&self) -> String {
        let revoke =
            ["license", "revoke", "--key", "issuer/private.pem", "--sequence", "6", "--empty"];
        self.place.run(&revoke).exits(0).out
    }

    fn inspect(&self, flags: &[&str]) -> Ran {
        let words =
            [&["license", "inspect", "license.jwt", "--config", "gate.toml"], flags].concat();
        self.place.run(&words)
    }

    #[track_caller]
    fn is_valid(&self, flags: &[&str]) {
        let ran = self.inspect(flags).exits(0);
        assert_eq!(ran.out.lines().last(), Some("status 1 (valid)"));
    }

    #[track_caller]
    fn is_revoked(&self, flags: &[&str]) {
        let ran = self.inspect(flags).exits(1);
        assert!(ran.out.contains("FAILED: the issuer has revoked this license"), "{}", ran.out);
        assert_eq!(ran.out.lines().last(), Some("status 3 (invalid)"));
    }

    /// The last line says that the license could not be fully checked, and contains `parts`.
    #[track_caller]
    fn is_unchecked(&self, flags: &[&str], parts: &[&str]) {
        let ran = self.inspect(flags).exits(1);
        let last = ran.out.lines().last().unwrap_or_default();
        assert!(last.starts_with("NOT CHECKED: "), "{}", ran.out);
        parts.iter().for_each(|part| assert!(last.contains(part), "no {part} in {last}"));
        let json = self.inspect(&[flags, &["--json"]].concat()).exits(1);
        let json: Value = serde_json::from_str(&json.out).expect("JSON");
        assert_eq!(json["valid"], false);
        assert!(json["unchecked"].as_array().is_some_and(|list| !list.is_empty()), "{json}");
    }
}

#[test]
fn a_revocation_list_in_a_file_is_used() {
    let scene = Scene::new();
    scene.is_valid(&[]);
    scene.configure("revocations = 'revoked.jwt'");
    scene.is_unchecked(&[], &["license.revocations", "revoked.jwt", "cannot be read"]);
    scene.place.write("revoked.jwt", &format!("\u{feff}{}\r\n", scene.revoked));
    scene.is_revoked(&[]);
    scene.place.write("revoked.jwt", &scene.forgiving());
    scene.is_valid(&[]);
    scene.place.write("revoked.jwt", "nothing of the kind");
    scene.is_unchecked(&[], &["license.revocations"]);
    // Signed with another key.
    scene.place.run(&["keys", "generate", "--out", "stranger"]).exits(0);
    let revoke =
        ["license", "revoke", "--key", "stranger/private.pem", "--sequence", "9", "--empty"];
    scene.place.write("revoked.jwt", &scene.place.run(&revoke).exits(0).out);
    scene.is_unchecked(&[], &["license.revocations", "license.keys"]);
}

#[test]
fn the_stored_revocation_list_is_used_unless_the_configured_one_is_newer() {
    let scene = Scene::new();
    scene.place.write("data/revocations.jwt", &scene.revoked);
    scene.is_revoked(&[]);
    scene.configure("revocations = 'revoked.jwt'");
    let older = ["license", "revoke", "--key", "issuer/private.pem", "--sequence", "4", "--empty"];
    scene.place.write("revoked.jwt", &scene.place.run(&older).exits(0).out);
    scene.is_revoked(&[]);
    scene.inspect(&[]).reports(&["is ignored", "sequence 4"]);
    scene.place.write("revoked.jwt", &scene.forgiving());
    scene.is_valid(&[]);
    scene.place.write("data/revocations.jwt", "gone bad");
    scene.is_unchecked(&[], &["data"]);
}

#[test]
fn a_revocation_list_at_a_url_is_requested_only_with_online() {
    let scene = Scene::new();
    let issuer = Issuer::playing(Script::Says(answer("200 OK", &scene.revoked)));
    scene.configure(&format!("revocations = '{}'", issuer.url()));
    scene.is_unchecked(&[], &["license.revocations", "--online"]);
    assert_eq!(issuer.connections(), 0);
    scene.is_revoked(&["--online"]);
    // Without --online, the gate's copy is used.
    scene.place.write("data/revocations.jwt", &scene.revoked);
    scene.is_revoked(&[]);
    issuer.play(Script::Says(answer("200 OK", &scene.forgiving())));
    scene.is_valid(&["--online"]);
    issuer.play(Script::Says(answer("503 Busy", "")));
    scene.place.write("data/revocations.jwt", &scene.forgiving());
    scene.is_unchecked(&["--online"], &["license.revocations", "503"]);
    scene.is_valid(&[]);
    let out = scene.inspect(&["--online"]).out;
    assert!(!out.contains("tenant"), "a query may hold a secret: {out}");
}

#[test]
fn keys_at_a_url_are_requested_only_with_online() {
    let scene = Scene::new();
    let jwks = std::fs::read_to_string(scene.place.path().join("issuer/jwks.json")).expect("keys");
    let issuer = Issuer::playing(Script::Says(answer("200 OK", &format!("\u{feff}{jwks}"))));
    scene.place.run(&["keys", "generate", "--out", "other"]).exits(0);
    scene.configure(&format!("keys = 'other/jwks.json'\njwks_url = '{}'", issuer.url()));
    scene.is_unchecked(&[], &["license.jwks_url", "--online"]);
    scene.is_valid(&["--online"]);
    issuer.play(Script::Says(answer("500 Oops", "")));
    scene.is_unchecked(&["--online"], &["license.jwks_url", "500"]);
    // If a local key verifies the token, the URL does not matter.
    scene.configure(&format!("keys = 'issuer/jwks.json'\njwks_url = '{}'", issuer.url()));
    scene.is_valid(&[]);
    scene.is_valid(&["--online"]);
}

#[test]
fn a_renewal_request_prefers_a_license_that_is_not_revoked() {
    let scene = Scene::new();
    let issue = ["license", "issue", "--key", "issuer/private.pem", "--sub", ROOT, "--lid", "8"];
    let older = r#"{"iat":1000000000}"#;
    let issue = [&issue[..], &["--claims", "-"]].concat();
    let other = scene.place.run_with(&issue, &[], older).exits(0).out;
    scene.configure("file = 'license.jwt'\nrevocations = 'revoked.jwt'");
    scene.place.write("data/license.jwt", &other);
    let asked = || {
        let ran = scene.place.run(&["license", "request", "--config", "gate.toml", "--out", "-"]);
        serde_json::from_str::<Value>(&ran.exits(0).out).expect("JSON")["lid"].clone()
    };
    scene.place.write("revoked.jwt", &scene.forgiving());
    assert_eq!(asked(), "7");
    scene.place.write("revoked.jwt", &scene.revoked);
    assert_eq!(asked(), "8");
}
