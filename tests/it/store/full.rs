//! A disk that fills during a write: the change is 500, the license in force stays, and everything works again once there is
//! space. The audit log stays whole.
//!
//! A limit on the size of files simulates the full disk: a write beyond it is cut short, and the next one fails.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::crash;
use super::trail::{self, Line};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::ROOT_URL;

/// Larger than the audit log of these tests, smaller than a large license.
const BETWEEN: u64 = 6000;

fn small(scene: &Scene) -> String {
    scene.vendor.token().sign()
}

fn large(scene: &Scene) -> String {
    scene.vendor.token().with("company", "C".repeat(9000)).sign()
}

fn history(scene: &Scene) -> Value {
    scene.admin("GET", "/api/licensing/history").send().is(200).json()
}

fn outcomes(scene: &Scene) -> Vec<String> {
    let lines = trail::read(&scene.gate.dir().join("data"));
    let lines = lines.iter().map(Line::of);
    lines.map(|line| format!("{} {} {}", line.action, line.outcome, line.reason)).collect()
}

/// The files of licenses, whole or not. Other files are written later.
fn kept(scene: &Scene) -> BTreeMap<String, String> {
    let files = crash::read(&scene.gate.dir().join("data")).into_iter();
    let files =
        files.filter(|(name, _)| ["license.", "history/"].iter().any(|it| name.starts_with(it)));
    files.map(|(name, content)| (name, String::from_utf8_lossy(&content).into_owned())).collect()
}

/// A gate with `stored` in force and entries in its history. Its files are then limited to `room` bytes.
struct Scarce {
    scene: Scene,
    stored: String,
    history: Value,
    kept: BTreeMap<String, String>,
    lines: Vec<String>,
    /// Lines that are written once there is space.
    waiting: Vec<String>,
}

impl Scarce {
    fn with(stored: fn(&Scene) -> String, room: impl FnOnce(&Scene) -> u64) -> Self {
        let scene = Setup::new().bounded().start();
        scene.install(&small(&scene));
        // A log longer than a small license.
        (0..4).for_each(|_| drop(scene.post("garbage").is(400)));
        let stored = stored(&scene);
        scene.install(&stored);
        let (history, kept, lines) = (history(&scene), kept(&scene), outcomes(&scene));
        scene.gate.bound(Some(room(&scene)));
        Self { scene, stored, history, kept, lines, waiting: Vec::new() }
    }

    /// Checks that changes fail, and that nothing has changed but `more` lines in the log.
    #[track_caller]
    fn refuses(
        &mut self,
        change: impl FnOnce(&Scene) -> crate::support::http::Answer,
        more: &[&str],
    ) {
        let answer = change(&self.scene).fails(500, "licensing.store.failed");
        assert!(answer.text().contains("stays in force"), "{answer:?}");
        self.lines.extend(more.iter().map(|line| (*line).to_owned()));
        self.is_as_before();
    }

    #[track_caller]
    fn is_as_before(&self) {
        self.scene.holds(&self.stored);
        assert_eq!(history(&self.scene), self.history);
        assert_eq!(kept(&self.scene), self.kept);
        // Reading the log verifies the chain.
        assert_eq!(outcomes(&self.scene), self.lines);
    }

    /// Frees space: the next change works, and a restart loads it.
    #[track_caller]
    fn recovers(mut self) {
        self.scene.gate.bound(None);
        let token = small(&self.scene);
        self.scene.install(&token);
        self.lines.append(&mut self.waiting);
        self.lines.push("install ok ".into());
        self.scene.holds(&token);
        assert_eq!(history(&self.scene)[0]["jti"], jti(&self.stored));
        let scene = self.scene.restart();
        scene.holds(&token);
        assert_eq!(outcomes(&scene), self.lines);
        let log = scene.gate.log().all();
        assert!(!log.iter().any(|line| line.contains("incomplete line")), "{log:#?}");
    }
}

fn remove(scene: &Scene) -> crate::support::http::Answer {
    let body = json!({ "instance": ROOT_URL });
    scene.admin("DELETE", "/api/licensing/token").json(&body).send()
}

#[test]
fn in_the_middle_of_an_audit_line() {
    let log_bytes =
        |scene: &Scene| fs::metadata(scene.gate.stored("audit.jsonl")).expect("a log").len();
    for room in [0, 1, 50, 200] {
        let mut scarce = Scarce::with(small, |scene| log_bytes(scene) + room);
        for _ in 0..2 {
            scarce.refuses(|scene| scene.post(&small(scene)), &[]);
            scarce.refuses(remove, &[]);
        }
        // A change that is refused anyway gets its own reason.
        scarce.scene.post("garbage").fails(400, "licensing.token.malformed");
        scarce.is_as_before();
        scarce
            .scene
            .gate
            .log()
            .wait_for("the audit log cannot be written: lines wait until it can");
        let failed = ["install failed not-stored", "remove failed not-stored"];
        let waiting = [&failed[..], &failed[..], &["install refused malformed"]].concat();
        scarce.waiting = waiting.into_iter().map(str::to_owned).collect();
        scarce.recovers();
    }
}

#[test]
fn in_the_middle_of_a_license() {
    let mut scarce = Scarce::with(small, |_| BETWEEN);
    scarce.refuses(|scene| scene.post(&large(scene)), &["install failed not-stored"]);
    // There is space for a small one.
    let token = small(&scarce.scene);
    scarce.scene.install(&token);
    scarce.scene.holds(&token);
    scarce.lines.push("install ok ".into());
    scarce.stored = token;
    scarce.recovers();
}

#[test]
fn in_the_middle_of_a_history_entry() {
    let mut scarce = Scarce::with(large, |_| BETWEEN);
    scarce.refuses(|scene| scene.post(&small(scene)), &["install failed not-stored"]);
    scarce.refuses(remove, &["remove failed not-stored"]);
    let former = scarce.history[0]["jti"].clone();
    let back = |scene: &Scene| {
        let body = json!({ "jti": former });
        scene.admin("POST", "/api/licensing/token/rollback").json(&body).send()
    };
    scarce.refuses(back, &["rollback failed not-stored"]);
    scarce.recovers();
}

#[test]
fn a_gate_killed_on_a_full_disk_starts_with_what_was_in_force() {
    let log_bytes =
        |scene: &Scene| fs::metadata(scene.gate.stored("audit.jsonl")).expect("a log").len();
    let mut scarce = Scarce::with(small, |scene| log_bytes(scene) + 50);
    scarce.refuses(|scene| scene.post(&small(scene)), &[]);
    scarce.scene = scarce.scene.restart();
    scarce.is_as_before();
    scarce.scene.gate.bound(Some(1));
    scarce.refuses(|scene| scene.post(&small(scene)), &[]);
    // The line that waited when the gate was killed is lost.
    scarce.waiting = vec!["install failed not-stored".to_owned()];
    scarce.recovers();
}
