//! Another dashboard: the next requests go to it, and what runs on the former one lives on.

use std::sync::Arc;

use super::{apply, ask, gate, nowhere, quoted, until};
use crate::support::authority::{Authority, TLS13};
use crate::support::gate::Gate;
use crate::support::http::request;
use crate::support::origin::{Call, Origin, Recorder};
use crate::support::wire::Wire;

fn url(origin: &Origin) -> String {
    format!("'http://{}'", origin.address)
}

/// A WebSocket through the gate, and the dashboard's end of it.
fn websocket(gate: &Gate, origin: &Origin) -> (Wire, Call) {
    let mut client = Wire::connect(gate.address);
    client.send(
        "GET /live HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 101 -\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    (client, call)
}

#[test]
fn open_connections_continue_with_the_new_dashboard_and_what_runs_lives_on() {
    let (old, new) = (Origin::start(), Origin::start());
    let gate = gate(old.address).start();
    let (mut live, mut live_call) = websocket(&gate, &old);
    let (mut events, mut events_call) = old.asked(gate.address, "/events");
    events_call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
    events_call.send("Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    events.head();
    assert_eq!(events.chunk(), b"one");
    let (mut download, mut download_call) = old.asked(gate.address, "/download");
    download_call.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
    download.head();
    assert_eq!(download.exactly(5), b"01234");
    let (mut slow, mut slow_call) = old.asked(gate.address, "/slow");
    let (mut idle, mut idle_call) = old.asked(gate.address, "/idle");
    idle_call.answer("old");
    assert_eq!(idle.answer().text(), "old");

    apply(&gate, &[("upstream.url", &url(&new))]);
    // Responses still run on other connections to that dashboard.
    idle_call.ends();
    idle.get("/");
    let mut new_call = new.accept();
    new_call.serve("new");
    assert_eq!(idle.answer().text(), "new");

    live.send("up");
    assert_eq!(live_call.exactly(2), b"up");
    live_call.send("down");
    assert_eq!(live.exactly(4), b"down");
    download_call.send("56789");
    assert_eq!(download.exactly(5), b"56789");
    slow_call.answer("late");
    assert_eq!(slow.answer().text(), "late");
    events_call.send("3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(events.chunk(), b"two");
    assert_eq!(events.chunk(), b"");
    // What has ended there is not used again.
    for call in [&mut download_call, &mut slow_call, &mut events_call] {
        call.ends();
    }
    for client in [&mut download, &mut slow] {
        client.get("/next");
        new_call.serve("new");
        assert_eq!(client.answer().text(), "new");
    }
    live.send("still");
    assert_eq!(live_call.exactly(5), b"still");
}

#[test]
fn a_reload_that_does_not_concern_the_dashboard_keeps_its_connections() {
    let origin = Origin::start();
    let gate = gate(origin.address).start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    call.serve("one");
    client.answer();
    apply(&gate, &[("limits.max_headers", "77"), ("log.level", "'debug'")]);
    client.get("/");
    call.serve("two");
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn upstream_up_follows_the_dashboard() {
    let dashboard = Recorder::start();
    let gate = gate(Origin::vacant()).set("upstream.probe_interval", "'100ms'").start();
    let is_up = |up: &str| {
        let line = format!("license_gate_upstream_up {up}\n");
        // Nothing is exported until the first probe of a dashboard.
        until(|| request(gate.admin(), "GET", "/metrics").send().text().contains(&line));
    };
    is_up("0");
    apply(&gate, &[("upstream.url", &format!("'http://{}'", dashboard.address))]);
    is_up("1");
    apply(&gate, &[("upstream.url", &nowhere())]);
    is_up("0");
    // The last dashboard was reached, and nothing is known about this one.
    apply(&gate, &[("upstream.url", &format!("'http://{}'", dashboard.address))]);
    is_up("1");
}

#[test]
fn tls_towards_the_dashboard() {
    let (trusted, other) = (Authority::new(), Authority::new());
    let (plain, secure) = (Recorder::start(), Origin::start());
    let gate = gate(plain.address).start();
    std::fs::write(gate.dir().join("ca.pem"), trusted.pem()).expect("written");
    std::fs::write(gate.dir().join("other.pem"), other.pem()).expect("written");
    let mut client = Wire::connect(gate.address);
    assert_eq!(ask(&mut client), "dashboard");
    let url = format!("'https://localhost:{}'", secure.address.port());
    apply(&gate, &[("upstream.url", &url), ("upstream.tls.ca_file", "'ca.pem'")]);
    let config = Arc::new(trusted.issue("localhost").server(TLS13, None));
    client.get("/");
    let mut call = secure.accept_tls(config.clone());
    call.serve("secure");
    assert_eq!(client.answer().text(), "secure");
    apply(&gate, &[("upstream.tls.ca_file", "'other.pem'")]);
    client.get("/");
    assert!(secure.fails_handshake(&config));
    assert_eq!(client.answer().status(), 502);
    let answer = gate.reload(&[("upstream.tls.ca_file", "'missing.pem'")]).is(400);
    let first = answer.text().lines().next().expect("a line");
    assert!(first.contains("upstream.tls.ca_file: cannot be used"), "{first}");
    assert!(first.contains("missing.pem cannot be read"), "{first}");
    apply(&gate, &[("upstream.tls.ca_file", "'ca.pem'")]);
    client.get("/");
    secure.accept_tls(config).serve("secure again");
    assert_eq!(client.answer().text(), "secure again");
    assert_eq!(plain.seen().len(), 1);
}

#[test]
fn the_file_of_the_dashboards_authority_is_watched_also_after_a_reload() {
    let (first, second) = (Authority::new(), Authority::new());
    let secure = Origin::start();
    let gate = gate(Origin::vacant()).start();
    std::fs::write(gate.dir().join("ca.pem"), first.pem()).expect("written");
    let url = format!("'https://localhost:{}'", secure.address.port());
    apply(&gate, &[("upstream.url", &url), ("upstream.tls.ca_file", "'ca.pem'")]);
    std::fs::write(gate.dir().join("ca.pem"), second.pem()).expect("written");
    gate.log().wait_for("upstream.tls was reloaded");
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let config = Arc::new(second.issue("localhost").server(TLS13, None));
    secure.accept_tls(config).serve("secure");
    assert_eq!(client.answer().text(), "secure");
}

#[test]
fn http2_and_time_limits_towards_the_dashboard() {
    let origin = Origin::start();
    let gate = gate(origin.address).start();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.answer("one");
    client.answer();
    apply(&gate, &[("upstream.response_header_timeout", "'100ms'")]);
    call.ends();
    client.get("/");
    let mut silent = origin.accept();
    silent.request();
    assert_eq!(client.answer().status(), 504);
    apply(&gate, &[("upstream.http2", "true"), ("upstream.response_header_timeout", "")]);
    client.get("/");
    assert_eq!(origin.accept().exactly(24), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[test]
fn a_bad_dashboard_url_changes_nothing() {
    let origin = Recorder::start();
    let gate = gate(origin.address).start();
    let answer = gate.reload(&[("upstream.url", &quoted("ftp://user:hunter2@a"))]).is(400);
    assert!(answer.text().contains("upstream.url"), "{}", answer.text());
    assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    assert_eq!(ask(&mut Wire::connect(gate.address)), "dashboard");
    assert_eq!(gate.log().count("hunter2"), 0);
}
