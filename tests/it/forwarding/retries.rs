//! Retries: at most once, on a reused connection, before any byte of a response.

use super::{stage, stage_with};
use crate::support::gate::Gate;
use crate::support::origin::{Call, Origin};
use crate::support::wire::Wire;

/// A client that has had a response, so that the gate has an idle connection to the dashboard.
fn warm(origin: &Origin, gate: &Gate) -> (Wire, Call) {
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    call.serve("warm");
    assert_eq!(client.answer().text(), "warm");
    (client, call)
}

#[test]
fn idempotent_requests_are_retried_completely() {
    let (origin, gate) = stage();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        for how in [Call::reset, drop] {
            let (mut client, mut call) = warm(&origin, &gate);
            client.send(format!(
                "{method} /a?b HTTP/1.1\r\nHost: d\r\nX: y\r\nContent-Length: 0\r\n\r\n"
            ));
            let first = call.request();
            how(call);
            let mut again = origin.accept();
            assert_eq!(again.serve(""), first, "{method}");
            assert_eq!(client.answer_to(method).status(), 200, "{method}");
        }
    }
}

#[test]
fn other_methods_and_partly_sent_bodies_are_not_retried() {
    let (origin, gate) = stage();
    for request in [
        "POST / HTTP/1.1\r\nHost: d\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\n\r\nx",
        "LOCK / HTTP/1.1\r\nHost: d\r\n\r\n",
        "get / HTTP/1.1\r\nHost: d\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\n\r\nx",
        "DELETE / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ] {
        let (mut client, mut call) = warm(&origin, &gate);
        client.send(request);
        call.request();
        drop(call);
        let answer = client.answer();
        assert_eq!(answer.status(), 502, "{request:?}");
        assert_eq!(
            answer.field("proxy-status"),
            "license-gate; error=connection_terminated",
            "{request:?}"
        );
        // Not retried: the next connection is for this client's next request.
        client.get("/next");
        assert_eq!(origin.accept().serve("").start, "GET /next HTTP/1.1", "{request:?}");
        client.answer();
    }
}

#[test]
fn a_request_without_sent_body_bytes_is_retried_on_another_connection() {
    let (origin, gate) = stage();
    for framing in ["Content-Length: 2\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        let (mut client, mut call) = warm(&origin, &gate);
        client.send(format!("PUT / HTTP/1.1\r\nHost: d\r\n{framing}"));
        call.head();
        drop(call);
        let mut again = origin.accept();
        let mut head = again.head();
        client.send(if framing.starts_with('C') { "hi" } else { "2\r\nhi\r\n0\r\n\r\n" });
        again.body(&mut head);
        assert_eq!(head.text(), "hi");
        again.answer("done");
        assert_eq!(client.answer().text(), "done", "{framing:?}");
    }
}

#[test]
fn a_request_on_a_new_connection_is_not_retried() {
    let (origin, gate) = stage();
    let (mut client, call) = origin.asked(gate.address, "/first");
    drop(call);
    assert_eq!(client.answer().status(), 502);
    client.get("/next");
    assert_eq!(origin.accept().serve("").start, "GET /next HTTP/1.1");
    client.answer();
}

#[test]
fn a_request_is_retried_at_most_once() {
    let (origin, gate) = stage();
    let (mut client, mut call) = warm(&origin, &gate);
    client.get("/twice");
    call.request();
    drop(call);
    let mut again = origin.accept();
    assert_eq!(again.request().start, "GET /twice HTTP/1.1");
    drop(again);
    assert_eq!(client.answer().status(), 502);
}

#[test]
fn a_request_is_not_retried_after_its_response_has_begun() {
    let (origin, gate) = stage();
    for begun in ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let (mut client, mut call) = warm(&origin, &gate);
        client.get("/begun");
        call.request();
        call.send(begun);
        drop(call);
        let answer = client.answer();
        assert_eq!(answer.status(), 502, "{begun:?}");
        assert_eq!(
            answer.field("proxy-status"),
            "license-gate; error=http_response_incomplete",
            "{begun:?}"
        );
    }
}

#[test]
fn without_retries_nothing_is_retried() {
    let (origin, gate) = stage_with(|gate| gate.set("upstream.retries", 0));
    let (mut client, mut call) = warm(&origin, &gate);
    client.get("/once");
    call.request();
    drop(call);
    assert_eq!(client.answer().status(), 502);
}

#[test]
fn a_request_is_not_sent_on_a_closed_pooled_connection() {
    let (origin, gate) = stage();
    // Also a request that may not be retried: it is not sent on a connection that is known to be closed.
    for method in ["GET", "POST"] {
        let (mut client, call) = warm(&origin, &gate);
        drop(call);
        // The gate notices the close before it reads what is sent later on another socket.
        let mut other = Wire::connect(gate.address);
        other.get("/api/licensing/nothing");
        assert_eq!(other.answer().status(), 404);
        client.send(format!("{method} /next HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(origin.accept().serve("next").start, format!("{method} /next HTTP/1.1"));
        assert_eq!(client.answer().text(), "next");
    }
}
