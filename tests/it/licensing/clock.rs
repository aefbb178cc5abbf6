//! Time passes while the gate runs. The gate runs in this process, with a manual clock.

use license_gate::clock::UnixTime;
use serde_json::json;

use crate::support::timed::{NOW, Timed};
use crate::support::vendor::DAY;

#[test]
fn a_token_expires_at_exp_plus_leeway() {
    let gate = Timed::new();
    gate.post(&gate.token().sign()).is(200);
    gate.at(NOW + 10 * DAY, 1);
    gate.at(NOW + 10 * DAY + 59, 1);
    gate.at(NOW + 10 * DAY + 60, 5);
    gate.at(NOW + 10 * DAY + 59, 1);
    gate.at(NOW + 100 * DAY, 5);
}

#[test]
fn a_license_expires_at_lexp_to_the_second() {
    let gate = Timed::new();
    gate.post(&gate.token().with("lexp", NOW + DAY).sign()).is(200);
    gate.at(NOW + DAY - 1, 1);
    gate.at(NOW + DAY, 5);
}

#[test]
fn a_trial_expires_at_trial_exp_to_the_second() {
    let gate = Timed::new();
    let token = gate.token().with("trial", true).with("trial_exp", NOW + DAY).sign();
    gate.post(&token).is(200);
    gate.at(NOW + DAY - 1, 1);
    gate.at(NOW + DAY, 5);
}

#[test]
fn before_nbf_minus_leeway_a_license_is_not_valid() {
    let gate = Timed::new();
    gate.post(&gate.token().with("nbf", NOW + 60).sign()).is(200);
    gate.at(NOW, 1);
    gate.at(NOW - 1, 3);
    gate.at(NOW + 60, 1);
}

#[test]
fn an_installation_is_judged_by_the_present_time() {
    let gate = Timed::new();
    let token = gate.token().with("lexp", NOW + DAY).sign();
    gate.clock.set(UnixTime::from_secs(NOW + DAY));
    gate.post(&token).fails(400, "licensing.token.license-expired");
    gate.clock.set(UnixTime::from_secs(NOW + DAY - 1));
    gate.post(&token).is(200);
    let early = gate.token().with("nbf", NOW + 2 * DAY).sign();
    gate.post(&early).fails(400, "licensing.token.not-yet-valid");
    gate.clock.set(UnixTime::from_secs(NOW + 2 * DAY - 60));
    gate.post(&early).is(200);
}

#[test]
fn an_expired_license_is_shown_until_a_newer_one_replaces_it() {
    let gate = Timed::new();
    gate.post(&gate.token().with("company", "Kept Ltd").sign()).is(200);
    gate.at(NOW + 20 * DAY, 5);
    let shown = gate.ask("GET", "/api/licensing/token").send().json();
    assert_eq!((&shown["company"], &shown["exp"]), (&json!("Kept Ltd"), &json!(NOW + 10 * DAY)));
    gate.post(&gate.token().with("exp", NOW + 30 * DAY).sign()).is(200);
    gate.at(NOW + 20 * DAY, 1);
}
