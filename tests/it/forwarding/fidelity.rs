//! What parsers and codecs tend to normalize: the gate forwards it unchanged.

use super::{answered, forwarded, recorded, stage, stage_with};
use crate::support::message::{Length, Message};
use crate::support::wire::Wire;

fn trailers(message: &Message) -> Vec<(&str, &[u8])> {
    message.trailers.iter().map(|(name, value)| (&name[..], &value[..])).collect()
}

#[test]
fn request_field_names_keep_their_case() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.1\r\nHOST: d\r\nX-CamelCase: 1\r\nx-lower: 2\r\nSOAPAction: 3\r\nx-CAMELcase: 4\r\n\r\n");
    let mut call = origin.accept();
    let head = call.raw_head();
    for line in ["HOST: d\n", "X-CamelCase: 1\nx-lower: 2\nSOAPAction: 3\nx-CAMELcase: 4\n"] {
        assert!(head.contains(line), "{head}");
    }
    call.answer("");
    client.answer();
}

#[test]
fn response_field_names_keep_their_case() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nETag: x\r\nX-CamelCase: 1\r\nSet-cookie: a\r\nset-COOKIE: b\r\nContent-length: 0\r\n\r\n");
    let head = client.raw_head();
    let sent = "ETag: x\nX-CamelCase: 1\nSet-cookie: a\nset-COOKIE: b\nContent-length: 0\n";
    assert!(head.contains(sent), "{head}");
}

#[test]
fn trailers_that_were_not_announced_are_forwarded() {
    let (origin, gate) = stage();
    let answer = answered(
        &origin,
        &gate,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\
          Content-Length: 9\r\nSet-Cookie: a\r\nX-Latin: \xe9\r\n\r\n",
    );
    assert_eq!(answer.text(), "a");
    let expected: [(&str, &[u8]); 3] =
        [("x-sum", b"1"), ("grpc-status", b"0"), ("x-latin", b"\xe9")];
    assert_eq!(trailers(&answer), expected);
}

#[test]
fn the_content_length_of_a_304_is_forwarded() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    let mut call = None;
    for _ in 0..2 {
        client.get("/");
        let call = call.get_or_insert_with(|| origin.accept());
        call.request();
        call.send("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status(), answer.field("content-length")), (304, "5".into()));
    }
}

#[test]
fn a_target_with_characters_that_browsers_escape_is_forwarded_unchanged() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    let targets = ["/a\"b", "/<a>", "/a?b=\"c\"&d=<e>", "/{a}|^`", "/a?{\"b\":[1]}"];
    for target in targets {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: d\r\n\r\n"));
        assert_eq!(client.answer().status(), 200, "{target}");
    }
    assert_eq!(recorder.lines(), targets.map(|target| format!("GET {target} HTTP/1.1")));
}

#[test]
fn a_target_that_is_neither_a_path_nor_a_url_is_400() {
    let (recorder, gate) = recorded();
    for target in ["://d/x", "1http://d/x", "+://d/x", "-a://d/x"] {
        let mut client = Wire::connect(gate.address);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: d\r\n\r\n"));
        assert_eq!(client.answer().status(), 400, "{target}");
    }
    assert_eq!(recorder.lines(), [""; 0]);
}

#[test]
fn the_reason_phrase_is_forwarded_unchanged() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send(b"HTTP/1.1 200 Tr\xc3\xa8s bien\r\nContent-Length: 0\r\n\r\n");
    assert!(client.raw_head().starts_with("HTTP/1.1 200 Très bien\n"));
}

