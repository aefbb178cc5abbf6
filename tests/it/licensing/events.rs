//! Events: their kinds, contents and number.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::issuer::{Issuer, Script};
use crate::support::receiver::{Received, Receiver, write_secret};
use crate::support::scene::jti;
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::{DAY, ROOT_URL, Vendor};

const HOUR: u64 = 3600;
/// Waits of the monitor and the sender of events.
const LOOPS: usize = 2;
/// The same, and that of the renewal.
const RENEWING: usize = 3;

/// A gate without a license that sends events to a receiver.
fn notifying(lines: &[&str], prepared: impl FnOnce(&Path, &Vendor)) -> (Timed, Receiver) {
    let receiver = Receiver::new();
    let its = receiver.lines();
    let lines: Vec<&str> = its.iter().map(String::as_str).chain(lines.iter().copied()).collect();
    let gate = Timed::with(&lines, |dir, vendor| {
        write_secret(dir);
        std::fs::create_dir(dir.join("data")).expect("made");
        prepared(dir, vendor);
    });
    (gate, receiver)
}

fn store(dir: &Path, token: &str) {
    std::fs::write(dir.join("data/license.jwt"), token).expect("written");
}

fn mount(dir: &Path, token: &str) {
    std::fs::write(dir.join("mounted.jwt"), token).expect("written");
}

fn remove(gate: &Timed) {
    let instance = json!({ "instance": ROOT_URL });
    gate.ask("DELETE", "/api/licensing/token").json(&instance).send().is(202);
}

/// Asserts the contents of an event.
#[track_caller]
fn is_event(sent: &Received, event: &str, time: u64, license: &Value, message: &str) {
    let expected = json!({
        "id": sent.id(), "event": event, "time": humantime_of(time), "instance": ROOT_URL,
        "license": license, "message": message,
    });
    assert_eq!(sent.body, expected);
    assert_eq!(sent.at, time, "sent at once");
    assert_eq!(sent.id().len(), 32);
}

fn humantime_of(moment: u64) -> String {
    license_gate::clock::UnixTime::from_secs(moment).to_string()
}

#[test]
fn each_kind_of_event_is_sent_once_with_its_contents() {
    let refuses = "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n";
    let issuer = Issuer::playing(Script::Says(refuses.into()));
    let url = format!("renewal.url = {:?}", issuer.url());
    let mut first = String::new();
    let (gate, receiver) = notifying(&[&url, "renewal.timeout = \"5s\""], |dir, vendor| {
        first = vendor.token().with("iat", NOW).with("exp", NOW + 14 * DAY).sign();
        store(dir, &first);
    });
    gate.pass(NOW, RENEWING);
    let license = |token: &str, status: u8, lid: &str, ends: [Option<u64>; 2]| {
        let [expires, token_expires] = ends.map(|end| end.map(humantime_of));
        json!({
            "jti": jti(token), "lid": lid, "company": "Example Ltd", "status": status,
            "expires": expires, "token_expires": token_expires,
        })
    };

    // The issuer fails for an hour.
    let failed = NOW + DAY + 60;
    gate.pass(failed, RENEWING);
    let sent = receiver.wait_for(1);
    let end = humantime_of(NOW + 14 * DAY);
    let message = format!(
        "The license could not be renewed: the issuer returned no license: the issuer refused with status 503. It stays in \
         force until {end}, and the renewal is tried again."
    );
    let its = license(&first, 1, "L-1", [None, Some(NOW + 14 * DAY)]);
    is_event(&sent, "renewal_failing", failed, &its, &message);
    let renewed = failed + HOUR;
    let second = gate.vendor.token().with("iat", renewed).with("exp", renewed + 14 * DAY).sign();
    issuer.play(Script::Grants(second.clone()));
    gate.pass(renewed, RENEWING);
    let sent = receiver.wait_for(2);
    let end = humantime_of(renewed + 14 * DAY);
    let message = format!("The license was renewed: its token expires at {end}.");
    let its = license(&second, 1, "L-1", [None, Some(renewed + 14 * DAY)]);
    is_event(&sent, "renewed", renewed, &its, &message);

    // Another license by hand, which expires.
    let ends = NOW + 40 * DAY;
    let token = gate.vendor.token().with("lid", "L-2").with("iat", renewed).with("lexp", ends);
    let token = token.with("exp", NOW + 90 * DAY).with("update_days", 80).sign();
    gate.post(&token).is(200);
    let sent = receiver.wait_for(3);
    let its = |status| license(&token, status, "L-2", [Some(ends), Some(NOW + 90 * DAY)]);
    is_event(&sent, "changed", renewed, &its(1), "Another license is in force.");
    gate.pass(ends - 30 * DAY - 1, RENEWING);
    gate.pass(ends - 30 * DAY, RENEWING);
    let sent = receiver.wait_for(4);
    let message = format!("The license expires at {}.", humantime_of(ends));
    is_event(&sent, "expiring_soon", ends - 30 * DAY, &its(1), &message);
    gate.pass(ends - 1, RENEWING);
    gate.pass(ends, RENEWING);
    let sent = receiver.wait_for(5);
    let message = format!(
        "There is no valid license: the license expired at {}: install the next license, or renew this one if the issuer has extended it.",
        humantime_of(ends)
    );
    is_event(&sent, "expired", ends, &its(5), &message);
    remove(&gate);
    is_event(&receiver.wait_for(6), "changed", ends, &Value::Null, "There is no license any more.");

    let names = ["renewal_failing", "renewed", "changed", "expiring_soon", "expired", "changed"];
    let all = receiver.have_come(&names);
    let mut ids: Vec<_> = all.iter().map(Received::id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), names.len(), "each event has its own id");
}

