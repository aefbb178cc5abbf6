//! WebSocket over HTTP/2 (RFC 8441), translated to an HTTP/1.1 upgrade.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{stage, stage_h2, stage_with};
use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::h2::{CANCEL, Conn, Event, INITIAL_WINDOW_SIZE, MAX_STREAM, NO_ERROR, field};
use crate::support::http::request;
use crate::support::message::Message;
use crate::support::origin::{Call, Origin, Recorder};
use crate::support::wire::{CLOSE, ECHO, is_close_of_client};

fn connect(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "dash"),
        ("sec-websocket-version", "13"),
    ]
}

/// Sends 101 for the upgrade in `asked`.
fn accept(call: &mut Call, asked: &Message, fields: &str) {
    let accept = derive_accept_key(asked.field("sec-websocket-key").as_bytes());
    call.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
    ));
}

fn tunnel(origin: &Origin, gate: &Gate) -> (Conn, u32, Call) {
    let mut client = Conn::connect(gate.address);
    let (stream, call) = tunnel_on(&mut client, origin);
    (client, stream, call)
}

pub(super) fn tunnel_on(client: &mut Conn, origin: &Origin) -> (u32, Call) {
    let stream = client.ask(&connect("/live"), false);
    let mut call = origin.accept();
    let asked = call.head();
    accept(&mut call, &asked, "");
    let (_, fields, end) = client.head();
    assert_eq!(field(&fields, ":status").as_deref(), Some("200"));
    assert!(!end);
    (stream, call)
}

