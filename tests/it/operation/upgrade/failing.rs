//! New processes that fail: the former one goes on as if nothing had happened.

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::license::{shown, start};
use super::{Upgraded, runs, until};
use crate::support::scene::{Scene, Setup};
use crate::support::wire::Wire;

/// Clients that send requests while `work` runs; none fails.
fn under_load(scene: &Upgraded<Scene>, work: impl FnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        for is_kept in [false, true] {
            let (address, stop) = (scene.gate.gate.address, stop.clone());
            scope.spawn(move || {
                let mut open = None;
                while !stop.load(Ordering::Relaxed) {
                    let client = open.get_or_insert_with(|| Wire::connect(address));
                    client.get("/x");
                    let answer = client.answer();
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    if !is_kept || answer.has("connection") {
                        open = None;
                    }
                }
            });
        }
        // A failure of `work` must not leave the clients running.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A gate with a Unix socket, whose upgrades to these scripts fail for these reasons. A good one follows.
#[track_caller]
fn fail(scripts: &[(&str, &str)]) {
    let setup = Setup::new();
    let socket = setup.dir().join("gate.sock");
    let listen = format!("['127.0.0.1:0', 'unix:{}']", socket.display());
    let scene = start(setup.set("server.listen", listen).set("server.workers", 2));
    let former = scene.pid();
    under_load(&scene, || {
        for (at, (script, reason)) in scripts.iter().enumerate() {
            scene.install_nth(2 * at + 1).expect("an answer");
            match *script {
                "(missing)" => fs::remove_file(scene.program.path()).expect("removed"),
                "(a directory)" => scene.program.is(scene.gate.gate.dir()),
                "(a text)" => scene.program.is(&scene.gate.gate.dir().join("jwks.json")),
                script => scene.program.is_script(script),
            }
            let line = scene.fails();
            assert!(line.contains(reason), "{script}: {line}");
            assert!(runs(former) && scene.pid() == former);
            assert_eq!(shown(&scene), 2 * at + 1, "{script}");
            scene.install_nth(2 * at + 2).expect("an answer");
            assert_eq!(shown(&scene), 2 * at + 2, "{script}");
            UnixStream::connect(&socket).expect("the socket is still there");
        }
        scene.program.is_good();
        assert_ne!(scene.upgrade(), former);
    });
    assert_eq!(shown(&scene), 2 * scripts.len());
    until("the former process has ended", || !runs(former));
    UnixStream::connect(&socket).expect("the socket is still there");
    scene.has_a_whole_audit_log();
    let history = scene.admin("GET", "/api/licensing/history").send().is(200);
    assert!(history.text().contains(&format!("n-{:06}", 2 * scripts.len() - 1)), "{history:?}");
    for (event, count) in
        [("upgrade.store_lost", 0), ("audit.unwritable", 0), ("store.attention", 0)]
    {
        assert_eq!(scene.gate.gate.log().count(event), count, "{event}");
    }
}

#[test]
fn a_program_that_cannot_be_started_changes_nothing() {
    fail(&[
        ("(missing)", "No such file"),
        ("(a directory)", "denied"),
        ("(a text)", "cannot be started"),
        ("exit 3", "exit status: 3"),
        ("kill -9 $$", "signal: 9"),
        // The configuration.
        ("exec $GATE serve --config /missing.toml", "exit status: 1"),
        ("exec $GATE --help", "exit status: 0"),
    ]);
}

#[test]
fn a_process_that_ends_at_any_stage_changes_nothing() {
    fail(&[
        ("echo ready >&0; exit 3", "exit status: 3"),
        ("echo ready >&0; read -r go; exit 3", "exit status: 3"),
        ("echo ready >&0; read -r go; echo open 0 1 >&0; exit 3", "exit status: 3"),
        ("echo ready >&0; read -r go; echo open 0 1 >&0; read -r accept; exit 3", "exit status: 3"),
        ("echo ready >&0; read -r go; echo open >&0; read -r accept; exit 3", "exit status: 3"),
    ]);
}

#[test]
fn a_process_that_does_not_follow_the_protocol_changes_nothing() {
    const PROTOCOL: &str = "does not follow the protocol";
    fail(&[
        ("exec sleep 1000 <&-", PROTOCOL),
        ("echo serving >&0; exec sleep 1000", PROTOCOL),
        ("printf '\\xff\\xfe\\n' >&0; exec sleep 1000", PROTOCOL),
        ("head -c 100000 /dev/zero >&0; exec sleep 1000", PROTOCOL),
        ("echo ready >&0; read -r go; echo open x >&0; exec sleep 1000", PROTOCOL),
        ("echo ready >&0; read -r go; echo serving >&0; exec sleep 1000", PROTOCOL),
    ]);
}

#[test]
fn a_process_that_cannot_open_the_store_changes_nothing() {
    // Another process locks a new file, which takes the place of the gate's: waiting for the gate's own lock could be too late. It keeps
    // the lock for a while after the new process has ended. With more workers, the new one has sockets of its own on the address by
    // then; clients must not wait for these.
    let script = "export LICENSE_GATE__SERVER__WORKERS=6
exec {lock}>data/new; flock $lock; mv data/new data/lock
(while kill -0 $$; do sleep 0.02; done; sleep 0.2) <&- >&- 2>&- &
exec {lock}>&-
exec $GATE \"$@\"";
    fail(&[(script, "exit status: 2"); 5]);
}

#[test]
fn a_process_that_hangs_changes_nothing() {
    fail(&[(
        "echo ready >&0; read -r go; echo open 0 1 >&0; read -r accept; exec sleep 1000",
        "did not serve within 5 s",
    )]);
    if std::env::var_os("LONG").is_some() {
        fail(&[
            ("exec sleep 1000", "was not ready within 30 s"),
            ("echo ready >&0; exec sleep 1000", "did not open the store within 10 s"),
        ]);
    }
}
