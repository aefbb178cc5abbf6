//! A year in the life of a license: one gate, one issuer with outages, a clock that is moved hour by hour, and a receiver of
//! events.

use license_gate::store::verify_audit;
use serde_json::Value;

use crate::support::issuer::{self, Issuer, Script};
use crate::support::receiver::{Received, Receiver, write_secret};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::DAY;

const HOUR: u64 = 3600;
/// Waits of the monitor, the renewal and the sender of events.
const LOOPS: usize = 3;
/// How long a token of the issuer lasts.
const LIFE: u64 = 14 * DAY;
/// When the mounted spare license expires. It covers a part of the long outage.
const SPARE: u64 = NOW + 218 * DAY;
/// Days on which the gate is restarted: in normal operation, and in the long outage.
const RESTARTS: [u64; 3] = [100, 212, 219];

/// Outages of the issuer: days, kind, and the events that follow.
const OUTAGES: [(std::ops::Range<u64>, &str, &[&str]); 6] = [
    (20..21, "down", &["renewal_failing"]),
    (40..47, "down", &["renewal_failing"]),
    (90..97, "html", &["renewal_failing"]),
    (150..153, "older", &["renewal_failing"]),
    (200..222, "down", &LONG),
    (300..304, "another instance", &["renewal_failing"]),
];
/// First for the license in force, then for the spare, which is not renewed either.
const LONG: [&str; 6] =
    ["renewal_failing", "expiring_soon", "changed", "renewal_failing", "expiring_soon", "expired"];

/// The behaviour of the issuer at `moment`, and the expiry of the token if it grants one.
fn script(gate: &Timed, moment: u64) -> (Script, Option<u64>) {
    let day = (moment - NOW) / DAY;
    let outage = OUTAGES.iter().find(|(days, ..)| days.contains(&day)).map(|(_, how, _)| *how);
    let token = gate.vendor.token().with("iat", moment).with("exp", moment + LIFE);
    match outage {
        None => (Script::Grants(token.sign()), Some(moment + LIFE)),
        Some("down") => (Script::HangsUp, None),
        Some("html") => (Script::Says(issuer::answer("200 OK", "<html>Sign in</html>")), None),
        Some("older") => (Script::Grants(token.with("iat", NOW).sign()), None),
        Some(_) => (Script::Grants(token.with("sub", "http://elsewhere.example/").sign()), None),
    }
}

