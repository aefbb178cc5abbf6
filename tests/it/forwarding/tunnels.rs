//! WebSocket over HTTP/1.1, as bytes: what opens a tunnel, what flows through it, how it ends.

use super::{stage, stage_with};
use crate::support::gate::Gate;
use crate::support::origin::{Call, Origin};
use crate::support::wire::Wire;

const ASK: &str = "GET /live HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n";
const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: a\r\n\r\n";

/// An open tunnel: both ends of it.
pub(super) fn tunnel(origin: &Origin, gate: &Gate) -> (Wire, Call) {
    tunnel_on(Wire::connect(gate.address), origin)
}

/// The same on a connection that is open already.
pub(super) fn tunnel_on(mut client: Wire, origin: &Origin) -> (Wire, Call) {
    client.send(ASK);
    let mut call = origin.accept();
    let asked = call.head();
    assert_eq!(
        (asked.field("connection"), asked.field("upgrade")),
        ("upgrade".into(), "websocket".into())
    );
    assert_eq!(asked.field("sec-websocket-key"), "k");
    call.send(ACCEPT);
    let answer = client.head();
    assert_eq!(answer.status(), 101);
    assert_eq!(
        (answer.field("connection"), answer.field("upgrade")),
        ("upgrade".into(), "websocket".into())
    );
    assert_eq!(answer.field("sec-websocket-accept"), "a");
    (client, call)
}

#[test]
fn bytes_and_half_closes_pass_both_ways() {
    let (origin, gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    client.send([0x81, b'\n', 0, 0xff]);
    assert_eq!(call.exactly(4), [0x81, b'\n', 0, 0xff]);
    call.send("from the dashboard");
    assert_eq!(client.exactly(18), b"from the dashboard");
    client.half_close();
    assert_eq!(call.rest(), b"");
    call.send("still here");
    assert_eq!(client.exactly(10), b"still here");
    drop(call);
    assert_eq!(client.rest(), b"");
}

#[test]
fn large_messages_arrive_completely_at_a_slow_reader() {
    let (origin, gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    let message: Vec<u8> = (0..8_000_000_u32).map(|at| (at % 251) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| client.send(&message));
        assert!(call.exactly(message.len()) == message);
    });
    std::thread::scope(|scope| {
        scope.spawn(|| call.send(&message));
        assert!(client.exactly(message.len()) == message);
    });
}

#[test]
fn bytes_sent_before_the_101_are_kept_both_ways() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send(format!("{ASK}\u{1}\nearly"));
    let mut call = origin.accept();
    call.head();
    call.send(format!("{ACCEPT}prompt"));
    assert_eq!(call.exactly(7), b"\x01\nearly");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(6), b"prompt");
}

#[test]
fn a_declined_upgrade_keeps_the_connection() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send(ASK);
    let mut call = origin.accept();
    call.head();
    client.get("/next");
    call.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (403, "no".into()));
    assert_eq!(call.serve("yes").start, "GET /next HTTP/1.1");
    assert_eq!(client.answer().text(), "yes");
}

#[test]
fn a_client_that_disconnects_before_the_101_ends_its_request() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send(ASK);
    let mut call = origin.accept();
    call.head();
    drop(client);
    call.ends();
}

#[test]
fn no_other_upgrade_is_tunnelled() {
    let (origin, gate) = stage();
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let mut client = Wire::connect(gate.address);
        client.send(format!("GET / HTTP/1.1\r\nHost: d\r\n{fields}\r\n"));
        let asked = origin.accept().serve("plain");
        assert!(!asked.has("upgrade") && !asked.has("http2-settings"), "{fields:?}: {asked:?}");
        assert!(!asked.has("connection"), "{fields:?}: {asked:?}");
        assert_eq!(client.answer().text(), "plain", "{fields:?}");
    }
}

#[test]
fn an_idle_tunnel_is_closed() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.tunnel_idle", "\"300ms\""));
    let (mut client, mut call) = tunnel(&origin, &gate);
    client.ends();
    call.ends();
}

#[test]
fn a_101_to_another_protocol_is_502() {
    let (origin, gate) = stage();
    for upgrade in ["Upgrade: h2c\r\n", ""] {
        let mut client = Wire::connect(gate.address);
        client.send(ASK);
        let mut call = origin.accept();
        call.head();
        call.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{upgrade}\r\n"
        ));
        assert_eq!(client.answer().status(), 502, "{upgrade:?}");
        call.breaks();
    }
}

#[test]
fn a_tunnel_ends_at_the_dashboard_if_the_client_disconnected_before_the_101() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    // More than the gate reads ahead: it notices the disconnect only when it writes.
    client.send([ASK.as_bytes(), &[b'x'; 20_000]].concat());
    let mut call = origin.accept();
    call.head();
    client.reset();
    call.send(ACCEPT);
    call.ends();
}
