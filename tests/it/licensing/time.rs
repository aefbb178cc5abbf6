//! Effects of time: a clock that goes backwards, licenses that expire and replace each other.

use std::path::Path;

use license_gate::clock::UnixTime;
use serde_json::json;

use crate::support::issuer::{Issuer, Script, answer};
use crate::support::scene::{Setup, jti};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::{DAY, Vendor, now};

const HOUR: u64 = 3600;
/// Waits of the monitor.
const LOOPS: usize = 1;
const ROLLBACK: &str = "license_gate_clock_rollback";
const WARNING: &str = "the clock is behind the newest time that was seen";

fn stored(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(dir.join("data")).expect("made");
    std::fs::write(dir.join("data").join(name), content).expect("written");
}

/// Asserts that the gate reports once that its clock is behind, and otherwise works as usual.
#[track_caller]
fn is_behind(gate: &Timed, at: u64) {
    for look in 0..3 {
        gate.pass(at + look * 301, LOOPS);
        assert_eq!(gate.metric(ROLLBACK), "1", "look {look}");
    }
    gate.pass(at, LOOPS);
    assert_eq!(gate.log().count(WARNING), 1);
    let token = gate.vendor.token().with("iat", NOW).with("exp", NOW + 100 * DAY).sign();
    gate.post(&token).is(200);
    assert_eq!(
        (gate.shown()["status"].clone(), gate.shown()["jti"].clone()),
        (1.into(), jti(&token))
    );
    assert_eq!(gate.ask("GET", "/api/licensing/check").send().is(200).text(), "true");
    assert_eq!(gate.ask("GET", "/d/board").send().is(200).json()["dashboard"], "/d/board");
}

/// Asserts that the gate reports that its clock has caught up.
#[track_caller]
fn has_caught_up(gate: &Timed, at: u64) {
    gate.pass(at, LOOPS);
    assert_eq!(gate.metric(ROLLBACK), "0");
    gate.log().wait_for("the clock has caught up");
}

#[test]
fn a_clock_that_goes_back_across_a_restart_is_reported_until_it_catches_up() {
    let gate = Timed::new();
    gate.pass(NOW + DAY, LOOPS);
    assert_eq!((gate.metric(ROLLBACK), gate.log().count(WARNING)), ("0".into(), 0));
    let clock = gate.clock.clone();
    let gate = gate.restart_after(|_| clock.set(UnixTime::from_secs(NOW)));
    is_behind(&gate, NOW);
    // An hour is tolerated.
    has_caught_up(&gate, NOW + DAY - HOUR);
    gate.pass(NOW + 2 * DAY, LOOPS);
    let clock = gate.clock.clone();
    let gate = gate.restart_after(|_| clock.set(UnixTime::from_secs(NOW + DAY)));
    is_behind(&gate, NOW + DAY);
}

#[test]
fn an_hour_back_is_tolerated_and_no_more() {
    let gate = Timed::new();
    gate.pass(NOW + DAY, LOOPS);
    gate.pass(NOW + DAY - HOUR, LOOPS);
    assert_eq!((&*gate.metric(ROLLBACK), gate.log().count(WARNING)), ("0", 0));
    gate.pass(NOW + DAY - HOUR - 61, LOOPS);
    assert_eq!((&*gate.metric(ROLLBACK), gate.log().count(WARNING)), ("1", 1));
}

#[test]
fn a_clock_that_goes_back_while_the_gate_runs_is_reported_at_once() {
    let gate = Timed::new();
    gate.pass(NOW + DAY, LOOPS);
    is_behind(&gate, NOW);
    has_caught_up(&gate, NOW + DAY);
    gate.pass(NOW, LOOPS);
    assert_eq!(gate.log().count(WARNING), 2, "reported again");
}

#[test]
fn a_token_issued_ahead_of_the_clock_does_not_mean_that_it_went_back() {
    let gate = Timed::new();
    gate.post(&gate.vendor.token().with("iat", NOW + DAY).with("exp", NOW + 9 * DAY).sign())
        .is(200);
    gate.pass(NOW + 301, LOOPS);
    assert_eq!(gate.metric(ROLLBACK), "0");
    let gate = gate.restart();
    gate.pass(NOW + 302, LOOPS);
    assert_eq!((&*gate.metric(ROLLBACK), gate.log().count(WARNING)), ("0", 0));
    gate.at(NOW + 302, 1);
}

#[test]
fn the_date_of_a_verified_answer_shows_that_the_clock_is_behind() {
    let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW + DAY);
    let date = httpdate::fmt_http_date(date);
    let dated =
        |answer: String| Script::Says(answer.replacen("\r\n", &format!("\r\nDate: {date}\r\n"), 1));
    let issuer = Issuer::playing(dated(answer("403 No", "")));
    let url = format!("renewal.url = {:?}", issuer.url());
    let gate = Timed::with(&[&url], |dir, vendor| {
        let token = vendor.token().with("iat", NOW).with("exp", NOW + 14 * DAY);
        stored(dir, "license.jwt", token.with("update_days", 7).sign());
    });
    gate.pass(NOW, LOOPS + 1);
    assert_eq!(gate.metric(ROLLBACK), "0");
    let renew = || gate.ask("POST", "/api/licensing/token/renew").json(&json!({})).send();
    renew().is(502);
    assert_eq!(gate.metric(ROLLBACK), "0", "the date of a refusal over plain http is not trusted");
    let token = gate.vendor.token().with("iat", NOW + 9).with("exp", NOW + 14 * DAY);
    let token = token.with("update_days", 7).sign();
    issuer.play(dated(answer("200 OK", &json!({ "token": token }).to_string())));
    renew().is(200);
    assert_eq!(gate.metric(ROLLBACK), "1");
    gate.pass(NOW + 301, LOOPS + 1);
    let gate = gate.restart();
    is_behind(&gate, NOW + 301);
    has_caught_up(&gate, NOW + DAY);
}

