//! Large heads, many fields, long waits: accepted up to the limits, refused beyond them.

use std::net::{SocketAddr, TcpListener, TcpStream};

use super::{answered, forwarded, recorded, stage, stage_with};
use crate::support::gate::{Builder, Gate};
use crate::support::wire::Wire;

#[test]
fn max_headers_fields_are_accepted_and_one_more_is_not() {
    let (recorder, gate) = recorded();
    for (count, status) in [(100, 200), (101, 431)] {
        let mut client = Wire::connect(gate.address);
        let fields: String = (1..count).map(|n| format!("X-{n}: y\r\n")).collect();
        client.send(format!("GET /{count} HTTP/1.1\r\nHost: d\r\n{fields}\r\n"));
        assert_eq!(client.answer().status(), status, "{count}");
    }
    assert_eq!(recorder.lines(), ["GET /100 HTTP/1.1"]);
    assert!(recorder.seen()[0].has("x-99"));
}

#[test]
fn a_head_of_the_maximum_size_is_accepted_and_a_larger_one_is_not() {
    let (recorder, gate) = recorded();
    for (size, status) in [(65_536 - 200, 200), (65_536 + 1, 431)] {
        let mut client = Wire::connect(gate.address);
        let head = format!("GET /{size} HTTP/1.1\r\nHost: d\r\nCookie: ");
        let filling = "c".repeat(size - head.len() - 4);
        // The gate may close before all of it is sent.
        let _ = client.try_send(format!("{head}{filling}\r\n\r\n"));
        assert_eq!(client.answer().status(), status, "{size}");
    }
    let seen = recorder.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].field("cookie").len() > 65_000);
}

#[test]
fn a_long_target_passes() {
    let (origin, gate) = stage();
    let target = format!("/d?{}", "q=1&".repeat(10_000));
    let arrived = forwarded(&origin, &gate, format!("GET {target} HTTP/1.1\r\nHost: d\r\n\r\n"));
    assert_eq!(arrived.start, format!("GET {target} HTTP/1.1"));
}

#[test]
fn a_head_beyond_the_limit_is_refused_at_once_and_never_forwarded() {
    let (recorder, gate) = recorded();
    // No line end, no empty line, no colon: refused before the head is complete.
    for start in ["GET /", "GET / HTTP/1.1\r\nHost: d\r\nX: ", "GET / HTTP/1.1\r\nHost: d\r\nX"] {
        let mut client = Wire::connect(gate.address);
        client.send(start);
        while client.try_send([b'x'; 4096]).is_ok() {}
        let answer = client.answer();
        assert!(matches!(answer.status(), 414 | 431), "{start:?}: {answer:?}");
    }
    assert_eq!(recorder.lines(), [""; 0]);
}

#[test]
fn limits_are_configurable() {
    let (recorder, gate) = {
        let recorder = crate::support::origin::Recorder::start();
        let gate = Builder::before(recorder.address).set("limits.max_header_bytes", "\"8KiB\"");
        (recorder, gate.set("limits.max_headers", 3).start())
    };
    for (head, status) in [
        ("A: 1\r\nB: 2\r\n".to_owned(), 200),
        ("A: 1\r\nB: 2\r\nC: 3\r\n".to_owned(), 431),
        (format!("A: {}\r\n", "x".repeat(7_000)), 200),
        (format!("A: {}\r\n", "x".repeat(8_200)), 431),
    ] {
        let mut client = Wire::connect(gate.address);
        let _ = client.try_send(format!("GET / HTTP/1.1\r\nHost: d\r\n{head}\r\n"));
        assert_eq!(client.answer().status(), status, "{}", &head[..12]);
    }
    assert_eq!(recorder.lines().len(), 2);
}

#[test]
fn a_large_response_head_is_forwarded() {
    let (origin, gate) = stage();
    let cookies: String =
        (0..60).map(|n| format!("Set-Cookie: c{n}={}\r\n", "v".repeat(1_000))).collect();
    let answer =
        answered(&origin, &gate, format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 0\r\n\r\n"));
    let found = answer.all("set-cookie");
    assert_eq!(found.len(), 60);
    assert!(found.iter().enumerate().all(|(n, value)| value.starts_with(&format!("c{n}=v"))));
}

/// The last bytes of the larger one arrive with its end.
#[test]
fn a_response_head_of_the_maximum_size_is_forwarded_and_a_larger_one_is_not() {
    for (size, status) in [(256 * 1024, 200), (256 * 1024 + 1, 502), (300_000, 502)] {
        let (origin, gate) = stage();
        let (mut client, mut call) = origin.asked(gate.address, "/");
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
        let filling = "x".repeat(size - head.len() - 4);
        let _ = call.try_send(format!("{head}{filling}\r\n\r\n"));
        assert_eq!(client.answer().status(), status, "{size}");
    }
}

#[test]
fn a_response_head_without_end_is_502() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nX: ");
    while call.try_send([b'x'; 65_536]).is_ok() {}
    assert_eq!(client.answer().status(), 502);
}

#[test]
fn content_is_forwarded_unchanged() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.1\r\nHost: d\r\nAccept-Encoding: gzip, br, zstd\r\n\r\n");
    let mut call = origin.accept();
    assert_eq!(call.request().field("accept-encoding"), "gzip, br, zstd");
    let page = "<!doctype html><title>x</title>".repeat(100);
    call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len()));
    let answer = client.answer();
    assert_eq!(answer.text(), page);
    let guessed = [
        "content-type",
        "content-encoding",
        "vary",
        "etag",
        "cache-control",
        "age",
        "server",
        "via",
    ];
    for name in guessed {
        assert!(!answer.has(name), "{name}: {answer:?}");
    }
}

#[test]
fn responses_are_not_cached() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    for _ in 0..3 {
        client.get("/cacheable");
        client.answer();
    }
    assert_eq!(recorder.lines().len(), 3);
}

/// An address that accepts no connection, and the sockets that fill its backlog.
fn busy() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    socket.listen(0).expect("listening");
    let address =
        socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    // Linux queues one connection more than the backlog.
    let queued = TcpStream::connect(address).expect("queued");
    (address, vec![queued], socket.into())
}

#[test]
fn a_dashboard_that_accepts_no_connection_is_504() {
    let (address, _queued, _listener) = busy();
    let gate: Gate = Builder::before(address).set("upstream.connect_timeout", "\"300ms\"").start();
    for (accept, content_type) in
        [("*/*", "application/json"), ("text/html", "text/html; charset=utf-8")]
    {
        let mut client = Wire::connect(gate.address);
        client.send(format!("GET / HTTP/1.1\r\nHost: d\r\nAccept: {accept}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status(), 504);
        assert_eq!(answer.field("proxy-status"), "license-gate; error=connection_timeout");
        assert_eq!(answer.field("content-type"), content_type);
    }
}

#[test]
fn a_slow_response_body_has_no_deadline() {
    let (origin, gate) =
        stage_with(|gate| gate.set("upstream.response_header_timeout", "\"300ms\""));
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    // The deadline of another request passes meanwhile.
    let mut other = Wire::connect(gate.address);
    other.get("/silent");
    let mut silent = origin.accept();
    silent.request();
    assert_eq!(other.answer().status(), 504);
    call.send("later");
    assert_eq!(client.exactly(5), b"later");
}
