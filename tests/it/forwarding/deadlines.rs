//! Deadlines for slow peers, and clients beyond the connection limit.

use super::{stage, stage_with};
use crate::support::gate::Builder;
use crate::support::origin::Recorder;
use crate::support::wire::Wire;

#[test]
fn a_silent_client_is_closed() {
    let (_origin, gate) = stage_with(|gate| gate.set("timeouts.request_header", "\"300ms\""));
    Wire::connect(gate.address).ends();
    let mut preface = Wire::connect(gate.address);
    preface.send("PRI * HT");
    assert!(preface.rest().starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn half_a_head_is_408() {
    let (_origin, gate) = stage_with(|gate| gate.set("timeouts.request_header", "\"300ms\""));
    for part in ["G", "GET / HTTP/1.1\r\nHost: d\r\n", "GET / HTTP/1.1\r\nHost: d\r\n\r"] {
        let mut client = Wire::connect(gate.address);
        client.send(part);
        let answer = client.rest();
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{part:?}: {}", answer.escape_ascii());
    }
}

#[test]
fn half_a_second_head_is_408_too() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.request_header", "\"300ms\""));
    let mut client = Wire::connect(gate.address);
    client.get("/");
    origin.accept().serve("one");
    assert_eq!(client.answer().text(), "one");
    client.send("GET /tw");
    assert!(client.rest().starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn a_stalled_body_is_408_and_aborts_the_request_to_the_dashboard() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.request_body", "\"300ms\""));
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\nhalf");
    let mut call = origin.accept();
    assert_eq!(call.cut_request().text(), "half");
    assert_eq!(client.answer().status(), 408);
    client.ends();
}

#[test]
fn the_time_of_the_dashboard_does_not_count_against_the_client() {
    let (origin, gate) = stage_with(|gate| {
        let gate = gate.set("timeouts.request_header", "\"200ms\"");
        gate.set("timeouts.idle", "\"200ms\"").set("timeouts.request_body", "\"200ms\"")
    });
    let (mut client, mut call) = origin.asked(gate.address, "/slow");
    // Longer than all deadlines of a client.
    Wire::connect(gate.address).ends();
    call.answer("at last");
    assert_eq!(client.answer().text(), "at last");
}

#[test]
fn an_idle_connection_is_closed_without_a_response() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.idle", "\"300ms\""));
    let mut client = Wire::connect(gate.address);
    client.get("/");
    origin.accept().serve("one");
    assert_eq!(client.answer().status(), 200);
    client.ends();
}

#[test]
fn a_dashboard_that_does_not_respond_is_504() {
    let (origin, gate) =
        stage_with(|gate| gate.set("upstream.response_header_timeout", "\"300ms\""));
    let (mut client, mut call) = origin.asked(gate.address, "/");
    let answer = client.answer();
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.field("proxy-status"), "license-gate; error=http_response_timeout");
    call.ends();
}

#[test]
fn heads_beyond_the_limits_are_431() {
    let (_origin, gate) = stage();
    for head in [
        format!("GET / HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n", "x".repeat(70_000)),
        format!("GET / HTTP/1.1\r\nHost: d\r\n{}\r\n", "X: y\r\n".repeat(100)),
    ] {
        let mut client = Wire::connect(gate.address);
        // The gate may close before all of it is sent.
        let _ = client.try_send(&head);
        assert_eq!(client.head().status(), 431);
    }
}

#[test]
fn clients_beyond_the_limit_get_503() {
    let (origin, gate) = stage_with(|gate| {
        gate.set("limits.max_connections", 1).set("admin.listen", "'127.0.0.1:0'")
    });
    let refused = "license_gate_connections_refused_total";
    assert_eq!(gate.metric(refused), "0");
    let mut first = Wire::connect(gate.address);
    first.get("/");
    let mut call = origin.accept();
    call.serve("first");
    assert_eq!(first.answer().status(), 200);
    let mut second = Wire::connect(gate.address);
    second.get("/");
    let answer = second.head();
    assert_eq!((answer.status(), answer.field("retry-after")), (503, "1".into()));
    assert_eq!(gate.metric(refused), "1");
}

#[test]
fn a_client_that_disconnects_makes_room_for_another() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).set("limits.max_connections", 1).start();
    let asked = || {
        let mut client = Wire::connect(gate.address);
        client.get("/");
        client.head().status()
    };
    assert_eq!(asked(), 200);
    // The gate may notice the disconnect later.
    assert_eq!(asked_until_served(&asked), 200);
}

fn asked_until_served(asked: &impl Fn() -> u16) -> u16 {
    loop {
        match asked() {
            503 => {}
            status => return status,
        }
    }
}
