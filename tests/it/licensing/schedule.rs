//! Scheduled renewal: when the issuer is called, and what a failure changes.

use std::net::TcpListener;

use crate::support::issuer::{self, Issuer, Script};
use crate::support::scene::jti;
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::{DAY, Vendor};

const HOUR: u64 = 3600;
/// Waits of the monitor and the renewal.
const LOOPS: usize = 2;

/// A gate with a license for two weeks, issued at [`NOW`], that renews it at `issuer`.
fn renewing(issuer: &Issuer, token: impl FnOnce(&Vendor) -> String) -> Timed {
    let url = format!("renewal.url = {:?}", issuer.url());
    let gate = Timed::with(&[&url, "renewal.timeout = \"5s\""], |dir, vendor| {
        std::fs::create_dir(dir.join("data")).expect("made");
        std::fs::write(dir.join("data/license.jwt"), token(vendor)).expect("written");
    });
    gate.pass(NOW, LOOPS);
    gate
}

fn usual(vendor: &Vendor) -> String {
    vendor.token().with("iat", NOW).with("exp", NOW + 14 * DAY).sign()
}

/// A token issued at `moment` for two weeks.
fn issued(gate: &Timed, moment: u64) -> String {
    gate.vendor.token().with("iat", moment).with("exp", moment + 14 * DAY).sign()
}

#[test]
fn a_token_is_renewed_a_day_after_it_was_issued_and_not_before() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = renewing(&issuer, usual);
    gate.pass(NOW + DAY - 1, LOOPS);
    assert_eq!(issuer.connections(), 0);
    let token = issued(&gate, NOW + DAY);
    issuer.play(Script::Grants(token.clone()));
    gate.pass(NOW + DAY + 60, LOOPS);
    assert_eq!((issuer.connections(), &gate.shown()["jti"]), (1, &jti(&token)));
    gate.pass(NOW + 2 * DAY - 1, LOOPS);
    assert_eq!(issuer.connections(), 1);
}

#[test]
fn a_token_is_renewed_at_the_latest_at_its_warning() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = renewing(&issuer, |vendor| {
        let token = vendor.token().with("iat", NOW).with("exp", NOW + 14 * DAY);
        token.with("update_days", 30).with("tok_exp_warn_days", 5).sign()
    });
    gate.pass(NOW + 9 * DAY - 1, LOOPS);
    assert_eq!(issuer.connections(), 0);
    gate.pass(NOW + 9 * DAY + 60, LOOPS);
    assert_eq!(issuer.connections(), 1);
}

#[test]
fn an_overdue_token_is_renewed_within_a_minute_of_startup() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = renewing(&issuer, |vendor| {
        vendor.token().with("iat", NOW - 5 * DAY).with("exp", NOW + DAY).sign()
    });
    let token = issued(&gate, NOW);
    issuer.play(Script::Grants(token.clone()));
    gate.pass(NOW + 60, LOOPS);
    assert_eq!(gate.shown()["jti"], jti(&token));
}

#[test]
fn failures_back_off_up_to_an_hour() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = renewing(&issuer, usual);
    let start = NOW + DAY + 60;
    gate.pass(start, LOOPS);
    assert_eq!(issuer.connections(), 1);
    // 1, 2, 4, 8, 16, 32 minutes, or a quarter less.
    (1..=64).for_each(|minute| gate.pass(start + minute * 60, LOOPS));
    let early = issuer.connections();
    assert!((6..=8).contains(&early), "{early} calls");
    (2..=26).for_each(|hour| {
        (1..=4).for_each(|part| gate.pass(start + hour * HOUR + part * 900, LOOPS))
    });
    let late = issuer.connections() - early;
    assert!((24..=36).contains(&late), "{late} calls in a day");
    assert_eq!(gate.shown()["status"], 1, "the license stays in force");
    let token = issued(&gate, start + 27 * HOUR);
    issuer.play(Script::Grants(token.clone()));
    gate.pass(start + 28 * HOUR + 60, LOOPS);
    assert_eq!(gate.shown()["jti"], jti(&token));
}

