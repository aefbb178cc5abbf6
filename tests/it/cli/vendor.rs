//! The vendor's commands: keys, licenses, and what a gate says about them.

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
fn a_license_issued_is_valid_by_flags_environment_or_file() {
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
fn what_cannot_be_read_is_2() {
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
