//! Time passes while the gate runs: by a clock that a test sets, in this process.

use license_gate::clock::UnixTime;
use serde_json::json;

use crate::support::timed::{NOW, Timed};
use crate::support::vendor::DAY;

#[test]
fn a_token_ends_at_its_exp_and_the_leeway() {
    let gate = Timed::new();
    gate.post(&gate.token().sign()).is(200);
    gate.at(NOW + 10 * DAY, 1);
    gate.at(NOW + 10 * DAY + 59, 1);
    gate.at(NOW + 10 * DAY + 60, 5);
    gate.at(NOW + 10 * DAY + 59, 1);
    gate.at(NOW + 100 * DAY, 5);
}

#[test]
fn a_license_ends_at_its_lexp_to_the_second() {
    let gate = Timed::new();
    gate.post(&gate.token().with("lexp", NOW + DAY).sign()).is(200);
    gate.at(NOW + DAY - 1, 1);
    gate.at(NOW + DAY, 5);
}

#[test]
fn a_trial_ends_at_its_trial_exp_to_the_second() {
    let gate = Timed::new();
    let token = gate.token().with("trial", true).with("trial_exp", NOW + DAY).sign();
    gate.post(&token).is(200);
    gate.at(NOW + DAY - 1, 1);
    gate.at(NOW + DAY, 5);
}

#[test]
fn a_clock_that_goes_back_before_nbf_and_the_leeway_makes_it_early() {
    let gate = Timed::new();
    gate.post(&gate.token().with("nbf", NOW + 60).sign()).is(200);
    gate.at(NOW, 1);
    gate.at(NOW - 1, 3);
    gate.at(NOW + 60, 1);
}

#[test]
fn what_may_be_installed_is_judged_at_that_moment_too() {
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
fn an_ended_license_is_still_shown_and_a_newer_one_takes_its_place() {
    let gate = Timed::new();
    gate.post(&gate.token().with("company", "Kept Ltd").sign()).is(200);
    gate.at(NOW + 20 * DAY, 5);
    let shown = gate.ask("GET", "/api/licensing/token").send().json();
    assert_eq!((&shown["company"], &shown["exp"]), (&json!("Kept Ltd"), &json!(NOW + 10 * DAY)));
    gate.post(&gate.token().with("exp", NOW + 30 * DAY).sign()).is(200);
    gate.at(NOW + 20 * DAY, 1);
}
