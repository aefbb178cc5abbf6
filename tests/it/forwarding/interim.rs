//! Interim responses, and responses that come before the request is complete.

use super::{recorded, stage};
use crate::support::wire::Wire;

#[test]
fn the_gate_answers_expect_100_continue() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.head().start, "HTTP/1.1 100 Continue");
    client.send("hi");
    let mut call = origin.accept();
    let arrived = call.serve("done");
    assert_eq!(arrived.text(), "hi");
    assert!(!arrived.has("expect"));
    assert_eq!(client.answer().text(), "done");
}

#[test]
fn a_refused_request_gets_no_100_continue() {
    let (_recorder, gate) = recorded();
    for path in ["/api/%6cicensing/token", "/api/licensing/nothing"] {
        let mut client = Wire::connect(gate.address);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        ));
        assert!(matches!(client.head().status(), 400 | 404));
    }
}

#[test]
fn interim_responses_of_the_dashboard_are_dropped() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    for interim in ["100 Continue\r\n", "102 Processing\r\n", "103 Early Hints\r\nLink: </a>\r\n"] {
        call.send(format!("HTTP/1.1 {interim}\r\n"));
    }
    call.answer("final");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (200, "final".into()));
    assert!(!answer.has("link"));
}

#[test]
fn interim_responses_in_one_packet_with_the_final_one_are_dropped() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    );
    assert_eq!(client.answer().text(), "x");
}

#[test]
fn a_response_may_come_during_the_upload() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
    let mut call = origin.accept();
    call.head();
    assert_eq!(call.chunk(), b"hi");
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.chunk(), b"one");
    client.send("4\r\nmore\r\n");
    assert_eq!(call.chunk(), b"more");
    call.send("3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(client.chunk(), b"two");
    assert_eq!(client.chunk(), b"");
}

#[test]
fn a_response_that_ends_before_the_upload_is_complete() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 1000000\r\n\r\nbegun");
    let mut call = origin.accept();
    call.head();
    assert_eq!(call.exactly(5), b"begun");
    call.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 5\r\n\r\nlarge");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (413, "large".into()));
    call.ends();
}

#[test]
fn the_response_of_a_dashboard_that_stops_reading_is_forwarded() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 100000000\r\n\r\n");
    let mut call = origin.accept();
    call.head();
    call.send(
        "HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge",
    );
    drop(call);
    let piece = [b'x'; 65536];
    while client.try_send(piece).is_ok() {}
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (413, "large".into()));
}

#[test]
fn a_client_that_did_not_wait_for_100_continue_keeps_its_connection() {
    let (_recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    for request in ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"] {
        let expecting = "HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n";
        client.send(request.replacen("HTTP/1.1\r\n", expecting, 1));
        assert!(!client.answer().has("connection"), "{request}");
    }
}