#[test]
fn connect_becomes_an_upgrade_and_101_becomes_200() {
    let (origin, gate) = stage_with(|gate| gate.set("log.access", true));
    let mut client = Conn::connect(gate.address);
    let added = [
        ("origin", "https://dash"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("sec-websocket-protocol", "one, two"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-key", "of-the-client"),
        ("authorization", "Basic YTpi"),
    ];
    let stream = client.ask(&[&connect("/live?x=%20")[..], &added].concat(), false);
    let mut call = origin.accept();
    let asked = call.head();
    assert_eq!(asked.start, "GET /live?x=%20 HTTP/1.1");
    for (name, value) in [
        ("host", "dash"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("origin", "https://dash"),
        ("cookie", "a=1; b=2"),
        ("sec-websocket-protocol", "one, two"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("authorization", "Basic YTpi"),
    ] {
        assert_eq!(asked.field(name), value, "{name}");
    }
    let key = asked.field("sec-websocket-key");
    assert_eq!(STANDARD.decode(&key).expect("base64").len(), 16, "{key}");
    assert!(!asked.has("content-length") && !asked.has("transfer-encoding"), "{asked:?}");
    accept(&mut call, &asked, "Sec-WebSocket-Protocol: two\r\nSet-Cookie: c=3\r\n");
    let (_, fields, end) = client.head();
    assert!(!end);
    assert_eq!(field(&fields, ":status").as_deref(), Some("200"));
    assert_eq!(field(&fields, "sec-websocket-protocol").as_deref(), Some("two"));
    assert_eq!(field(&fields, "set-cookie").as_deref(), Some("c=3"));
    for name in ["sec-websocket-accept", "connection", "upgrade", "content-length"] {
        assert_eq!(field(&fields, name), None, "{name}");
    }
    client.data(stream, b"up", false);
    assert_eq!(call.exactly(2), b"up");
    call.send("down");
    assert_eq!(client.exactly(stream, 4), b"down");
    // Another key for the next request.
    let mut other = Conn::connect(gate.address);
    other.ask(&connect("/live"), false);
    assert_ne!(origin.accept().head().field("sec-websocket-key"), key);
    let line = gate.access().wait_for("/live");
    assert!(line.contains("HTTP/2"), "{line}");
}

#[test]
fn half_close_passes_both_ways() {
    let (origin, gate) = stage();
    let (mut client, stream, mut call) = tunnel(&origin, &gate);
    client.data(stream, b"last", true);
    assert_eq!(call.rest(), b"last");
    call.send("still here");
    assert_eq!(client.exactly(stream, 10), b"still here");
    drop(call);
    assert_eq!(client.news(), Event::Data { stream, data: Vec::new(), end: true });

    let (stream, mut call) = tunnel_on(&mut client, &origin);
    call.half_close();
    assert_eq!(client.news(), Event::Data { stream, data: Vec::new(), end: true });
    client.data(stream, b"still here", true);
    assert_eq!(call.rest(), b"still here");
}

#[test]
fn a_reset_on_one_side_cuts_the_other() {
    let (origin, gate) = stage();
    let (mut client, stream, mut call) = tunnel(&origin, &gate);
    client.reset_stream(stream, CANCEL);
    call.ends();
    let (stream, call) = tunnel_on(&mut client, &origin);
    call.reset();
    client.is_reset(stream);
    let (_, mut call) = tunnel_on(&mut client, &origin);
    client.abort();
    call.ends();
}

#[test]
fn a_reset_after_a_half_close_leaves_no_tunnel_behind() {
    let admin = Origin::vacant();
    let (origin, gate) = stage_with(|gate| gate.set("admin.listen", format!("'{admin}'")));
    let (mut client, stream, mut call) = tunnel(&origin, &gate);
    client.data(stream, b"last", true);
    assert_eq!(call.rest(), b"last");
    let is_told = |line: &str| {
        let metrics = request(admin, "GET", "/metrics").send().is(200).text().to_owned();
        metrics.lines().any(|metric| metric == line)
    };
    assert!(is_told("license_gate_tunnels_open 1"));
    client.reset_stream(stream, CANCEL);
    let since = Instant::now();
    while !is_told("license_gate_tunnels_open 0") {
        assert!(since.elapsed() < PATIENCE, "the tunnel still stands");
    }
}

#[test]
fn bytes_after_the_101_and_large_messages_arrive_completely() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let stream = client.ask(&connect("/live"), false);
    let mut call = origin.accept();
    let asked = call.head();
    let message: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    accept(&mut call, &asked, "");
    let sent = message.clone();
    let sending = std::thread::spawn(move || {
        call.send(&sent);
        call
    });
    client.head();
    assert!(client.exactly(stream, message.len()) == message);
    let mut call = sending.join().expect("sent");
    let reading = std::thread::spawn({
        let expected = message.clone();
        move || assert!(call.exactly(expected.len()) == expected)
    });
    // The stream window is that of the gate's SETTINGS; one small message at a time always fits.
    for piece in message.chunks(16 * 1024) {
        client.data(stream, piece, false);
        client.ping();
        while client.news() != Event::Pong {}
    }
    reading.join().expect("read");
}

#[test]
fn a_tunnel_of_a_client_that_does_not_read_is_bounded() {
    let (origin, gate) = stage();
    let mut client = Conn::connect_with(gate.address, &[(INITIAL_WINDOW_SIZE, 1000)]);
    client.generous = false;
    let (stream, mut call) = tunnel_on(&mut client, &origin);
    call.write_timeout(std::time::Duration::from_millis(500));
    let piece = vec![b'x'; 64 * 1024];
    let taken = (0..1024).take_while(|_| call.try_send(&piece).is_ok()).count();
    assert!(taken < 512, "{taken} pieces were taken");
    client.exactly(stream, 1000);
    client.window_update(stream, 500);
    client.exactly(stream, 500);
}

#[test]
fn a_response_other_than_101_is_forwarded() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    for (status, line) in [
        (403, "403 Forbidden"),
        (401, "401 Unauthorized"),
        (302, "302 Found\r\nLocation: /login"),
        (426, "426 Upgrade Required\r\nSec-WebSocket-Version: 13"),
    ] {
        client.ask(&connect("/live"), false);
        let mut call = origin.accept();
        call.head();
        call.send(format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"));
        let answer = loop {
            match client.news() {
                Event::Headers { stream, fields, end } => break (stream, fields, end),
                Event::Reset { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(field(&answer.1, ":status"), Some(status.to_string()));
        assert_eq!(client.exactly(answer.0, 2), b"no");
    }
}

#[test]
fn a_response_that_looks_like_a_tunnel_is_502() {
    let (origin, gate) = stage();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        // 101 for another key, without a key, for another protocol.
        "HTTP/1.1 101 -\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 101 -\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(),
        "HTTP/1.1 101 -\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned(),
    ] {
        let mut client = Conn::connect(gate.address);
        client.ask(&connect("/live"), false);
        let mut call = origin.accept();
        call.head();
        call.send(&answer);
        let (_, fields, _) = client.head();
        assert_eq!(field(&fields, ":status").as_deref(), Some("502"), "{answer:?}");
    }
}

#[test]
fn a_licensing_path_is_never_a_tunnel() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).set("auth.public_check", true).start();
    for path in [
        "/api/licensing/check",
        "/api/licensing/token",
        "/api/%6cicensing/check",
        "/x/../api/licensing/check",
        "/api/licensing/nothing",
        "/API/licensing/",
    ] {
        let mut client = Conn::connect(gate.address);
        client.ask(&connect(path), false);
        let (_, fields, _) = client.head();
        assert_eq!(field(&fields, ":status").as_deref(), Some("400"), "{path}");
    }
    assert_eq!(recorder.lines(), <[String; 0]>::default());
}

#[test]
fn a_tunnel_with_a_length_or_of_another_protocol_is_refused() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).start();
    let mut client = Conn::connect(gate.address);
    client.ask(&[&connect("/live")[..], &[("content-length", "5")]].concat(), false);
    let (_, fields, _) = client.head();
    assert_eq!(field(&fields, ":status").as_deref(), Some("501"));
    assert_eq!(recorder.lines(), <[String; 0]>::default());
}

#[test]
fn an_idle_tunnel_is_ended() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.tunnel_idle", "\"300ms\""));
    let (mut client, stream, mut call) = tunnel(&origin, &gate);
    client.is_reset(stream);
    call.ends();
}