#[test]
fn alternating_failures_are_logged_once_each_until_a_success() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = renewing(&issuer, usual);
    let start = NOW + DAY + 60;
    let refusal = || Script::Says(issuer::answer("403 Forbidden", ""));
    for hour in 0..20 {
        issuer.play(if hour % 2 == 0 { Script::HangsUp } else { refusal() });
        gate.pass(start + hour * HOUR, LOOPS);
    }
    assert!(issuer.connections() >= 15, "{} calls", issuer.connections());
    let logged = || gate.log().count("the license could not be renewed");
    assert_eq!(logged(), 2);
    issuer.play(Script::Grants(issued(&gate, start + 21 * HOUR)));
    gate.pass(start + 22 * HOUR, LOOPS);
    issuer.play(refusal());
    gate.pass(start + 48 * HOUR, LOOPS);
    assert_eq!(logged(), 3, "logged again after a success");
}

#[test]
fn retry_after_of_the_issuer_is_honored() {
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 18000\r\nContent-Length: 0\r\n\r\n";
    let issuer = Issuer::playing(Script::Says(busy.into()));
    let gate = renewing(&issuer, usual);
    let start = NOW + DAY + 60;
    gate.pass(start, LOOPS);
    gate.pass(start + 4 * HOUR, LOOPS);
    assert_eq!(issuer.connections(), 1);
    gate.pass(start + 5 * HOUR, LOOPS);
    assert_eq!(issuer.connections(), 2);
}

#[test]
fn an_issuer_that_returns_the_same_token_is_called_hourly() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = renewing(&issuer, usual);
    let same = std::fs::read_to_string(gate.data().join("license.jwt")).expect("a license");
    issuer.play(Script::Grants(same));
    let start = NOW + DAY + 60;
    gate.pass(start, LOOPS);
    (1..59).for_each(|minute| gate.pass(start + minute * 60, LOOPS));
    assert_eq!(issuer.connections(), 1);
    gate.pass(start + HOUR, LOOPS);
    assert_eq!(issuer.connections(), 2);
}

#[test]
fn an_unacceptable_answer_leaves_the_license_in_force() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = renewing(&issuer, usual);
    let kept = gate.shown()["jti"].clone();
    let stranger = Vendor::new();
    let moment = NOW + DAY + 60;
    let answers = [
        issuer::answer("200 OK", "<html><body>Sign in</body></html>"),
        issuer::answer("200 OK", &"x".repeat(3 << 20)),
        issuer::answer("200 OK", "{\"token\":\"x\"}"),
        issuer::answer("500 Oh", "{}"),
        "garbage".to_owned(),
    ];
    let answers = answers.into_iter().map(Script::Says);
    let token = || gate.vendor.token().with("iat", moment).with("exp", moment + 14 * DAY);
    let tokens = [
        token().with("sub", "http://elsewhere.example/").sign(),
        token().with("lid", "L-2").sign(),
        token().with("iat", NOW - DAY).sign(),
        stranger.token().with("exp", moment + 14 * DAY).sign(),
    ];
    let mut calls = 0;
    for (number, script) in answers.chain(tokens.into_iter().map(Script::Grants)).enumerate() {
        let what = format!("{script:.60?}");
        issuer.play(script);
        gate.pass(moment + number as u64 * 2 * HOUR, LOOPS);
        assert!(issuer.connections() > calls, "{what}: called again");
        calls = issuer.connections();
        assert_eq!(gate.shown()["jti"], kept, "{what}");
        assert_eq!(gate.shown()["status"], 1, "{what}");
    }
}

#[test]
fn without_a_url_no_call_is_made() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let gate = Timed::with(&["renewal.url = \"\""], |dir, vendor| {
        std::fs::create_dir(dir.join("data")).expect("made");
        std::fs::write(dir.join("data/license.jwt"), usual(vendor)).expect("written");
    });
    for day in 1..20 {
        gate.pass(NOW + day * DAY, 1);
    }
    assert!(listener.accept().is_err());
    assert_eq!(gate.shown()["status"], 5);
}
