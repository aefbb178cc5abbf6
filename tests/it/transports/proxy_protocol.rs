//! The PROXY protocol: which peers may set the client address, and where the header ends.

use super::{dir, secured};
use crate::support::authority::{Authority, TLS13};
use crate::support::gate::{Builder, Gate};
use crate::support::origin::Origin;
use crate::support::wire::{Wire, socket};

const REQUEST: &str =
    "GET / HTTP/1.1\r\nHost: d\r\nX-Forwarded-For: 6.6.6.6\r\nX-Request-Id: theirs\r\n\r\n";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// A gate that requires PROXY headers from loopback.
fn wanting(builder: Builder) -> Builder {
    builder.set("server.proxy_protocol", true).set("server.trusted_proxies", "['127.0.0.1']")
}

fn stage() -> (Origin, Gate) {
    let origin = Origin::start();
    let gate = wanting(Builder::before(origin.address)).set("log.level", "'debug'").start();
    (origin, gate)
}

#[test]
fn the_client_is_the_one_that_the_header_names() {
    let (origin, gate) = stage();
    let tlv = [&[192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb][..], &[4, 0, 2, 9, 9]].concat();
    let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[0, 1, 0, 2]].concat();
    let table: [(&[u8], &str); 11] = [
        (LINE, "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n", "192.0.2.9"),
        (&binary(0x21, 0x11, &tlv), "192.0.2.1"),
        (&binary(0x21, 0x21, &v6), "2001:db8::1"),
        // For these, the address of the socket is used, trusted or not.
        (&binary(0x20, 0, &[]), "127.0.0.1"),
        (&binary(0x20, 0x11, &[9; 12]), "127.0.0.1"),
        (&binary(0x21, 0x31, &[0; 216]), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
        // A trusted client address may itself forward for others.
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n", "6.6.6.6, 127.0.0.1"),
    ];
    for (header, expected) in table {
        let mut client = Wire::connect(gate.address);
        client.send([header, REQUEST.as_bytes()].concat());
        let request = origin.accept().serve("");
        assert_eq!(request.field("x-forwarded-for"), expected, "{}", header.escape_ascii());
        let named = expected.split(',').next().expect("one");
        assert_eq!(request.field("x-real-ip"), named, "{}", header.escape_ascii());
        let is_believed = expected.contains(',');
        assert_eq!(request.field("x-request-id") == "theirs", is_believed);
        assert_eq!(client.answer().status(), 200);
    }
}

#[test]
fn a_header_may_come_in_pieces() {
    let (origin, gate) = stage();
    for header in [LINE.to_vec(), binary(0x21, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 1, 1, 1, 1])] {
        let mut client = Wire::connect(gate.address);
        for byte in header.iter().chain(REQUEST.as_bytes()) {
            client.send([*byte]);
        }
        assert_eq!(origin.accept().serve("").field("x-forwarded-for"), "192.0.2.1");
        assert_eq!(client.answer().status(), 200);
    }
}

#[test]
fn the_access_log_names_the_client() {
    let origin = Origin::start();
    let gate = wanting(Builder::before(origin.address)).set("log.access", true).start();
    let mut client = Wire::connect(gate.address);
    client.send([LINE, REQUEST.as_bytes()].concat());
    origin.accept().serve("");
    client.answer();
    assert!(gate.access().wait_for("GET").contains("192.0.2.1"));
}

#[test]
fn limits_count_the_client_and_not_the_proxy() {
    let origin = Origin::start();
    let gate = wanting(Builder::before(origin.address)).set("limits.writes_per_minute", 1);
    let gate = gate.set("auth.mode", "'local'").set("limits.failed_sign_ins_per_minute", 1).start();
    let status = |client: &str| {
        let mut wire = Wire::connect(gate.address);
        wire.send(format!("PROXY TCP4 {client} 10.0.0.1 1 1\r\n"));
        wire.send(
            "GET /api/licensing/check HTTP/1.1\r\nHost: d\r\nAuthorization: Basic YTpi\r\n\r\n",
        );
        wire.answer().status()
    };
    assert_eq!(["192.0.2.1", "192.0.2.1", "192.0.2.2"].map(status), [401, 429, 401]);
}

#[test]
fn tls_begins_right_behind_the_header() {
    use std::io::Write;

    let (authority, origin) = (Authority::new(), Origin::start());
    let gate = wanting(secured(origin.address, dir(), &authority.issue("localhost"))).start();
    let mut socket = socket(gate.address);
    socket.write_all(LINE).expect("sent");
    let mut client = Wire::tls_over(socket, authority.client(TLS13, None));
    client.send(REQUEST);
    let request = origin.accept().serve("inside");
    assert_eq!(request.field("x-forwarded-for"), "192.0.2.1");
    assert_eq!(request.field("x-forwarded-proto"), "https");
    assert_eq!(client.answer().text(), "inside");
}

#[test]
fn a_connection_without_the_header_is_closed_without_a_response() {
    let (_origin, gate) = stage();
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
    let table: [&[u8]; 6] = [
        REQUEST.as_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 192.0.2.1\r\n  GET / HTTP/1.1",
        b"PROXY TCP4 evil 10.0.0.1 1 1\r\n",
        too_long.as_bytes(),
        &binary(0x23, 0x11, &[0; 12]),
    ];
    for bytes in table {
        let mut client = Wire::connect(gate.address);
        client.send(bytes);
        client.ends();
    }
    gate.log().wait_for("no valid PROXY header");
}

#[test]
fn an_untrusted_peer_is_closed() {
    let origin = Origin::start();
    let gate = Builder::before(origin.address).set("server.proxy_protocol", true);
    let gate =
        gate.set("server.trusted_proxies", "['10.0.0.0/8']").set("log.level", "'debug'").start();
    let mut client = Wire::connect(gate.address);
    // The connection may be closed already.
    let _ = client.try_send([LINE, REQUEST.as_bytes()].concat());
    client.ends();
    gate.log().wait_for("the peer is not a trusted proxy");
}

#[test]
fn a_peer_that_sends_no_header_is_closed_at_the_deadline() {
    let origin = Origin::start();
    let gate = wanting(Builder::before(origin.address));
    let gate = gate.set("timeouts.request_header", "'300ms'").start();
    for begun in [&b""[..], b"PROX", &SIGNATURE[..9]] {
        let mut client = Wire::connect(gate.address);
        client.send(begun);
        client.ends();
    }
}

#[test]
fn a_peer_that_sends_no_header_does_not_delay_the_exit() {
    let origin = Origin::start();
    let gate = wanting(Builder::before(origin.address));
    let mut gate = gate.set("timeouts.request_header", "'1h'").start();
    let mut silent = Wire::connect(gate.address);
    let mut client = Wire::connect(gate.address);
    client.send([LINE, b"GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n"].concat());
    assert_eq!(client.answer().status(), 404);
    gate.signal("TERM");
    silent.ends();
    assert_eq!(gate.wait().code(), Some(0));
}
