//! Files of Unix sockets, signals that come with an upgrade, and requests to reload.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use super::{BEGAN, DONE, runs, start, until};
use crate::support::gate::{Builder, signal};
use crate::support::http::request;
#[cfg(feature = "postgres")]
use crate::support::issuer::{Issuer, Script};
use crate::support::origin::Origin;

fn gate() -> Builder {
    Builder::before(Origin::vacant())
}

/// Whether a gate answers on the Unix socket at `path`.
fn answers(path: &Path, target: &str) -> bool {
    let Ok(mut client) = UnixStream::connect(path) else { return false };
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let sent = client.write_all(request.as_bytes());
    let mut answer = String::new();
    sent.and_then(|()| client.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1")
}

/// The Unix sockets in `dir`.
fn sockets(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let names = entries.map(|entry| entry.file_name().into_string().expect("text"));
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".sock")).collect();
    names.sort();
    names
}

#[test]
fn the_socket_of_the_admin_listener_stays_whether_its_path_changes_or_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(format!("{name}.sock"));
    let listen = |name: &str| format!("'unix:{}'", path(name).display());
    let gate = start(gate().set("admin.listen", listen("one")));
    // The same, another one, that one again, none, and the first.
    for name in ["one", "two", "two", "", "one"] {
        let former = gate.pid();
        let value = if name.is_empty() { "''".to_owned() } else { listen(name) };
        gate.gate.configure(&[("admin.listen", &value)]);
        gate.upgrade();
        until("the former process has ended", || !runs(former));
        match name {
            "" => assert_eq!(sockets(dir.path()), [""; 0]),
            name => {
                assert_eq!(sockets(dir.path()), [format!("{name}.sock")]);
                assert!(answers(&path(name), "/livez"), "{name}");
            }
        }
    }
    let last = gate.pid();
    signal(last, "TERM");
    until("the gate has ended", || !runs(last));
    assert_eq!(sockets(dir.path()), [""; 0]);
}

#[test]
#[cfg(feature = "postgres")]
fn a_new_process_that_is_ended_removes_its_own_sockets() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let gate = start(gate());
    gate.gate.configure(&[
        ("server.listen", &format!("['127.0.0.1:0', 'unix:{}']", path("new.sock"))),
        ("admin.listen", &format!("'unix:{}'", path("admin.sock"))),
    ]);
    // It waits for a database that does not answer. Meanwhile the former process gets a message that it does not expect.
    let silent = Issuer::playing(Script::Silent).address();
    let store = [("store.url", format!("'postgres://gate@{silent}/gate?sslmode=disable'"))];
    gate.gate.configure(&store.each_ref().map(|(key, value)| (*key, value.as_str())));
    gate.program.is_script(&format!(
        "exec 9>&0
(until [[ -S {} ]]; do :; done; echo serving >&9) &
exec $GATE \"$@\" 9>&-",
        path("admin.sock")
    ));
    let line = gate.fails();
    assert!(line.contains("does not follow the protocol"), "{line}");
    assert_eq!(sockets(dir.path()), [""; 0]);
    gate.program.is_good();
    gate.gate.configure(&[("store.url", "")]);
    gate.upgrade();
    assert_eq!(sockets(dir.path()), ["admin.sock", "new.sock"]);
}

/// Waits until process `former` has released the new one.
fn released(former: u32) {
    let threads = format!("/proc/{former}/task");
    until("the new process was released", || {
        let threads = fs::read_dir(&threads).expect("threads").filter_map(Result::ok);
        let names = threads.filter_map(|it| fs::read_to_string(it.path().join("comm")).ok());
        names.into_iter().any(|name| name == "successor\n")
    });
}

/// A process that has been replaced, and is still reporting that to systemd, which does not read.
#[test]
fn sigterm_right_after_the_new_process_has_taken_over_leaves_it_its_sockets() {
    let dir = tempfile::tempdir().expect("a directory");
    let notify = dir.path().join("notify");
    let _systemd = UnixDatagram::bind(&notify).expect("bound");
    let (own, admin) = (dir.path().join("own.sock"), dir.path().join("admin.sock"));
    let gate = gate()
        .set("server.listen", format!("['127.0.0.1:0', 'unix:{}']", own.display()))
        .set("admin.listen", format!("'unix:{}'", admin.display()))
        .env("NOTIFY_SOCKET", notify.to_str().expect("text"))
        // Its reports fill the socket.
        .env("WATCHDOG_USEC", "20000");
    let gate = start(gate);
    gate.lines().wait_for("event=systemd.unreachable");
    let former = gate.pid();
    gate.signal("USR2");
    released(former);
    gate.signal("TERM");
    until("the former process has ended", || !runs(former));
    assert_eq!(gate.lines().count(DONE), 0, "it was still reporting");
    let new = super::pid_in(&gate.lines().wait_for(BEGAN));
    assert!(runs(new));
    assert_eq!(sockets(dir.path()), ["admin.sock", "own.sock"]);
    assert!(answers(&own, "/x") && answers(&admin, "/livez"));
    assert!(request(gate.address, "GET", "/x").try_send().is_some_and(|it| it.status == 502));
    signal(new, "TERM");
    until("the new process has ended", || !runs(new));
    assert_eq!(sockets(dir.path()), [""; 0]);
}

#[test]
fn sighup_during_an_upgrade_reaches_the_new_process() {
    let gate = start(gate());
    gate.signal("USR2");
    gate.lines().wait_for(BEGAN);
    gate.signal("HUP");
    gate.lines().wait_for(DONE);
    let line = gate.lines().wait_for("event=config.reloaded");
    assert!(line.contains("by=\"SIGHUP\""), "{line}");
    // A second SIGUSR2 to the process that was replaced does nothing.
    let new = gate.pid();
    if runs(gate.gate.pid()) {
        gate.signal("USR2");
    }
    until("the former process has ended", || !runs(gate.gate.pid()));
    assert!(runs(new));
    assert_eq!(gate.lines().count(BEGAN), 1);
}

#[test]
fn sighup_reaches_the_new_process_until_the_former_one_has_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let notify = dir.path().join("notify");
    let _systemd = UnixDatagram::bind(&notify).expect("bound");
    let notify = notify.to_str().expect("text");
    let gate = start(gate().env("NOTIFY_SOCKET", notify).env("WATCHDOG_USEC", "20000"));
    gate.lines().wait_for("event=systemd.unreachable");
    let former = gate.pid();
    gate.signal("USR2");
    // systemd, which does not read, still has this process as the main one.
    released(former);
    gate.signal("HUP");
    let line = gate.lines().wait_for("event=config.reloaded");
    assert!(line.contains("by=\"SIGHUP\""), "{line}");
    until("the former process has ended", || !runs(former));
    assert!(runs(gate.pid()));
}

#[test]
fn a_reload_that_is_requested_during_an_upgrade_is_answered_with_what_is_true() {
    let gate = start(gate().set("admin.listen", "'127.0.0.1:0'"));
    gate.program.is_script("sleep 0.2; exec $GATE \"$@\"");
    let reload = gate.reload_request();
    gate.signal("USR2");
    gate.lines().wait_for(BEGAN);
    let answer = reload.start();
    gate.lines().wait_for(DONE);
    let answer = answer.answer();
    // The listener is common: the new process may have accepted it.
    if answer.status != 200 {
        let text = "another process serves now: repeat the request there\nnothing has changed\n";
        assert_eq!((answer.status, answer.text()), (503, text));
    }
    gate.reload_request().send().is(200);
}