#[test]
fn a_near_expiry_is_announced_once_also_across_restarts() {
    let (gate, receiver) = notifying(&[], |dir, vendor| {
        store(dir, &vendor.token().with("iat", NOW).with("exp", NOW + 10 * DAY).sign());
    });
    // Late enough for a renewal that is due at the same time.
    let near = NOW + 7 * DAY + 120;
    gate.pass(near - 1, LOOPS);
    (0..12).for_each(|hour| gate.pass(near + hour * HOUR, LOOPS));
    let gate = gate.restart();
    (12..36).for_each(|hour| gate.pass(near + hour * HOUR, LOOPS));
    // Another token with the same expiry is a change, but its expiry is not announced again.
    let same = gate.vendor.token().with("exp", NOW + 10 * DAY).sign();
    gate.post(&same).is(200);
    receiver.wait_for(2);
    gate.pass(near + 40 * HOUR, LOOPS);
    // A later expiry is announced.
    gate.post(&gate.vendor.token().with("exp", NOW + 20 * DAY).sign()).is(200);
    receiver.wait_for(3);
    (12..18).for_each(|day| gate.pass(NOW + day * DAY + 120, LOOPS));
    remove(&gate);
    let names = ["expiring_soon", "changed", "changed", "expiring_soon", "changed"];
    let all = receiver.have_come(&names);
    assert_eq!(all[0].time(), near);
    let end = humantime_of(NOW + 10 * DAY);
    let message = format!("The license token expires at {end} and has not been renewed.");
    assert_eq!(all[0].message(), message);
    assert_eq!(all[3].time(), NOW + 17 * DAY + 120);
}

