//! Bodies: their framing and their end.

use super::{answered, forwarded, recorded, stage};
use crate::support::message::Length;
use crate::support::wire::Wire;

#[test]
fn a_body_with_content_length_is_forwarded_with_it() {
    let (origin, gate) = stage();
    for body in ["", "x", "a\r\n\r\nGET / HTTP/1.1\r\n\r\n"] {
        let length = body.len();
        let request =
            format!("PUT /x HTTP/1.1\r\nHost: d\r\nContent-Length: {length}\r\n\r\n{body}");
        let arrived = forwarded(&origin, &gate, request);
        assert_eq!(arrived.text(), body);
        assert_eq!(arrived.request_length(), Length::Known(length as u64));
    }
}

#[test]
fn a_chunked_body_is_forwarded_chunked_with_its_trailers() {
    let (origin, gate) = stage();
    let arrived = forwarded(
        &origin,
        &gate,
        "POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0000A;ext=\"1\"\r\n, world!\r\n\r\n0;last\r\nX-Sum: abc\r\nX-Unannounced: yes\r\n\r\n",
    );
    assert_eq!(arrived.request_length(), Length::Chunked);
    assert_eq!(arrived.text(), "hello, world!\r\n");
    let trailers = [("x-sum", "abc"), ("x-unannounced", "yes")];
    let trailers = trailers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(arrived.trailers, trailers);
}

#[test]
fn an_empty_chunked_body_is_an_empty_body() {
    let (origin, gate) = stage();
    let request = "POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let arrived = forwarded(&origin, &gate, request);
    assert_eq!(arrived.text(), "");
    assert_ne!(arrived.request_length(), Length::UntilClose);
}

#[test]
fn a_get_with_a_body_is_forwarded_with_it() {
    let (origin, gate) = stage();
    let request = "GET / HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(forwarded(&origin, &gate, request).text(), "hi");
}

#[test]
fn request_trailers_for_framing_forwarding_or_authentication_are_removed() {
    let (origin, gate) = stage();
    let arrived = forwarded(
        &origin,
        &gate,
        "POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
         Host: evil\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nAuthorization: Basic eA==\r\n\
         Cookie: a=b\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=x\r\nVia: x\r\nX-Real-IP: x\r\n\
         Connection: close\r\nUpgrade: x\r\nX-Request-Id: x\r\nX-Kept: yes\r\n\r\n",
    );
    assert_eq!(arrived.trailers, [("x-kept".to_owned(), b"yes".to_vec())]);
}

#[test]
fn a_chunked_response_stays_chunked_with_its_announced_trailers() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.1\r\nHost: d\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let mut call = origin.accept();
    call.request();
    call.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX-Sum: abc\r\nContent-Length: 9\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!(answer.text(), "hello!");
    assert_eq!(answer.field("trailer"), "X-Sum");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), b"abc".to_vec())]);
}

#[test]
fn a_chunked_response_that_arrived_in_one_piece_is_complete() {
    let (origin, gate) = stage();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let answer = answered(&origin, &gate, chunked);
    assert_eq!(
        (answer.text(), answer.field("transfer-encoding")),
        ("hello".into(), "chunked".into())
    );
}

#[test]
fn a_response_that_ends_with_its_connection_is_complete() {
    let (origin, gate) = stage();
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let answer = answered(&origin, &gate, format!("{version} 200 OK\r\n\r\nuntil the end"));
        assert_eq!(answer.text(), "until the end");
        assert_eq!(answer.start, "HTTP/1.1 200 OK");
    }
}

#[test]
fn a_response_to_head_keeps_its_length_and_has_no_body() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    let mut call = None;
    for (framing, length) in [
        ("Content-Length: 12345\r\n", Some("12345")),
        ("Content-Length: 0\r\n", Some("0")),
        ("Transfer-Encoding: chunked\r\n", None),
        ("", None),
    ] {
        client.send("HEAD / HTTP/1.1\r\nHost: d\r\n\r\n");
        let call = call.get_or_insert_with(|| origin.accept());
        assert_eq!(call.request().start, "HEAD / HTTP/1.1");
        call.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
        let answer = client.answer_to("HEAD");
        assert_eq!(answer.one("content-length").as_deref(), length, "{framing:?}");
    }
}

#[test]
fn a_response_without_content_has_no_body_and_keeps_the_connection() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    let mut call = None;
    for (head, length) in [
        ("204 No Content\r\n", None),
        ("304 Not Modified\r\nETag: \"x\"\r\n", None),
        // The length that a 200 would have had (RFC 9110 section 8.6).
        ("304 Not Modified\r\nContent-Length: 5\r\n", Some("5")),
        ("200 OK\r\nContent-Length: 0\r\n", Some("0")),
        ("205 Reset Content\r\nContent-Length: 0\r\n", Some("0")),
    ] {
        client.get("/");
        let call = call.get_or_insert_with(|| origin.accept());
        call.request();
        call.send(format!("HTTP/1.1 {head}\r\n"));
        let answer = client.answer();
        assert_eq!(answer.start, format!("HTTP/1.1 {}", head.lines().next().expect("a line")));
        assert_eq!(answer.one("content-length").as_deref(), length, "{head:?}");
        assert_eq!(answer.one("transfer-encoding"), None, "{head:?}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    let requests: String = (0..20)
        .map(|n| format!("POST /{n} HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nX: {n}\r\n\r\n\n"))
        .collect();
    client.send(requests);
    for n in 0..20 {
        assert_eq!(client.answer().status(), 200, "{n}");
    }
    let sent: Vec<String> = (0..20).map(|n| format!("POST /{n} HTTP/1.1")).collect();
    assert_eq!(recorder.lines(), sent);
}

#[test]
fn requests_after_connection_close_are_not_answered() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    client.send(
        "GET /last HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\nGET /late HTTP/1.1\r\nHost: d\r\n\r\n",
    );
    assert_eq!(client.answer().field("connection"), "close");
    client.ends();
    assert_eq!(recorder.lines(), ["GET /last HTTP/1.1"]);
}

#[test]
fn megabytes_pass_both_ways_unchanged() {
    let (origin, gate) = stage();
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = Wire::connect(gate.address);
    let sent = body.clone();
    let sender = std::thread::spawn(move || {
        client.send(format!("PUT / HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n\r\n", sent.len()));
        client.send(sent);
        client.answer()
    });
    let mut call = origin.accept();
    assert!(call.request().body == body, "the upload arrives as it was sent");
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(70_001) {
        call.send(format!("{:x}\r\n", chunk.len()));
        call.send(chunk);
        call.send("\r\n");
    }
    call.send("0\r\n\r\n");
    let answer = sender.join().expect("no panic");
    assert!(answer.body == body, "the download arrives as it was sent");
}
