//! `license_gate_store_up`: 0 while the last attempt to write some part of the store has failed.

use std::fs;

use crate::support::receiver::{Receiver, write_secret};
use crate::support::scene::{Scene, Setup};

const UP: &str = "license_gate_store_up";
const BROKEN: &str = "event=store.unwritable";
const WHOLE: &str = "event=store.writable";

fn setup() -> Setup {
    Setup::new().set("admin.listen", "\"127.0.0.1:0\"")
}

fn small(scene: &Scene) -> String {
    scene.vendor.token().sign()
}

fn large(scene: &Scene) -> String {
    scene.vendor.token().with("company", "C".repeat(9000)).sign()
}

/// Checks that the gauge is 0, and that this was logged once.
#[track_caller]
fn is_down(scene: &Scene, what: &str) {
    let line = scene.gate.log().wait_for(BROKEN);
    assert!(line.contains(&format!("what=\"{what}\"")), "{line}");
    assert_eq!((&*scene.gate.metric(UP), scene.gate.log().count(BROKEN)), ("0", 1));
}

/// Checks that the gauge is 1 again, and that this was logged.
#[track_caller]
fn is_up_again(scene: &Scene) {
    let line = scene.gate.log().wait_for(WHOLE);
    assert!(line.contains("duration_ms="), "{line}");
    assert_eq!((&*scene.gate.metric(UP), scene.gate.log().count(BROKEN)), ("1", 1));
}

#[test]
fn a_license_without_disk_space() {
    let scene = setup().bounded().start();
    scene.install(&small(&scene));
    assert_eq!(scene.gate.metric(UP), "1");
    scene.gate.bound(Some(6000));
    for _ in 0..2 {
        scene.post(&large(&scene)).fails(500, "licensing.store.failed");
        // There is space for its audit line, and for that of a refused change.
        is_down(&scene, "license");
        scene.post("garbage").is(400);
        is_down(&scene, "license");
    }
    scene.gate.bound(None);
    scene.install(&large(&scene));
    is_up_again(&scene);
}

#[test]
fn a_history_without_disk_space() {
    let scene = setup().bounded().start();
    scene.install(&large(&scene));
    scene.gate.bound(Some(6000));
    scene.remove().fails(500, "licensing.store.failed");
    is_down(&scene, "license");
    scene.gate.bound(None);
    scene.remove().is(202);
    is_up_again(&scene);
}

#[test]
fn an_audit_line_without_disk_space() {
    let scene = setup().bounded().start();
    scene.install(&small(&scene));
    let log = fs::metadata(scene.gate.stored("audit.jsonl")).expect("a log").len();
    scene.gate.bound(Some(log));
    scene.post("garbage").is(400);
    is_down(&scene, "audit");
    // The waiting line is written as soon as there is space, without any request.
    scene.gate.bound(None);
    is_up_again(&scene);
}

#[test]
fn a_clock_that_cannot_be_stored() {
    let scene = setup().file("data/clock/in-the-way", "").start();
    is_down(&scene, "clock");
    scene.install(&small(&scene));
    is_down(&scene, "clock");
    fs::remove_dir_all(scene.gate.stored("clock")).expect("removed");
    scene.install(&small(&scene));
    is_up_again(&scene);
}

#[test]
fn an_event_that_cannot_be_queued() {
    let receiver = Receiver::new();
    let setup =
        receiver.settings().into_iter().fold(setup(), |setup, (key, value)| setup.set(key, value));
    write_secret(setup.dir());
    let scene = setup.file("data/events.json/in-the-way", "").start();
    scene.install(&small(&scene));
    is_down(&scene, "events");
    fs::remove_dir_all(scene.gate.stored("events.json")).expect("removed");
    scene.remove().is(202);
    is_up_again(&scene);
}
