//! The vendor's commands: keys and licenses, and the checks of `license inspect`.

use std::os::unix::fs::PermissionsExt;

use license_gate::license::{Keys, Revocations};
use serde_json::Value;

use crate::support::program::Place;

const ROOT: &str = "https://metrics.example.com/";

/// A place with keys in `issuer/`, and a license for [`ROOT`].
fn licensed() -> (Place, String) {
    let place = Place::new();
    place.run(&["keys", "generate", "--out", "issuer"]).exits(0);
    let token = place
        .run(&["license", "issue", "--key", "issuer/private.pem", "--sub", ROOT, "--lid", "7"])
        .exits(0)
        .out;
    (place, token)
}

#[test]
fn an_issued_license_is_valid_with_flags_environment_or_file() {
    let (place, token) = licensed();
    let inspect = ["license", "inspect", "-"];
    let keys = "issuer/jwks.json";

    let flags = [&inspect[..], &["--issuer-keys", keys, "--root-url", ROOT]].concat();
    place.run_with(&flags, &[], &token).exits(0).prints("status 1 (valid)");

    let environment =
        [("LICENSE_GATE__LICENSE__KEYS", keys), ("LICENSE_GATE__SERVER__ROOT_URL", ROOT)];
    place.run_with(&inspect, &environment, &token).exits(0);

    let file = format!("[server]\nroot_url = '{ROOT}'\n[license]\nkeys = '../{keys}'\n");
    place.write("etc/gate.toml", &file);
    let configured = [&inspect[..], &["--config", "etc/gate.toml"]].concat();
    place.run_with(&configured, &[], &token).exits(0);

    let elsewhere = [&configured[..], &["--root-url", "https://other/"]].concat();
    place.run_with(&elsewhere, &[], &token).exits(1);
}

#[test]
fn inspecting_unreadable_files_exits_with_2() {
    let (place, token) = licensed();
    let inspect = ["license", "inspect", "-", "--issuer-keys"];
    place.run_with(&[&inspect[..], &["nowhere"]].concat(), &[], &token).exits(2);
    place
        .run_with(&[&inspect[..], &["issuer", "--config", "nowhere"]].concat(), &[], &token)
        .exits(2);
    place.run(&["license", "inspect", "nowhere", "--issuer-keys", "issuer/jwks.json"]).exits(2);
    place.run(&["license", "inspect"]).exits(2);
    place.run(&["license"]).exits(2);
}

#[test]
fn keys_are_never_overwritten() {
    let (place, _) = licensed();
    let before = std::fs::read(place.path().join("issuer/private.pem")).expect("there");
    place.run(&["keys", "generate", "--out", "issuer"]).exits(1);
    assert_eq!(std::fs::read(place.path().join("issuer/private.pem")).expect("there"), before);
}

#[test]
fn a_configuration_trusts_the_keys_generated_for_it() {
    let (place, _) = licensed();
    place.run(&["check-config", "--issuer-keys", "issuer/jwks.json"]).exits(0);
}

/// A place with a `gate.toml`, and [`licensed`]'s token in its store.
fn configured() -> (Place, String) {
    let (place, token) = licensed();
    let file = format!(
        "[server]\nroot_url = '{ROOT}'\n[license]\nkeys = 'issuer/jwks.json'\nfile = 'mounted.jwt'\n\
         [store]\nurl = 'file:data'\n"
    );
    place.write("gate.toml", &file);
    place.write("data/license.jwt", &token);
    (place, token)
}

/// The claims of the token, as printed by `license inspect`, and the exit code.
fn inspected(place: &Place, token: &str) -> (i32, Value) {
    let words = ["license", "inspect", "-", "--config", "gate.toml", "--json"];
    let ran = place.run_with(&words, &[], token);
    (ran.code, serde_json::from_str::<Value>(&ran.out).expect("JSON")["claims"].take())
}

