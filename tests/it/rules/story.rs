//! A feature over the life of a license: open, in grace, closed, and open again. What is open goes on.

use std::net::TcpStream;

use serde_json::json;
use tokio_tungstenite::tungstenite::{Message, client};

use crate::support::gate::PATIENCE;
use crate::support::receiver::{Receiver, write_secret};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::{DAY, ROOT_URL};

/// Waits of the monitor.
const LOOPS: usize = 1;
const RULES: &str =
    "gate.rules = [{ name = \"live\", paths = [\"/ws\", \"/live/**\"], grace = \"7d\" }]";
const GRACE_ENDS: &str = "license_gate_gate_grace_ends_timestamp_seconds{rule=\"live\"}";

fn date(moment: u64) -> String {
    license_gate::clock::UnixTime::from_secs(moment).to_string()
}

#[test]
fn a_feature_closes_after_the_grace_and_what_is_open_goes_on() {
    let gate = Timed::with(&[RULES], |dir, vendor| {
        let token = vendor.token().with("iat", NOW).with("exp", NOW + 10 * DAY).sign();
        std::fs::create_dir(dir.join("data")).expect("made");
        std::fs::write(dir.join("data/license.jwt"), token).expect("written");
    });
    let until = NOW + 17 * DAY;
    gate.pass(NOW, LOOPS);
    assert_eq!(gate.metric(GRACE_ENDS), until.to_string(), "visible beforehand");

    let stream = TcpStream::connect(gate.address()).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let (mut socket, answer) = client("ws://d/ws", stream).expect("opened");
    assert!(!answer.headers().contains_key("license-gate-warning"));
    let mut lives = || {
        socket.send(Message::text("there?")).expect("sent");
        assert_eq!(socket.read().expect("an echo"), Message::text("there?"));
    };
    lives();

    // Grace.
    gate.pass(NOW + 10 * DAY + 60, LOOPS);
    lives();
    let answer = gate.ask("GET", "/live/x").send();
    assert_eq!(
        answer.value("license-gate-warning").unwrap_or_default(),
        format!("grace until {}", date(until))
    );
    assert_eq!(gate.log().count("gate.grace_ending"), 0);
    for _ in 0..2 {
        gate.pass(until - DAY, LOOPS);
        assert_eq!(gate.log().count("gate.grace_ending"), 1, "once, a day before");
    }
    gate.pass(until - 1, LOOPS);
    assert!(gate.ask("GET", "/live/x").send().value("license-gate-warning").is_some());

    // Closed.
    gate.pass(until, LOOPS);
    let refused = gate.ask("GET", "/live/x").send().is(403).json();
    assert_eq!(refused["extra"]["since"], date(until));
    assert_eq!(gate.metric(GRACE_ENDS), until.to_string());
    lives();

    // A new license.
    let token = gate.vendor.token().with("iat", until).with("exp", until + 10 * DAY).sign();
    gate.post(&token).is(200);
    assert_eq!(gate.ask("GET", "/live/x").send().is(200).value("license-gate-warning"), None);
    lives();

    // No license, no grace.
    let instance = json!({ "instance": ROOT_URL });
    gate.ask("DELETE", "/api/licensing/token").json(&instance).send().is(202);
    let refused = gate.ask("GET", "/live/x").send().is(403).json();
    assert_eq!(
        refused["extra"],
        json!({ "rule": "live", "license": { "status": 4 }, "since": null })
    );
    lives();
}

#[test]
fn the_end_of_a_grace_is_sent_once_a_day_before() {
    let receiver = Receiver::new();
    let its = receiver.lines();
    let lines: Vec<&str> = its.iter().map(String::as_str).chain([RULES]).collect();
    let gate = Timed::with(&lines, |dir, vendor| {
        write_secret(dir);
        let token = vendor.token().with("iat", NOW).with("exp", NOW + 10 * DAY).sign();
        std::fs::create_dir(dir.join("data")).expect("made");
        std::fs::write(dir.join("data/license.jwt"), token).expect("written");
    });
    // The monitor, and the sender of events.
    let loops = LOOPS + 1;
    gate.pass(NOW, loops);
    gate.pass(NOW + 10 * DAY + 60, loops);
    let until = NOW + 17 * DAY;
    gate.pass(until - DAY, loops);
    let sent = receiver.have_come(&["expired", "grace_ending"]).remove(1);
    gate.pass(until - DAY / 2, loops);
    assert_eq!(sent.at, until - DAY);
    let message = format!(
        "The license has expired, and the gate rule \"live\" refuses requests from {} on.",
        date(until)
    );
    assert_eq!(sent.body["message"], message);
    let gate = gate.restart();
    gate.pass(until - DAY / 4, loops);
    // Known across a restart.
    receiver.have_come(&["expired", "grace_ending"]);
}
