//! A year in the life of a license: one gate, one issuer with its outages, a clock that is moved hour by hour.

use serde_json::Value;

use crate::support::issuer::{self, Issuer, Script};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::DAY;

const HOUR: u64 = 3600;
/// The monitor and the renewal.
const LOOPS: usize = 2;
/// How long a token of the issuer lasts.
const LIFE: u64 = 14 * DAY;

/// Days on which the issuer is out, and how.
const OUTAGES: [(std::ops::Range<u64>, &str); 6] = [
    (20..21, "down"),
    (40..47, "down"),
    (90..97, "html"),
    (150..153, "older"),
    (200..222, "down"),
    (300..304, "another instance"),
];

/// What the issuer does at `moment`, and the end of the token it grants, if it does.
fn script(gate: &Timed, moment: u64) -> (Script, Option<u64>) {
    let day = (moment - NOW) / DAY;
    let outage = OUTAGES.iter().find(|(days, _)| days.contains(&day)).map(|(_, how)| *how);
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
fn a_license_is_renewed_through_a_year_of_outages_and_is_never_refused_while_there_is_one() {
    let issuer = Issuer::playing(Script::HangsUp);
    let url = format!("renewal.url = {:?}", issuer.url());
    let lines = [&*url, "renewal.timeout = \"5s\"", "license.file = \"mounted.jwt\""];
    // A spare license is mounted that covers a part of the long outage.
    let spare = NOW + 218 * DAY;
    let gate = Timed::with(&lines, |dir, vendor| {
        std::fs::create_dir(dir.join("data")).expect("made");
        let first = vendor.token().with("iat", NOW).with("exp", NOW + LIFE).sign();
        std::fs::write(dir.join("data/license.jwt"), first).expect("written");
        let mounted = vendor.token().with("iat", NOW - 300 * DAY).with("exp", spare).sign();
        std::fs::write(dir.join("mounted.jwt"), mounted).expect("written");
    });
    gate.pass(NOW, LOOPS);
    let (mut valid_until, mut renewed, mut refused) = (NOW + LIFE, Vec::new(), 0);
    let mut known = gate.shown()["iat"].clone();
    for hour in 1..=365 * 24 {
        let moment = NOW + hour * HOUR;
        let (script, grants) = script(&gate, moment);
        issuer.play(script);
        gate.pass(moment, LOOPS);
        let shown = gate.shown();
        if shown["iat"] != known && shown["iat"] == moment {
            renewed.push(moment);
            valid_until = grants.expect("nothing but what was granted is taken");
        }
        known = shown["iat"].clone();
        // Before the answer a stored token that has just ended may count for its leeway still.
        let is_valid = moment < valid_until.max(spare) + 60;
        assert_eq!(shown["status"] == 1, is_valid, "hour {hour}: {shown}");
        let check = gate.ask("GET", "/api/licensing/check").send().is(200);
        assert_eq!(check.text() == "true", is_valid, "hour {hour}");
        refused += u64::from(!is_valid);
    }
    // Once a day, an hour late at most, outside the outages; and within an hour and a half after each.
    let out: u64 = OUTAGES.iter().map(|(days, _)| days.end - days.start).sum();
    assert!(renewed.len() as u64 >= 365 - out - 25, "{} renewals", renewed.len());
    assert!(renewed.windows(2).all(|pair| pair[1] - pair[0] >= DAY), "never twice a day");
    for (days, how) in &OUTAGES {
        let end = NOW + days.end * DAY;
        let next = renewed.iter().find(|moment| **moment >= end).expect("renewed again");
        assert!(next - end <= 2 * HOUR, "{how}: {} h later", (next - end) / HOUR);
    }
    // The long outage outlasts the last token and the spare: it ends by itself.
    assert!((1..=5 * 24).contains(&refused), "{refused} hours without a license");
    assert!(issuer.connections() < 3000, "{} calls", issuer.connections());
    let log = std::fs::read_to_string(gate.data().join("audit.jsonl")).expect("a log");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ok = |line: &&Value| line["action"] == "renew" && line["outcome"] == "ok";
    assert_eq!(lines.iter().filter(ok).count(), renewed.len());
}