#[test]
fn a_failing_renewal_is_announced_once_for_each_reason() {
    let issuer = Issuer::playing(Script::HangsUp);
    let url = format!("renewal.url = {:?}", issuer.url());
    let (gate, receiver) = notifying(&[&url, "renewal.timeout = \"5s\""], |dir, vendor| {
        let token = vendor.token().with("iat", NOW).with("exp", NOW + 14 * DAY);
        store(dir, &token.with("tok_exp_warn_days", 0).sign());
    });
    let days = |gate: &Timed, days: std::ops::Range<u64>| {
        days.for_each(|day| {
            (0..4).for_each(|part| gate.pass(NOW + day * DAY + part * 6 * HOUR + 60, RENEWING));
        });
    };
    days(&gate, 1..3);
    let gate = gate.restart();
    days(&gate, 3..5);
    receiver.wait_for(1);
    issuer.play(Script::Says("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".into()));
    days(&gate, 5..7);
    receiver.wait_for(2);
    issuer.play(Script::HangsUp);
    days(&gate, 7..9);
    // After a renewal by hand, a failure is announced again.
    let moment = NOW + 9 * DAY;
    let token = gate.vendor.token().with("iat", moment).with("exp", moment + 14 * DAY);
    issuer.play(Script::Grants(token.with("tok_exp_warn_days", 0).sign()));
    gate.ask("POST", "/api/licensing/token/renew").json(&json!({})).send().is(200);
    receiver.wait_for(3);
    issuer.play(Script::HangsUp);
    days(&gate, 10..12);
    receiver.wait_for(4);
    remove(&gate);
    let names = ["renewal_failing", "renewal_failing", "renewed", "renewal_failing", "changed"];
    let all = receiver.have_come(&names);
    assert!(all[1].message().contains("the issuer refused with status 403"), "{:?}", all[1]);
}

#[test]
fn tokens_without_jti_are_distinguished() {
    let issuer = Issuer::playing(Script::HangsUp);
    let url = format!("renewal.url = {:?}", issuer.url());
    let (gate, receiver) = notifying(&[&url, "renewal.timeout = \"5s\""], |dir, vendor| {
        let token = vendor.token().with("iat", NOW).with("exp", NOW + 14 * DAY);
        store(dir, &token.without("jti").sign());
    });
    gate.pass(NOW, RENEWING);
    let issued = |moment: u64| {
        let token = gate.vendor.token().with("iat", moment).with("exp", moment + 14 * DAY);
        Script::Grants(token.without("jti").sign())
    };
    let mut names = Vec::new();
    for day in [1, 3] {
        let due = NOW + day * DAY + 60;
        issuer.play(Script::HangsUp);
        gate.pass(due, RENEWING);
        names.push("renewal_failing");
        receiver.have_come(&names);
        issuer.play(issued(due + HOUR));
        gate.pass(due + HOUR, RENEWING);
        names.push("renewed");
        receiver.have_come(&names);
        assert_eq!(gate.shown()["iat"], due + HOUR);
    }
}

#[test]
fn changes_while_no_gate_ran_are_announced_once_at_startup() {
    let mounted = "license.file = \"mounted.jwt\"";
    let (gate, receiver) = notifying(&[mounted], |dir, vendor| {
        mount(dir, &vendor.token().with("iat", NOW).with("exp", NOW + 10 * DAY).sign());
    });
    gate.pass(NOW, LOOPS);
    let token = gate.vendor.token().with("iat", NOW + 5).with("exp", NOW + 20 * DAY).sign();
    let gate = gate.restart_after(|dir| mount(dir, &token));
    gate.pass(NOW + 60, LOOPS);
    let sent = receiver.wait_for(1);
    assert_eq!((sent.event(), &sent.body["license"]["jti"]), ("changed", &jti(&token)));
    let gate = gate.restart_after(|_| ());
    gate.pass(NOW + 120, LOOPS);
    // The license expires while no gate runs.
    let clock = gate.clock.clone();
    let after = license_gate::clock::UnixTime::from_secs(NOW + 30 * DAY);
    let gate = gate.restart_after(|_| clock.set(after));
    gate.pass(NOW + 30 * DAY, LOOPS);
    receiver.wait_for(2);
    let gate = gate.restart();
    gate.pass(NOW + 31 * DAY, LOOPS);
    gate.post(&gate.vendor.token().with("exp", NOW + 90 * DAY).sign()).is(200);
    receiver.have_come(&["changed", "expired", "changed"]);
}