#[test]
fn a_tunnel_is_not_subject_to_the_idle_limit_of_its_connection() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.idle", "\"300ms\""));
    let (mut client, stream, mut call) = tunnel(&origin, &gate);
    // Several times the idle limit, as the PINGs show.
    for _ in 0..4 {
        assert_eq!(client.event(), Event::Ping);
    }
    call.send("there");
    assert_eq!(client.exactly(stream, 5), b"there");
}

#[test]
fn a_stop_closes_a_websocket_with_1001() {
    let (origin, mut gate) = stage_with(|gate| gate.set("shutdown.grace_period", "\"4s\""));
    let (mut client, stream, mut call) = tunnel(&origin, &gate);
    // Half a message when the gate stops.
    call.send(b"\x81\x04ha");
    assert_eq!(client.exactly(stream, 4), b"\x81\x04ha");
    gate.signal("TERM");
    assert_eq!(client.news(), Event::GoAway { last: MAX_STREAM, reason: NO_ERROR });
    assert!(matches!(client.news(), Event::GoAway { last, reason: NO_ERROR } if last == stream));
    call.send(b"lf");
    assert_eq!(client.exactly(stream, 2), b"lf");
    assert_eq!(client.exactly(stream, 4), CLOSE);
    client.data(stream, b"\x82\x81\0\0\0\0!", false);
    client.data(stream, ECHO, false);
    assert_eq!(call.rest(), [b"\x82\x81\0\0\0\0!", ECHO].concat());
    drop(call);
    assert_eq!(client.news(), Event::Data { stream, data: Vec::new(), end: true });
    client.data(stream, b"", true);
    client.ends();
    assert!(gate.wait().success());
}

#[test]
fn a_stop_closes_the_websocket_of_a_silent_client_on_the_side_of_the_dashboard() {
    let (origin, mut gate) = stage_with(|gate| gate.set("shutdown.grace_period", "\"4s\""));
    let (mut client, stream, mut call) = tunnel(&origin, &gate);
    gate.signal("TERM");
    for _ in 0..2 {
        assert!(matches!(client.news(), Event::GoAway { .. }));
    }
    assert!(is_close_of_client(&call.rest()));
    assert_eq!(client.exactly(stream, 4), CLOSE);
    client.ends();
    assert!(gate.wait().success());
}

#[test]
fn a_tunnel_uses_http_1_even_if_the_dashboard_has_http_2() {
    let (origin, gate) = stage_h2();
    let (mut client, stream, mut call) = tunnel(&origin, &gate);
    client.data(stream, b"up", false);
    assert_eq!(call.exactly(2), b"up");
}