#[test]
fn a_license_is_renewed_through_a_year_with_outages() {
    let issuer = Issuer::playing(Script::HangsUp);
    let url = format!("renewal.url = {:?}", issuer.url());
    let receiver = Receiver::new();
    let notify = receiver.lines();
    let lines = [
        &*url,
        "renewal.timeout = \"5s\"",
        "license.file = \"mounted.jwt\"",
        &*notify[0],
        &*notify[1],
    ];
    let mut gate = Timed::with(&lines, |dir, vendor| {
        write_secret(dir);
        std::fs::create_dir(dir.join("data")).expect("made");
        let first = vendor.token().with("iat", NOW).with("exp", NOW + LIFE).sign();
        std::fs::write(dir.join("data/license.jwt"), first).expect("written");
        let mounted = vendor.token().with("iat", NOW - 300 * DAY).with("exp", SPARE).sign();
        std::fs::write(dir.join("mounted.jwt"), mounted).expect("written");
    });
    gate.pass(NOW, LOOPS);
    let (mut valid_until, mut renewed, mut refused) = (NOW + LIFE, Vec::new(), 0);
    let mut known = gate.shown()["iat"].clone();
    for hour in 1..=365 * 24 {
        let moment = NOW + hour * HOUR;
        let (script, grants) = script(&gate, moment);
        issuer.play(script);
        if RESTARTS.contains(&((moment - NOW) / DAY)) && (moment - NOW).is_multiple_of(DAY) {
            gate = gate.restart();
        }
        gate.pass(moment, LOOPS);
        let shown = gate.shown();
        if shown["iat"] != known && shown["iat"] == moment {
            renewed.push(moment);
            valid_until = grants.expect("only granted tokens are installed");
        }
        known = shown["iat"].clone();
        // A token is valid for its leeway of 60 s after its expiry.
        let is_valid = moment < valid_until.max(SPARE) + 60;
        assert_eq!(shown["status"] == 1, is_valid, "hour {hour}: {shown}");
        let check = gate.ask("GET", "/api/licensing/check").send().is(200);
        assert_eq!(check.text() == "true", is_valid, "hour {hour}");
        refused += u64::from(!is_valid);
    }
    // Outside the outages once a day, at most an hour late; after each outage within two hours.
    let out: u64 = OUTAGES.iter().map(|(days, ..)| days.end - days.start).sum();
    assert!(renewed.len() as u64 >= 365 - out - 25, "{} renewals", renewed.len());
    assert!(renewed.windows(2).all(|pair| pair[1] - pair[0] >= DAY), "never twice a day");
    for (days, how, _) in &OUTAGES {
        let end = NOW + days.end * DAY;
        let next = renewed.iter().find(|moment| **moment >= end).expect("renewed again");
        assert!(next - end <= 2 * HOUR, "{how}: {} h later", (next - end) / HOUR);
    }
    // The long outage outlasts the last token and the spare.
    assert!((1..=5 * 24).contains(&refused), "{refused} hours without a license");
    assert!(issuer.connections() < 3000, "{} calls", issuer.connections());
    audited(&gate, renewed.len());
    let last = renewed.iter().rfind(|moment| **moment < NOW + 200 * DAY).expect("renewed before");
    announced(&receiver, &renewed, last + LIFE);
}

/// Asserts that the audit log has every renewal and an intact chain.
#[track_caller]
fn audited(gate: &Timed, renewals: usize) {
    let path = gate.data().join("audit.jsonl");
    let log = std::fs::read_to_string(&path).expect("a log");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ok = |line: &&Value| line["action"] == "renew" && line["outcome"] == "ok";
    assert_eq!(lines.iter().filter(ok).count(), renewals);
    verify_audit(&path).expect("a chain");
}

/// Asserts one event for each renewal, and otherwise only the events of the outages. `end` is the expiry of the last token
/// before the long outage.
#[track_caller]
fn announced(receiver: &Receiver, renewed: &[u64], end: u64) {
    let (renewals, warnings): (Vec<_>, Vec<_>) =
        receiver.all().into_iter().partition(|sent| sent.event() == "renewed");
    // The gate may notice a change after the clock has been moved on.
    let is_at = |sent: &Received, moment: u64| (moment..=moment + HOUR).contains(&sent.time());
    assert_eq!(renewals.len(), renewed.len());
    for (sent, moment) in renewals.iter().zip(renewed) {
        assert!(is_at(sent, *moment), "{sent:?} {moment}");
    }
    let mut number = 0;
    for (days, how, expected) in &OUTAGES {
        let span = NOW + days.start * DAY..NOW + days.end * DAY + HOUR;
        let those: Vec<_> = warnings.iter().filter(|sent| span.contains(&sent.time())).collect();
        let names: Vec<_> = those.iter().map(|sent| sent.event()).collect();
        assert_eq!(names, *expected, "{how} {those:#?}");
        let first = those.first().expect("an event");
        assert!(first.time() < span.start + 26 * HOUR, "the first attempt that failed: {first:?}");
        number += those.len();
        if let [_, soon, changed, failing, last, expired] = &those[..] {
            let moments = [end - 3 * DAY, end + 60, end + 60, SPARE - 3 * DAY, SPARE + 60];
            for (sent, moment) in [soon, changed, failing, last, expired].into_iter().zip(moments) {
                assert!(is_at(sent, moment.next_multiple_of(HOUR)), "{moment} {sent:?}");
            }
        }
    }
    assert_eq!(number, warnings.len(), "outside of the outages: {warnings:#?}");
}
