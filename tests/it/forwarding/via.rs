//! `Via`, and detection of loops.

use std::net::SocketAddr;

use super::{forwarded, stage};
use crate::support::gate::{Builder, Gate};
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::Wire;

fn listening(address: SocketAddr, upstream: SocketAddr) -> Gate {
    Builder::before(upstream).set("server.listen", format!("[\"{address}\"]")).start()
}

#[test]
fn the_gate_adds_itself_to_via() {
    let (origin, gate) = stage();
    let arrived = forwarded(&origin, &gate, "GET / HTTP/1.1\r\nHost: dash\r\n\r\n");
    let via = arrived.field("via");
    assert!(via.starts_with("1.1 license-gate (") && via.ends_with(')'), "{via}");
}

#[test]
fn via_is_extended() {
    let (origin, gate) = stage();
    let request = "GET / HTTP/1.1\r\nHost: dash\r\nVia: 1.0 fred\r\nVia: 1.1 p.example\r\n\r\n";
    let via = forwarded(&origin, &gate, request).field("via");
    assert!(via.starts_with("1.0 fred, 1.1 p.example, 1.1 license-gate ("), "{via}");
}

#[test]
fn a_loop_through_another_gate_is_508() {
    let (one, two) = (Origin::vacant(), Origin::vacant());
    let (_first, _second) = (listening(one, two), listening(two, one));
    let mut client = Wire::connect(one);
    client.get("/");
    assert_eq!(client.answer().status(), 508);
}

#[test]
fn another_gate_in_the_chain_is_not_a_loop() {
    let recorder = Recorder::start();
    let inner = Builder::before(recorder.address).start();
    let outer = Builder::before(inner.address).start();
    let mut client = Wire::connect(outer.address);
    client.get("/");
    assert_eq!(client.answer().status(), 200);
    let via = recorder.seen()[0].field("via");
    assert_eq!(via.matches("1.1 license-gate (").count(), 2, "{via}");
}