#[test]
fn a_malformed_or_absurd_stored_time_does_no_harm() {
    let digits = "9".repeat(10_000);
    let far = u64::MAX.to_string();
    let kept: [(&[u8], bool); 12] = [
        (b"", false),
        (b"\n", false),
        (b"abc", false),
        (b"-5", false),
        (b"0", false),
        (b"1e99", false),
        (b"\xff\xfe\x00", false),
        (b"18446744073709551616", false),
        (digits.as_bytes(), false),
        (b"253402300799\n", true),
        (b"253402300800\n", false),
        (far.as_bytes(), false),
    ];
    for (content, behind) in kept {
        let setup = Setup::new().file("data/clock", content).set("admin.listen", "\"127.0.0.1:0\"");
        let token = setup.vendor.token().sign();
        let scene = setup.stored(&token).start();
        let shown = String::from_utf8_lossy(&content[..content.len().min(30)]).into_owned();
        scene.holds(&token);
        scene.install(&scene.vendor.token().sign());
        // Logged after a look at the clock.
        scene.gate.log().wait_for("a license is in force");
        assert_eq!(scene.gate.log().count(WARNING), usize::from(behind), "{shown}");
        let clock = std::fs::read_to_string(scene.gate.stored("clock")).expect("kept");
        let kept: u64 = clock.trim().parse().expect("seconds");
        assert!(if behind { kept > now() + DAY } else { kept <= now() }, "{shown}: {clock}");
    }
    // A directory, which cannot be replaced.
    let setup = Setup::new();
    std::fs::create_dir_all(setup.dir().join("data/clock")).expect("made");
    let scene = setup.start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    scene.holds(&token);
}

/// A gate with a mounted and a stored license of these claims: `iat`, `nbf` and `exp` in hours from [`NOW`].
fn two(file: [i64; 3], store: [i64; 3]) -> (Timed, [String; 2]) {
    let mut tokens = [String::new(), String::new()];
    let gate = Timed::with(
        &["license.file = \"mounted.jwt\"", "license.leeway = \"0s\""],
        |dir, vendor| {
            tokens = [file, store].map(|hours| token(vendor, hours));
            std::fs::write(dir.join("mounted.jwt"), &tokens[0]).expect("written");
            stored(dir, "license.jwt", &tokens[1]);
        },
    );
    gate.pass(NOW, LOOPS);
    (gate, tokens)
}

fn token(vendor: &Vendor, hours: [i64; 3]) -> String {
    let [iat, nbf, exp] = hours.map(|hours| NOW.saturating_add_signed(hours * 3600));
    vendor.token().with("iat", iat).with("nbf", nbf).with("exp", exp).sign()
}

/// Asserts that `to` is in force from this time, not before, and that the change is logged.
#[track_caller]
fn turns(gate: &Timed, hours: u64, to: &str, status: u8, line: &str) {
    let moment = NOW + hours * HOUR;
    gate.at(moment - 1, 1);
    assert_ne!((gate.shown()["jti"].clone(), status), (jti(to), 1), "not before {hours} h");
    let before = gate.log().all().len();
    gate.pass(moment, LOOPS);
    assert_eq!(
        (gate.shown()["jti"].clone(), gate.shown()["status"].clone()),
        (jti(to), status.into())
    );
    let log = gate.log().all().split_off(before);
    assert!(log.iter().any(|logged| logged.contains(line)), "{line} in {log:#?}");
    gate.at(moment, status);
}

#[test]
fn a_mounted_license_replaces_a_stored_one_that_expires() {
    let (gate, [file, store]) = two([-9, -9, 20], [-1, -1, 10]);
    assert_eq!(gate.shown()["jti"], jti(&store));
    let other = "why=the license of the other source is not valid";
    turns(&gate, 10, &file, 1, &format!("license.jti={} source=\"file\" {other}", jti(&file)));
    // Then none is valid: the newer one is shown, with the reason.
    turns(&gate, 20, &store, 5, "the license is not valid");
    gate.at(NOW + 50 * HOUR, 5);
}

#[test]
fn a_license_that_starts_replaces_an_older_one_until_it_expires() {
    let (gate, [file, store]) = two([5, 5, 10], [-1, -1, 20]);
    assert_eq!(gate.shown()["jti"], jti(&store), "the newer one has not started");
    let newer = "why=it was issued later than that of the other source";
    turns(&gate, 5, &file, 1, &format!("license.jti={} source=\"file\" {newer}", jti(&file)));
    let other = "why=the license of the other source is not valid";
    turns(&gate, 10, &store, 1, &format!("license.jti={} source=\"store\" {other}", jti(&store)));
    turns(&gate, 20, &file, 5, "the license is not valid");
}

#[test]
fn the_only_license_is_shown_with_status_5_after_its_expiry() {
    let gate = Timed::with(&["license.leeway = \"0s\""], |dir, vendor| {
        stored(dir, "license.jwt", token(vendor, [-9, -9, 10]));
    });
    gate.pass(NOW, LOOPS);
    let only = std::fs::read_to_string(gate.data().join("license.jwt")).expect("a license");
    turns(&gate, 10, &only, 5, "the license token expired at");
}
