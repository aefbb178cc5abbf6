//! Stored licenses with a status other than 1 are shown with their status.

use serde_json::json;

use crate::support::scene::Setup;
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
