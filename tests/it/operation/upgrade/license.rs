//! The license over upgrades: never an older one, every change that was answered, one audit log.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{BEGAN, DONE, FAILED, Program, Upgraded, until};
use crate::support::gate::{PATIENCE, signal};
use crate::support::http::Answer;
use crate::support::issuer::{Issuer, Script};
use crate::support::program::Place;
use crate::support::receiver::{self, Receiver};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::now;
use crate::support::wire::Wire;

pub(super) fn start(setup: Setup) -> Upgraded<Scene> {
    let program = Program::new();
    Upgraded { gate: setup.program(program.path()).start(), program }
}

/// The `jti` of the `nth` license.
fn named(nth: usize) -> String {
    format!("n-{nth:06}")
}

/// The number in a `jti`; 0: there is no license.
pub(super) fn number(jti: &str) -> usize {
    jti.strip_prefix("n-").map_or(0, |nth| nth.parse().expect("a number"))
}

/// Asserts that an answer says that the store was handed over, and how to go on.
#[track_caller]
fn is_handed_over(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.code(), "licensing.store.handed-over");
    assert_eq!(answer.value("retry-after"), Some("1"));
    assert_eq!(answer.value("connection"), Some("close"));
}

/// The number of the license that is shown.
pub(super) fn shown(scene: &Scene) -> usize {
    number(scene.shown()["jti"].as_str().expect("text"))
}

impl Upgraded<Scene> {
    /// Installs the `nth` license, at the next process if this one has handed the store over. Returns `None` if no process answers.
    pub(super) fn install_nth(&self, nth: usize) -> Option<()> {
        let token = self.vendor.token().with("jti", named(nth)).sign();
        let body = json!({ "token": token });
        let patience = Instant::now() + PATIENCE;
        loop {
            let answer = self.admin("POST", "/api/licensing/token").json(&body).try_send()?;
            if answer.status == 200 {
                return Some(());
            }
            is_handed_over(&answer);
            assert!(Instant::now() < patience, "no process has the store");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asserts that the audit log is whole.
    #[track_caller]
    pub(super) fn has_a_whole_audit_log(&self) {
        let log = self.gate.gate.stored("audit.jsonl");
        if !log.exists() {
            // Nothing was changed so far.
            return;
        }
        Place::new().run(&["audit", "verify", log.to_str().expect("text")]).exits(0);
    }
}

#[test]
fn an_installed_license_is_never_older_after_an_upgrade() {
    let upgrades = if std::env::var_os("LONG").is_some() { 10 } else { 4 };
    let scene = start(Setup::new().set("server.workers", 2));
    let (stop, answered, looked) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let nth = answered.load(Ordering::SeqCst) + 1;
                scene.install_nth(nth).expect("an answer");
                answered.store(nth, Ordering::SeqCst);
            }
        });
        // One connection for each look, and one for as many as the gate allows.
        for is_kept in [false, true] {
            let (scene, stop, answered, looked) = (&scene, &stop, &answered, &looked);
            scope.spawn(move || {
                let mut open = None;
                while !stop.load(Ordering::Relaxed) {
                    let before = answered.load(Ordering::SeqCst);
                    let client = open.get_or_insert_with(|| Wire::connect(scene.gate.gate.address));
                    client.send("GET /api/licensing/token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46aHVudGVyMg==\r\n\r\n");
                    let answer = client.answer();
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    let shown: serde_json::Value = serde_json::from_str(&answer.text()).expect("JSON");
                    let shown = number(shown["jti"].as_str().expect("text"));
                    assert!(shown >= before, "{shown} after {before} was answered; kept: {is_kept}");
                    looked.fetch_add(1, Ordering::Relaxed);
                    if !is_kept || answer.one("connection").is_some_and(|value| value == "close") {
                        open = None;
                    }
                }
            });
        }
        for _ in 0..upgrades {
            let before = answered.load(Ordering::SeqCst);
            scene.upgrade();
            until("licenses are installed", || answered.load(Ordering::SeqCst) > before + 5);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let last = answered.load(Ordering::SeqCst);
    assert!(last > 20 && looked.load(Ordering::Relaxed) > 20);
    assert_eq!(shown(&scene), last);
    scene.logs_no_fault();
    scene.has_a_whole_audit_log();
    let lines = fs::read_to_string(scene.gate.gate.stored("audit.jsonl")).expect("lines");
    for nth in 1..=last {
        // Each change has one line: none is lost, none is made twice.
        assert_eq!(
            lines.matches(&format!("{:?}", named(nth))).count().min(2),
            lines.matches(&named(nth)).count().min(2),
            "{nth}"
        );
        assert!(lines.contains(&named(nth)), "{nth} is not in the audit log");
    }
}

