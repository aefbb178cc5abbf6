//! Signals at every stage of an upgrade, and processes that are killed: every change that was answered is kept.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::license::{number, shown, start};
use super::{BEGAN, DONE, FAILED, Upgraded, pid_in, runs, until};
use crate::support::gate::signal;
use crate::support::scene::{Scene, Setup};

/// One upgrade, with `name` sent to the former or the new process after `delay`.
fn interrupted(name: &str, to_new: bool, delay: Duration) {
    let what = format!("{name} to the new one: {to_new}, after {delay:?}");
    let scene = start(Setup::new());
    let answered = AtomicUsize::new(0);
    let former = scene.pid();
    let is_over = || scene.lines().count(DONE) + scene.lines().count(FAILED) > 0;
    thread::scope(|scope| {
        let installs = scope.spawn(|| {
            for nth in 1..=40 {
                if scene.install_nth(nth).is_none() {
                    return;
                }
                answered.store(nth, Ordering::SeqCst);
            }
        });
        signal(former, "USR2");
        if to_new {
            scene.lines().wait_for(BEGAN);
        }
        thread::sleep(delay);
        let pid = if to_new { pid_in(&scene.lines().wait_for(BEGAN)) } else { former };
        let pid = pid.to_string();
        // It may have ended already.
        let _ = Command::new("kill").args(["-s", name, &pid]).output();
        if name == "HUP" || name == "USR2" {
            until(&what, || is_over());
        }
        let _ = installs.join();
    });
    let answered = answered.load(Ordering::SeqCst);
    settle(&scene, former);
    let running = running(&scene);
    match name {
        "HUP" | "USR2" => assert_eq!(running.len(), 1, "{what}"),
        // The former one has stopped, and the new one with it, unless it had taken over.
        _ => assert!(running.len() <= 1, "{what}: {running:?}"),
    }
    scene.has_a_whole_audit_log();
    if running.is_empty() {
        let on_disk = scene.on_disk().map(|token| {
            number(crate::support::scene::jti(&token).as_str().expect("text"))
        });
        assert!(on_disk.unwrap_or(0) >= answered, "{what}: {on_disk:?}, {answered} was answered");
    } else {
        assert!(shown(&scene) >= answered, "{what}");
        scene.install_nth(shown(&scene) + 1).expect("an answer");
        scene.has_a_whole_audit_log();
    }
}

/// The processes of the gate that run.
fn running(scene: &Upgraded<Scene>) -> Vec<u32> {
    let lines = scene.lines().all();
    let new = lines.iter().filter(|line| line.contains(BEGAN)).map(|line| pid_in(line));
    [scene.gate.gate.pid()].into_iter().chain(new).filter(|pid| runs(*pid)).collect()
}

/// Waits until at most one process runs, and every upgrade is over.
fn settle(scene: &Upgraded<Scene>, former: u32) {
    until("one process is left", || {
        let running = running(scene);
        let over = scene.lines().count(DONE) + scene.lines().count(FAILED);
        running.len() <= 1 && (!running.contains(&former) || over >= scene.lines().count(BEGAN))
    });
}

#[test]
fn a_signal_at_any_stage_leaves_one_gate_or_none_and_every_answered_change() {
    let rounds = if std::env::var_os("LONG").is_some() { 12 } else { 2 };
    for (at, name) in ["TERM", "INT", "HUP", "USR2", "KILL"].iter().enumerate() {
        for to_new in [false, true] {
            for round in 0..rounds {
                // Spread over the stages; which one is met depends on the machine.
                let millis = (round * 97 + at as u64 * 41 + u64::from(to_new) * 23) % 400;
                interrupted(name, to_new, Duration::from_millis(millis));
            }
        }
    }
}

#[test]
fn a_process_that_is_asked_to_stop_during_an_upgrade_exits_with_0() {
    let mut scene = start(Setup::new());
    scene.program.is_script("exec sleep 1000");
    scene.gate.gate.signal("USR2");
    let new = pid_in(&scene.lines().wait_for(BEGAN));
    scene.gate.gate.signal("TERM");
    assert_eq!(scene.gate.gate.wait().code(), Some(0));
    until("the new process has ended", || !runs(new));
}