#[test]
fn a_refused_request_gets_the_reason() {
    let (_recorder, gate) = recorded();
    let heads = [
        (
            400,
            "GET / HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_owned(),
        ),
        (400, "GET / HTTP/1.1\r\nHost: d\r\nX : y\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: d\r\nX: y\rz\r\n\r\n".to_owned()),
        (431, format!("GET / HTTP/1.1\r\nHost: d\r\n{}\r\n", "X: y\r\n".repeat(100))),
        (431, format!("GET / HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n", "x".repeat(70_000))),
    ];
    for (status, head) in heads {
        let mut client = Wire::connect(gate.address);
        // The gate may close before all of it is sent.
        let _ = client.try_send(&head);
        let answer = client.answer();
        assert_eq!(answer.status(), status, "{answer:?}");
        assert_eq!(answer.field("content-type"), "application/json", "{answer:?}");
        assert_eq!(answer.field("connection"), "close");
        assert!(answer.text().contains(&format!("\"statusCode\":{status}")), "{answer:?}");
        assert!(answer.text().contains("\"messageId\":\"request."), "{answer:?}");
    }
}

#[test]
fn no_100_continue_after_the_body_has_arrived() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client
        .send("POST / HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(origin.accept().serve("done").text(), "hi");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (200, "done".into()));
}

#[test]
fn a_cut_response_does_not_look_complete_to_an_http_1_0_client() {
    let (origin, gate) = stage();
    let heads = [
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ];
    for head in heads {
        let mut client = Wire::connect(gate.address);
        client.send("GET / HTTP/1.0\r\n\r\n");
        let mut call = origin.accept();
        call.request();
        call.send(format!("HTTP/1.1 200 OK\r\n{head}"));
        drop(call);
        // Closing the connection ends the response: only a reset shows that it was cut.
        let end = client.end();
        assert!(end.is_err(), "it ended as if whole: {end:?}");
    }
}

#[test]
fn a_reset_response_without_length_does_not_look_complete_to_an_http_1_0_client() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\n\r\nhalf");
    assert_eq!(client.head().status(), 200);
    call.reset();
    let end = client.end();
    assert!(end.is_err(), "it ended as if whole: {end:?}");
}

#[test]
fn closing_ends_a_response_without_length_for_an_http_1_0_client() {
    let (origin, gate) = stage();
    for framing in
        ["\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"]
    {
        let mut client = Wire::connect(gate.address);
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let mut call = origin.accept();
        call.request();
        call.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
        drop(call);
        let answer = client.head();
        assert_eq!(answer.answer_length("GET"), Length::UntilClose);
        assert_ne!(answer.one("connection").as_deref(), Some("keep-alive"));
        assert_eq!(client.rest(), b"hello");
    }
}

#[test]
fn white_space_and_order_of_response_fields_are_kept() {
    let (origin, gate) = stage();
    let answer = answered(
        &origin,
        &gate,
        "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nA: 3\r\nC: a  b\tc\r\nB: 4\r\nContent-Length: 0\r\n\r\n",
    );
    let mut fields = answer.fields;
    fields.retain(|(name, _)| name.len() == 1);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let expected: [(&str, &[u8]); 5] =
        [("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"a  b\tc"), ("b", b"4")];
    assert_eq!(fields, expected);
}

#[test]
fn the_order_of_request_fields_is_kept() {
    let (origin, gate) = stage();
    let request = "GET / HTTP/1.1\r\nA: 1\r\nHost: d\r\nB: 2\r\nA: 3\r\nB: 4\r\n\r\n";
    let mut fields = forwarded(&origin, &gate, request).fields;
    fields.retain(|(name, _)| name.len() == 1);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let expected: [(&str, &[u8]); 4] = [("a", b"1"), ("b", b"2"), ("a", b"3"), ("b", b"4")];
    assert_eq!(fields, expected);
}

#[test]
fn a_request_that_is_complete_only_after_the_stop_is_the_last_of_its_connection() {
    let (origin, gate) = stage_with(|gate| gate.set("shutdown.grace_period", "\"20s\""));
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.1\r\nHost: d\r\n");
    // The same worker serves a client after the first one, so it has read the first part of its head.
    let mut other = Wire::connect(gate.address);
    let mut is_stopping = || {
        other.get("/api/licensing/nothing");
        other.answer().has("connection")
    };
    assert!(!is_stopping());
    gate.signal("TERM");
    while !is_stopping() {}
    client.send("\r\n");
    origin.accept().serve("served");
    let answer = client.answer();
    assert_eq!((answer.text(), answer.field("connection")), ("served".into(), "close".into()));
    client.ends();
}