#[test]
fn renewal_notifications_and_a_mounted_file_go_on_after_each_upgrade() {
    let (issuer, receiver) = (Issuer::playing(Script::Silent), Receiver::new());
    let setup = Setup::new()
        .set("renewal.url", format!("{:?}", issuer.url()))
        .set("license.file", "'mounted.jwt'");
    receiver::write_secret(setup.dir());
    let setup =
        receiver.settings().into_iter().fold(setup, |setup, (key, value)| setup.set(key, value));
    let mounted = setup.dir().join("mounted.jwt");
    let scene = start(setup);
    let mut iat = now() - 3600;
    let mut token = || {
        iat += 60;
        scene.vendor.token().with("iat", iat).sign()
    };
    scene.install(&token());
    let fails = "echo ready >&0; read -r go; exit 3";
    let (keys, lost) = (scene.gate.gate.dir().join("jwks.json"), format!("rm jwks.json; {fails}"));
    let original = fs::read(&keys).expect("keys");
    // Each round makes two calls.
    for (round, script) in [Some(fails), Some(&*lost), None, None].into_iter().enumerate() {
        script.map_or_else(|| scene.program.is_good(), |script| scene.program.is_script(script));
        // A call to the issuer is in flight: its answer is stored by the process that made it.
        let renewed = token();
        issuer.play(Script::Ponders(renewed.clone()));
        thread::scope(|scope| {
            let answer = scope.spawn(|| scene.renew());
            issuer.wait_for(2 * round + 1);
            let began = scene.lines().count(BEGAN);
            signal(scene.pid(), "USR2");
            scene.lines().wait_for_another(BEGAN, began + 1);
            issuer.release();
            answer.join().expect("an answer").is(200);
            until("the upgrade is over", || {
                scene.lines().count(DONE) + scene.lines().count(FAILED) > began
            });
        });
        if !keys.exists() {
            // The former process has nothing to go on with, until these are back.
            scene.lines().wait_for("event=upgrade.sources_lost");
            fs::write(&keys, &original).expect("written");
            scene.lines().wait_for("the files of the license are read again");
        }
        assert_eq!(scene.shown()["jti"], jti(&renewed));
        receiver.until(&jti(&renewed));
        let newer = token();
        fs::write(&mounted, &newer).expect("written");
        until("the mounted license is in force", || scene.shown()["jti"] == jti(&newer));
        receiver.until(&jti(&newer));
        let again = token();
        issuer.play(Script::Grants(again.clone()));
        scene.renew().is(200);
        assert_eq!(scene.shown()["jti"], jti(&again));
        receiver.until(&jti(&again));
    }
    // Each change is one event. A delivery that an upgrade cuts is repeated with the same id.
    let sent = receiver.all();
    let events: BTreeSet<_> = sent.iter().map(|it| it.body["id"].to_string()).collect();
    let changes: BTreeSet<_> =
        sent.iter().map(|it| it.body["license"]["jti"].to_string()).collect();
    assert_eq!(events.len(), changes.len(), "{sent:#?}");
    scene.has_a_whole_audit_log();
}
