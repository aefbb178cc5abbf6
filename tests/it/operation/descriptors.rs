//! Few file descriptors: clients are refused, and everything else works.

use std::fs;
use std::process::Command;

use crate::support::dashboard::{Dashboard, Mood};
use crate::support::gate::{Builder, Gate};
use crate::support::h2::{Conn, Event, field};
use crate::support::http::request;
use crate::support::origin::Recorder;
use crate::support::wire::Wire;

const SHORT: &str = "event=descriptors.short";
const FULL: &str = "event=connections.full";

/// The soft limit of a running gate.
fn soft_limit(gate: &Gate) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{}/limits", gate.pid())).expect("a process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).expect("a number")
}

#[test]
fn with_256_descriptors_a_flood_of_clients_affects_only_clients() {
    let dashboard = Recorder::start();
    let gate = Builder::before(dashboard.address).set("admin.listen", "\"127.0.0.1:0\"");
    let gate = gate.limited(256, 256).start();
    let line = gate.log().wait_for(SHORT);
    assert!(line.contains("needed=") && line.contains("allowed=256"), "{line}");
    let clients: u64 =
        line.rsplit("clients=").next().and_then(|n| n.trim().parse().ok()).expect("one");
    let mut first = Wire::connect(gate.address);
    first.get("/");
    assert_eq!(first.answer().status(), 200);
    let idle: Vec<_> = (0..400).map(|_| Wire::connect(gate.address)).collect();
    gate.log().wait_for(FULL);
    // Connected clients are served, over new connections to the dashboard; so are probes.
    first.get("/");
    assert_eq!(first.answer().status(), 200);
    for path in ["/livez", "/readyz", "/metrics"] {
        request(gate.admin(), "GET", path).send().is(200);
    }
    assert_eq!(gate.metric("license_gate_open_connections"), clients.to_string());
    // The license can be read and changed: no error about descriptors.
    assert!(!gate.log().all().iter().any(|line| line.contains("Too many open files")));
    assert_eq!(gate.log().count(FULL), 1, "at most once a minute");
    drop(idle);
}

#[test]
fn the_soft_limit_is_raised_as_needed() {
    let dashboard = Recorder::start();
    let gate = Builder::before(dashboard.address).set("limits.max_connections", 300);
    let gate = gate.limited(200, 2000).start();
    let raised = soft_limit(&gate);
    assert!((600..2000).contains(&raised), "{raised}");
    let mut clients: Vec<_> = (0..300).map(|_| Wire::connect(gate.address)).collect();
    for client in &mut clients {
        client.get("/");
        assert_eq!(client.answer().status(), 200);
    }
    assert_eq!((gate.log().count(SHORT), gate.log().count(FULL)), (0, 0));
}

#[test]
fn the_admin_listener_does_not_count() {
    let dashboard = Recorder::start();
    let gate = Builder::before(dashboard.address).set("limits.max_connections", 2);
    let gate = gate.set("admin.listen", "\"127.0.0.1:0\"").start();
    let mut clients: Vec<_> = (0..2).map(|_| Wire::connect(gate.address)).collect();
    for client in &mut clients {
        client.get("/");
        assert_eq!(client.answer().status(), 200);
    }
    request(gate.address, "GET", "/").send().fails(503, "gate.full");
    for path in ["/livez", "/readyz", "/metrics"] {
        request(gate.admin(), "GET", path).send().is(200);
    }
}

#[test]
fn idle_connections_of_one_worker_make_room_for_another() {
    let dashboard = Dashboard::knowing(&[]);
    let gate = Builder::before(dashboard.address).set("server.workers", 2);
    let gate = gate.set("admin.listen", "\"127.0.0.1:0\"").limited(64, 64).start();
    let line = gate.log().wait_for(SHORT);
    let clients = line.rsplit("clients=").next().and_then(|n| n.trim().parse().ok());
    let clients: usize = clients.expect("a number");
    // Each time the clients are spread over the workers differently, and all need a connection at once.
    for round in 1..=4 {
        dashboard.mood("/held", Mood::Holds);
        let mut asking: Vec<_> = (0..clients).map(|_| Wire::connect(gate.address)).collect();
        asking.iter_mut().for_each(|client| client.get("/held"));
        dashboard.wait_for("/held", round * clients);
        dashboard.release();
        for client in &mut asking {
            assert_eq!(client.answer().status(), 200);
        }
        drop(asking);
        // The former clients have disconnected before new ones come.
        while gate.metric("license_gate_open_connections") != "0" {}
    }
}

#[test]
fn requests_beyond_the_connections_to_the_dashboard_are_503() {
    const ASKED: usize = 40;
    let dashboard = Dashboard::knowing(&[]);
    dashboard.mood("/held", Mood::Holds);
    let gate = Builder::before(dashboard.address).set("upstream.connect_timeout", "\"100ms\"");
    let gate = gate.set("admin.listen", "\"127.0.0.1:0\"").limited(64, 64).start();
    let mut client = Conn::connect(gate.address);
    for _ in 0..ASKED {
        client.get("/held");
    }
    let (mut refused, mut served) = (0, 0);
    while refused + served < ASKED {
        // Other requests come in between.
        let Event::Headers { fields, .. } = client.news() else { continue };
        match field(&fields, ":status").as_deref() {
            Some("200") => served += 1,
            status => {
                refused += 1;
                let proxy_status = field(&fields, "proxy-status").unwrap_or_default();
                assert!(proxy_status.contains("connection_limit_reached"), "{proxy_status}");
                let retry_after = field(&fields, "retry-after");
                assert_eq!((status, retry_after.as_deref()), (Some("503"), Some("1")));
            }
        }
        if refused + dashboard.count() == ASKED {
            dashboard.release();
        }
    }
    assert!(refused > 0 && served == dashboard.count(), "{refused} {served}");
    // The probes do not count.
    request(gate.admin(), "GET", "/livez").send().is(200);
    assert!(!gate.log().all().iter().any(|line| line.contains("Too many open files")));
}

#[test]
fn a_failed_accept_is_logged_once_and_the_client_is_accepted_later() {
    let dashboard = Recorder::start();
    let gate = Builder::before(dashboard.address).start();
    let limit = |soft: u64| {
        let (pid, bound) = (gate.pid().to_string(), format!("--nofile={soft}:"));
        let set = Command::new("prlimit").args(["--pid", &pid, &bound]).status();
        assert!(set.expect("prlimit").success());
    };
    let before = soft_limit(&gate);
    // No descriptor at all: with 4, an unused descriptor 3 would be enough for the client.
    limit(0);
    let mut client = Wire::connect(gate.address);
    client.get("/");
    gate.log().wait_for("event=listener.accept_failed");
    limit(before);
    assert_eq!(client.answer().status(), 200);
    let line = gate.log().wait_for("event=listener.accepts_again");
    assert!(line.contains("failures="), "{line}");
    assert_eq!(gate.log().count("event=listener.accept_failed"), 1);
}