#[test]
fn a_license_is_renewed_without_a_network() {
    let (place, token) = configured();
    place
        .run(&["license", "request", "--config", "gate.toml", "--out", "request.json"])
        .exits(0)
        .prints("request.json requests the renewal of license 7 for https://metrics.example.com/");
    let path = place.path().join("request.json");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let request: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
    assert_eq!(request["token"], token.trim_end());

    let issue = ["license", "issue", "--key", "issuer/private.pem", "--request", "request.json"];
    let renewed = place.run(&issue).exits(0).out;
    let ((_, before), (code, after)) = (inspected(&place, &token), inspected(&place, &renewed));
    assert_eq!((code, &after["lid"], &after["sub"]), (0, &before["lid"], &before["sub"]));
    assert_ne!(after["jti"], before["jti"]);

    // As `license.file` it is the newer license, which the next request renews.
    place.write("mounted.jwt", &format!("\u{feff}{}\r\n", renewed.trim_end()));
    place.write("data/license.jwt", "gone bad");
    let again = ["license", "request", "--config", "gate.toml", "--out", "-"];
    let again = place.run(&again).exits(0).reports(&["data/license.jwt", "is ignored"]);
    let again: Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!(again["jti"], after["jti"]);
}

#[test]
fn a_request_takes_its_instance_from_flags_and_environment_too() {
    let (place, token) = licensed();
    place.write("kept/license.jwt", &token);
    let words = ["license", "request", "--out", "-"];
    let flags = ["--root-url", ROOT, "--issuer-keys", "issuer/jwks.json", "--data-dir", "kept"];
    place.run(&[&words[..], &flags].concat()).exits(0);
    let environment = [
        ("LICENSE_GATE__SERVER__ROOT_URL", ROOT),
        ("LICENSE_GATE__LICENSE__KEYS", "issuer/jwks.json"),
        ("LICENSE_GATE__LICENSE__FILE", "kept/license.jwt"),
    ];
    place.run_with(&words, &environment, "").exits(0);
}

#[test]
fn a_failed_request_exits_with_1_and_wrong_usage_with_2() {
    let (place, _) = configured();
    let request = ["license", "request", "--config", "gate.toml", "--out", "request.json"];
    place.run(&request).exits(0);
    place.run(&request).exits(1).reports(&["request.json", "--force"]);
    place.run(&[&request[..], &["--force"]].concat()).exits(0);
    let other = [&request[..], &["--force", "--root-url", "https://other/"]].concat();
    place.run(&other).exits(1).reports(&["licensed for", "this instance is https://other/"]);
    let nowhere = [&request[..], &["--force", "--data-dir", "nowhere"]].concat();
    place.run(&nowhere).exits(1).reports(&["no license to renew", "nowhere/license.jwt"]);
    place.run(&["license", "request"]).exits(2);
    place.run(&["license", "request", "--out", "x", "--config", "nowhere"]).exits(1);
}

#[test]
fn a_revocation_list_is_signed_and_extended() {
    let (place, _) = licensed();
    let revoke = ["license", "revoke", "--key", "issuer/private.pem"];
    let first = [&revoke[..], &["--sequence", "1", "--lid", "7"]].concat();
    let first = place.run(&first).exits(0).out;
    place.write("revoked.jwt", &first);
    let second = [&revoke[..], &["--list", "revoked.jwt", "--jti", "J"]].concat();
    let second = place.run(&second).exits(0).out;

    let (keys, _) = Keys::load(&place.path().join("issuer/jwks.json")).expect("keys");
    let list = Revocations::verify(&second, &keys).expect("a list");
    assert_eq!(list.sequence(), 2);
    assert!(list.revoked().lid.contains("7") && list.revoked().jti.contains("J"));

    place.run(&[&revoke[..], &["--sequence", "3"]].concat()).exits(1).reports(&["--empty"]);
    place.run(&[&revoke[..], &["--lid", "7"]].concat()).exits(2);
    let inspect = ["license", "inspect", "revoked.jwt", "--issuer-keys", "issuer/jwks.json"];
    let inspected = place.run(&inspect).exits(1);
    assert!(inspected.out.contains("a revocation list, not a license"), "{}", inspected.out);
}
