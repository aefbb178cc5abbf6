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
    let is_over = || over(&scene) > 0;
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
        scene.lines().wait_for(BEGAN);
        thread::sleep(delay);
        let pid = if to_new { pid_in(&scene.lines().wait_for(BEGAN)) } else { former };
        let pid = pid.to_string();
        // It may have ended already.
        let _ = Command::new("kill").args(["-s", name, &pid]).output();
        let _ = installs.join();
    });
    let answered = answered.load(Ordering::SeqCst);
    let stops = matches!(name, "TERM" | "INT" | "KILL");
    if stops && !to_new {
        until(&what, || !runs(former));
    } else {
        until(&what, || is_over() && scene.lines().count(BEGAN) == over(&scene));
    }
    let is_done = scene.lines().count(DONE) > 0;
    let new = pid_in(&scene.lines().wait_for(BEGAN));
    let running = match (stops, to_new) {
        // It is killed, or has what it needs and goes on.
        (true, false) if name == "KILL" => {
            until(&what, || !runs(new) || scene.lines().count("listening") > 1);
            Vec::from_iter(Some(new).filter(|pid| runs(*pid)))
        }
        (true, false) if is_done => vec![new],
        (true, true) if !is_done => vec![former],
        (true, _) => Vec::new(),
        (false, _) => vec![scene.pid()],
    };
    until(&what, || running == running_of(&scene));
    scene.has_a_whole_audit_log();
    if running.is_empty() {
        let on_disk = scene
            .on_disk()
            .map(|token| number(crate::support::scene::jti(&token).as_str().expect("text")));
        assert!(on_disk.unwrap_or(0) >= answered, "{what}: {on_disk:?}, {answered} was answered");
    } else {
        assert!(shown(&scene) >= answered, "{what}");
        scene.install_nth(shown(&scene) + 1).expect("an answer");
        scene.has_a_whole_audit_log();
    }
}

/// The processes of the gate that run.
fn running_of(scene: &Upgraded<Scene>) -> Vec<u32> {
    let lines = scene.lines().all();
    let new = lines.iter().filter(|line| line.contains(BEGAN)).map(|line| pid_in(line));
    [scene.gate.gate.pid()].into_iter().chain(new).filter(|pid| runs(*pid)).collect()
}

/// How many upgrades are over.
fn over(scene: &Upgraded<Scene>) -> usize {
    scene.lines().count(DONE) + scene.lines().count(FAILED)
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

#[test]
fn a_second_sigusr2_during_an_upgrade_is_ignored_and_logged() {
    let scene = start(Setup::new());
    let former = scene.pid();
    signal(former, "USR2");
    scene.lines().wait_for(BEGAN);
    signal(former, "USR2");
    scene.lines().wait_for("SIGUSR2 came during or after an upgrade and is ignored");
    scene.lines().wait_for(DONE);
    until("the former process has ended", || !runs(former));
    assert_eq!(scene.lines().count(BEGAN), 1);
}