#[test]
fn falling_back_to_a_license_renewed_earlier_is_a_change_not_a_renewal() {
    let issuer = Issuer::playing(Script::HangsUp);
    let url = format!("renewal.url = {:?}", issuer.url());
    let lines = [&*url, "renewal.timeout = \"5s\"", "license.file = \"mounted.jwt\""];
    let (gate, receiver) = notifying(&lines, |dir, vendor| {
        store(dir, &vendor.token().with("iat", NOW).with("exp", NOW + 40 * DAY).sign());
        // From day 2 to day 4.
        let token = vendor.token().with("iat", NOW + 2 * DAY).with("nbf", NOW + 2 * DAY);
        let token = token.with("exp", NOW + 4 * DAY).with("update_days", 30);
        mount(dir, &token.with("tok_exp_warn_days", 0).sign());
    });
    gate.pass(NOW, RENEWING);
    let token = gate.vendor.token().with("iat", NOW + DAY).with("exp", NOW + 40 * DAY);
    issuer.play(Script::Grants(token.with("update_days", 30).sign()));
    gate.pass(NOW + DAY + 60, RENEWING);
    receiver.have_come(&["renewed"]);
    gate.pass(NOW + 2 * DAY, RENEWING);
    let sent = receiver.have_come(&["renewed", "changed"]);
    let message = "Another license is in force, from license.file: it was issued later than that of the other source.";
    assert_eq!(sent[1].message(), message);
    gate.pass(NOW + 4 * DAY + 60, RENEWING);
    remove(&gate);
    let sent = receiver.have_come(&["renewed", "changed", "changed", "expired"]);
    let message = "Another license is in force, from the store: the license of the other source is not valid.";
    assert_eq!(sent[2].message(), message);
}

#[test]
fn each_change_is_one_event_also_if_it_occurs_again() {
    let (gate, receiver) = notifying(&["license.file = \"mounted.jwt\""], |dir, vendor| {
        mount(dir, &vendor.token().with("iat", NOW - DAY).with("exp", NOW - 1000).sign());
    });
    gate.pass(NOW, LOOPS);
    let mut names = vec!["expired"];
    receiver.have_come(&names);
    // A valid license is installed and removed twice: each time, the return to the expired one is a change.
    for _ in 0..2 {
        gate.post(&gate.token().sign()).is(200);
        names.push("changed");
        receiver.have_come(&names);
        remove(&gate);
        names.push("changed");
        let sent = receiver.have_come(&names);
        let last = sent.last().expect("an event");
        assert_eq!(last.body["license"]["status"], 5);
        assert!(last.message().starts_with("There is no valid license: "), "{last:?}");
    }
    // The same token once more is no change.
    let token = gate.token().sign();
    gate.post(&token).is(200);
    names.push("changed");
    receiver.have_come(&names);
    gate.post(&token).is(200);
    gate.pass(NOW + 600, LOOPS);
    gate.post(&gate.token().sign()).is(200);
    names.push("changed");
    receiver.have_come(&names);
}

#[test]
fn a_license_that_becomes_valid_or_invalid_by_the_clock_is_announced() {
    let (gate, receiver) = notifying(&[], |dir, vendor| {
        let token = vendor.token().with("iat", NOW).with("nbf", NOW + DAY);
        store(dir, &token.with("exp", NOW + 40 * DAY).sign());
    });
    let mut names = Vec::new();
    for (moment, status) in [(NOW, 3), (NOW + DAY, 1), (NOW, 3), (NOW + DAY, 1)] {
        gate.pass(moment, LOOPS);
        names.push("changed");
        let sent = receiver.have_come(&names);
        let last = sent.last().expect("sent");
        assert_eq!(last.body["license"]["status"], status);
        let message = match status {
            1 => "The license is valid now.",
            _ => "There is no valid license: the license starts at ",
        };
        assert!(last.message().starts_with(message), "{last:?}");
    }
}
