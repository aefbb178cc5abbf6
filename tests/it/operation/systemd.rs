//! Reports to systemd (`sd_notify(3)`), on a real datagram socket.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::support::gate::{Builder, Gate, PATIENCE, signal};
use crate::support::http::request;
use crate::support::origin::Origin;
use crate::support::scene::Setup;
use crate::support::vendor::now;

struct Systemd {
    socket: UnixDatagram,
    _dir: Option<TempDir>,
    name: String,
}

impl Systemd {
    fn on_a_path() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        Self::of(socket, Some(dir), path.to_str().expect("text").to_owned())
    }

    fn of(socket: UnixDatagram, dir: Option<TempDir>, name: String) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { socket, _dir: dir, name }
    }

    fn starts(&self, gate: Builder) -> Gate {
        gate.env("NOTIFY_SOCKET", &self.name).start()
    }

    /// The next report, as its lines.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a report");
        let text = std::str::from_utf8(&bytes[..length]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// The next report that is not one of the watchdog.
    #[track_caller]
    fn next_but_watchdog(&self) -> Vec<String> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let report = self.next();
            if report != ["WATCHDOG=1"] {
                return report;
            }
            assert!(Instant::now() < patience, "only reports of the watchdog");
        }
    }
}

fn gate() -> Builder {
    Builder::before(Origin::vacant())
}

