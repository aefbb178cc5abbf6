//! Shutdown: requests in flight end, no new ones begin, and nothing waits forever.

use super::{stage, stage_with};
use crate::support::gate::Builder;
use crate::support::origin::Recorder;
use crate::support::wire::{Wire, has_ended};

#[test]
fn requests_in_flight_end_and_their_connections_close() {
    let (origin, mut gate) = stage();
    let mut idle = Wire::connect(gate.address);
    idle.get("/");
    let mut call = origin.accept();
    call.serve("one");
    idle.answer();
    let mut busy = Wire::connect(gate.address);
    busy.get("/two");
    call.request();

    gate.signal("TERM");
    idle.ends();
    call.answer("two");
    let answer = busy.answer();
    assert_eq!((answer.text(), answer.field("connection")), ("two".into(), "close".into()));
    busy.ends();
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (origin, mut gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    gate.signal("TERM");
    gate.log().wait_for("stopping");
    gate.signal("INT");
    client.ends();
    call.breaks();
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn requests_are_cut_after_the_grace_period() {
    let (origin, mut gate) = stage_with(|gate| gate.set("shutdown.grace_period", "\"300ms\""));
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    client.head();
    gate.signal("TERM");
    assert_eq!(client.exactly(4), b"half");
    client.ends();
    call.breaks();
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_standard_output_that_is_not_read_does_not_delay_the_exit() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).set("log.access", true).unread();
    let mut gate = gate.set("shutdown.grace_period", "\"300ms\"").start();
    let mut client = Wire::connect(gate.address);
    // More than fits into a pipe.
    for _ in 0..1000 {
        client.get("/a-path-that-makes-a-line-of-some-length-in-the-access-log-of-the-gate");
        assert_eq!(client.answer().status(), 200);
    }
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_silent_client_does_not_delay_the_exit() {
    let (_origin, mut gate) = stage_with(|gate| {
        gate.set("timeouts.request_header", "\"1h\"").set("shutdown.grace_period", "\"1h\"")
    });
    let mut silent = Wire::connect(gate.address);
    // The same worker has served a client after the silent one, so that one has been accepted.
    let mut client = Wire::connect(gate.address);
    client.send("GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status(), 404);
    gate.signal("TERM");
    silent.ends();
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_client_with_half_a_request_does_not_delay_the_exit() {
    for half in ["GET / HTTP/1.1\r\nHost: d\r\n", "PRI * HTTP/2.0\r\n"] {
        let (_origin, mut gate) = stage_with(|gate| {
            gate.set("timeouts.request_header", "\"1h\"").set("shutdown.grace_period", "\"1h\"")
        });
        let mut slow = Wire::connect(gate.address);
        slow.send(half);
        // The same worker has served a client after it, so its bytes have been read.
        let mut client = Wire::connect(gate.address);
        client.send("GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status(), 404);
        gate.signal("TERM");
        slow.ends();
        assert_eq!(gate.wait().code(), Some(0));
    }
}

#[test]
fn a_response_cut_by_the_exit_does_not_look_complete_to_an_http_1_0_client() {
    let (origin, mut gate) = stage_with(|gate| gate.set("shutdown.grace_period", "\"300ms\""));
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\n\r\nhalf");
    client.head();
    assert_eq!(client.exactly(4), b"half");
    gate.signal("TERM");
    let end = client.end();
    assert!(end.as_ref().is_err_and(has_ended), "{end:?}");
    assert_eq!(gate.wait().code(), Some(0));
}
