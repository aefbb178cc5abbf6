//! Stored licenses with a status other than 1 are shown with their status.

use serde_json::json;

use crate::support::http::request;
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::{DAY, Token, now};

/// Asserts that a gate with this stored license shows it with `status`, and that `check` is false.
#[track_caller]
fn found_at_start(setup: Setup, change: impl FnOnce(Token<'_>) -> Token<'_>, status: u8) {
    let token = change(setup.vendor.token().with("company", "Kept Ltd"));
    let (text, claims) = (token.sign(), token.claims().clone());
    let scene = setup.stored(&text).start();
    let shown = scene.shown();
    assert_eq!(shown["status"], status);
    for claim in ["jti", "lid", "sub", "company", "exp"] {
        assert_eq!(shown[claim], claims[claim], "{claim}");
    }
    assert_eq!(scene.check(), "false");
    assert_eq!(scene.on_disk(), Some(text), "it stays in the store");
    assert_eq!(scene.ask("GET", "/anything").send().status, 200, "the dashboard stays reachable");
    let better = scene.vendor.token().with("prod", json!(["metrics"])).sign();
    scene.install(&better);
    scene.holds(&better);
}

#[test]
fn an_expired_license_is_shown_with_status_5() {
    let ended = now() - 1;
    found_at_start(Setup::new(), |token| token.with("exp", ended - 60), 5);
    found_at_start(Setup::new(), |token| token.with("lexp", ended), 5);
    found_at_start(Setup::new(), |token| token.with("trial", true).with("trial_exp", ended), 5);
}

#[test]
fn a_license_of_another_instance_is_shown_with_status_6() {
    found_at_start(Setup::new(), |token| token.with("sub", "http://other.example/"), 6);
}

#[test]
fn a_license_that_has_not_started_is_shown_with_status_3() {
    found_at_start(Setup::new(), |token| token.with("nbf", now() + DAY), 3);
}

#[test]
fn a_license_of_an_issuer_no_longer_accepted_is_shown_with_status_3() {
    let setup = Setup::new().set("license.issuers", "[\"https://vendor.example/\"]");
    found_at_start(setup, |token| token.with("iss", "https://former.example/"), 3);
}

#[test]
fn a_license_without_the_product_is_shown_with_status_3() {
    let setup = Setup::new().set("license.product", "\"metrics\"");
    found_at_start(setup, |token| token.with("prod", json!(["logs"])), 3);
}

#[test]
fn the_first_failure_decides_the_status() {
    let end = now() - DAY;
    found_at_start(
        Setup::new(),
        |token| token.with("sub", "http://other.example/").with("exp", end),
        6,
    );
    found_at_start(Setup::new(), |token| token.with("nbf", now() + DAY).with("exp", end), 3);
}

/// The lines of a scrape that begin with `name`.
fn scraped(scene: &Scene, name: &str) -> Vec<String> {
    let text = request(scene.gate.admin(), "GET", "/metrics").send().is(200);
    text.text().lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn metrics_state_why_a_license_is_not_valid_and_when_it_ends() {
    let (later, sooner, ended) = (now() + 9 * DAY, now() + DAY, now() - 1);
    let cases = [
        (json!({}), None, None),
        (json!({ "lexp": later }), None, Some(later)),
        (json!({ "lexp": later, "trial_exp": sooner }), None, Some(later)),
        (json!({ "lexp": later, "trial": true, "trial_exp": sooner }), None, Some(sooner)),
        (json!({ "trial": true, "trial_exp": ended }), Some("trial-expired"), Some(ended)),
        (json!({ "lexp": ended }), Some("license-expired"), Some(ended)),
        (json!({ "exp": ended - 60 }), Some("token-expired"), None),
        (json!({ "nbf": later }), Some("not-yet-valid"), None),
        (json!({ "sub": "http://other.example/" }), Some("subject-mismatch"), None),
    ];
    for (claims, reason, end) in cases {
        let setup = Setup::new().set("admin.listen", "\"127.0.0.1:0\"");
        let pairs = claims.as_object().expect("claims").clone();
        let token = pairs
            .into_iter()
            .fold(setup.vendor.token(), |token, (name, value)| token.with(&name, value));
        let token = token.sign();
        let scene = setup.stored(&token).start();
        let expected = reason
            .map(|reason| format!("license_gate_license_not_valid_info{{reason=\"{reason}\"}} 1"));
        assert_eq!(
            scraped(&scene, "license_gate_license_not_valid_info"),
            Vec::from_iter(expected),
            "{claims}"
        );
        let expected =
            end.map(|end| format!("license_gate_license_expiry_timestamp_seconds {end}"));
        assert_eq!(
            scraped(&scene, "license_gate_license_expiry"),
            Vec::from_iter(expected),
            "{claims}"
        );
    }
}