#[test]
fn start_reload_and_stop_are_reported() {
    let systemd = Systemd::on_a_path();
    let mut gate = systemd.starts(gate());
    assert_eq!(systemd.next(), ["READY=1", "STATUS=license: there is none"]);
    // It serves by then.
    assert_eq!(request(gate.address, "GET", "/x").send().status, 502);
    let mut last = 0;
    for _ in 0..3 {
        gate.signal("HUP");
        let reloading = systemd.next();
        assert_eq!(reloading[0], "RELOADING=1");
        let at = reloading[1].strip_prefix("MONOTONIC_USEC=").expect("a time");
        let at: u64 = at.parse().expect("microseconds");
        assert!(at > last && reloading.len() == 2, "{reloading:?}");
        last = at;
        assert_eq!(systemd.next(), ["READY=1"]);
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000;
    assert!(last < now && now - last < 60_000_000, "{last} {now}");
    gate.signal("TERM");
    assert_eq!(systemd.next()[0], "STOPPING=1");
    assert_eq!(gate.wait().code(), Some(0));
    systemd.socket.set_nonblocking(true).expect("a socket");
    assert!(systemd.socket.recv(&mut [0; 9]).is_err(), "nothing more");
}

#[test]
fn an_abstract_socket_works() {
    let name = format!(
        "license-gate-test-{}-{:?}",
        std::process::id(),
        SystemTime::UNIX_EPOCH.elapsed().expect("a time")
    );
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bound");
    let systemd = Systemd::of(socket, None, format!("@{name}"));
    let _gate = systemd.starts(gate());
    assert_eq!(systemd.next()[0], "READY=1");
}

#[test]
fn an_upgrade_names_the_new_process_which_reports_from_then_on() {
    let systemd = Systemd::on_a_path();
    let gate = systemd.starts(gate().env("WATCHDOG_USEC", "200000"));
    assert_eq!(systemd.next_but_watchdog()[0], "READY=1");
    // The processes after the first one end with this.
    let mut new = Vec::new();
    for nth in 1..=2 {
        match new.last() {
            None => gate.signal("USR2"),
            Some(pid) => signal(*pid, "USR2"),
        }
        let mut reports = [systemd.next_but_watchdog(), systemd.next_but_watchdog()].concat();
        reports.sort();
        let line = gate.log().wait_for_another("event=upgrade.done", nth);
        let pid = line.split(" pid=").nth(1).and_then(|rest| rest.split(' ').next());
        let pid: u32 = pid.and_then(|pid| pid.parse().ok()).expect("a process");
        let main = format!("MAINPID={pid}");
        assert_eq!(reports, [&main, "READY=1", "STATUS=license: there is none"]);
        new.push(pid);
    }
    for _ in 0..5 {
        assert_eq!(systemd.next(), ["WATCHDOG=1"]);
    }
    signal(new[1], "TERM");
    assert_eq!(systemd.next_but_watchdog()[0], "STOPPING=1");
}

#[test]
fn the_status_line_follows_the_license() {
    let systemd = Systemd::on_a_path();
    let scene =
        Setup::new().set("license.leeway", "'0s'").env("NOTIFY_SOCKET", &systemd.name).start();
    assert_eq!(systemd.next(), ["READY=1", "STATUS=license: there is none"]);
    scene.install(&scene.vendor.token().sign());
    let valid = systemd.next();
    assert!(valid.len() == 1 && valid[0].starts_with("STATUS=license: valid until 2"), "{valid:?}");
    // Its end comes without an event.
    scene.install(&scene.vendor.token().with("iat", now()).with("lexp", now() + 2).sign());
    assert!(systemd.next()[0].starts_with("STATUS=license: valid until 2"));
    let ended = systemd.next();
    assert!(ended.len() == 1 && ended[0].starts_with("STATUS=license: "), "{ended:?}");
    assert!(!ended[0].contains("valid until"), "{ended:?}");
}

#[test]
fn the_watchdog_is_served_while_the_workers_run() {
    let systemd = Systemd::on_a_path();
    let gate = gate().set("server.workers", 3).env("WATCHDOG_USEC", "200000");
    let mut gate = systemd.starts(gate);
    assert_eq!(systemd.next()[0], "READY=1");
    for _ in 0..10 {
        assert_eq!(systemd.next(), ["WATCHDOG=1"]);
    }
    // A process that does not run reports nothing; those that were sent before may still wait.
    gate.signal("STOP");
    systemd.socket.set_read_timeout(Some(Duration::from_millis(600))).expect("a socket");
    while systemd.socket.recv(&mut [0; 64]).is_ok() {}
    systemd.socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    gate.signal("CONT");
    assert_eq!(systemd.next(), ["WATCHDOG=1"]);
    gate.signal("TERM");
    assert_eq!(systemd.next_but_watchdog()[0], "STOPPING=1");
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn the_watchdog_of_another_process_or_no_watchdog_is_not_served() {
    for (variables, is_logged) in [
        (&[("WATCHDOG_USEC", "50000"), ("WATCHDOG_PID", "1")][..], false),
        (&[("WATCHDOG_USEC", "0")], true),
        (&[("WATCHDOG_USEC", "soon")], true),
        (&[("WATCHDOG_USEC", "-5")], true),
        (&[], false),
    ] {
        let systemd = Systemd::on_a_path();
        let gate = variables.iter().fold(gate(), |gate, (name, value)| gate.env(name, value));
        let gate = systemd.starts(gate);
        assert_eq!(systemd.next()[0], "READY=1");
        gate.signal("TERM");
        assert_eq!(systemd.next()[0], "STOPPING=1", "{variables:?}");
        assert_eq!(gate.log().count("systemd.watchdog_off") == 1, is_logged, "{variables:?}");
    }
}

#[test]
fn a_socket_that_cannot_be_used_is_one_warning_and_no_delay() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing");
    std::fs::write(dir.path().join("file"), "").expect("a file");
    let file = dir.path().join("file");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    for name in [
        text(&missing),
        text(&file),
        "@nobody-listens".into(),
        "relative".into(),
        "vsock:2:1".into(),
    ] {
        let mut gate = gate().env("NOTIFY_SOCKET", &name).start();
        gate.log().wait_for("event=systemd.unreachable");
        assert_eq!(request(gate.address, "GET", "/x").send().status, 502);
        gate.signal("HUP");
        gate.log().wait_for("SIGHUP");
        gate.signal("TERM");
        assert_eq!(gate.wait().code(), Some(0));
        gate.log().wait_for("(end of log)");
        assert_eq!(gate.log().count("systemd.unreachable"), 1, "{name}");
    }
    // Nothing without the variable, or with an empty one.
    for gate in [gate(), gate().env("NOTIFY_SOCKET", "")] {
        let mut gate = gate.env("WATCHDOG_USEC", "1000").start();
        gate.signal("TERM");
        assert_eq!(gate.wait().code(), Some(0));
        gate.log().wait_for("(end of log)");
        assert_eq!(gate.log().count("systemd"), 0);
    }
}

#[test]
fn a_socket_that_is_not_read_delays_nothing() {
    let systemd = Systemd::on_a_path();
    let gate = gate().env("WATCHDOG_USEC", "20000");
    let mut gate = systemd.starts(gate);
    // The reports of the watchdog fill the socket.
    gate.log().wait_for("event=systemd.unreachable");
    for _ in 0..3 {
        assert_eq!(request(gate.address, "GET", "/x").send().status, 502);
        gate.signal("HUP");
    }
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    assert_eq!(systemd.next()[0], "READY=1");
}
