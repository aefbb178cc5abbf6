//! Dashboards that are down, disconnect or send invalid responses; clients that disconnect; stale connections.

use super::{stage, stage_with};
use crate::support::gate::Builder;
use crate::support::origin::Origin;
use crate::support::wire::Wire;

#[test]
fn a_dashboard_that_is_down_is_502_until_it_is_up() {
    let address = Origin::vacant();
    let gate = Builder::before(address).start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let answer = client.answer();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.field("proxy-status"), "license-gate; error=connection_refused");
    assert_eq!(answer.field("content-type"), "application/json");
    assert!(answer.text().contains("\"messageId\":\"upstream.unreachable\""), "{answer:?}");

    let origin = Origin::start_at(address);
    client.get("/");
    origin.accept().serve("up");
    assert_eq!(client.answer().text(), "up");
}

#[test]
fn a_browser_gets_an_error_page_that_quotes_nothing_of_its_request() {
    let gate = Builder::before(Origin::vacant()).start();
    let mut client = Wire::connect(gate.address);
    client.send("GET /%3Cscript%3E?secret HTTP/1.1\r\nHost: d\r\nAccept: text/html,*/*\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status(), answer.field("content-type")),
        (502, "text/html; charset=utf-8".into())
    );
    assert!(answer.text().contains("cannot be reached") && !answer.text().contains("script"));
    assert!(!answer.text().contains("secret"));
}

#[test]
fn an_invalid_response_is_502() {
    let (origin, gate) = stage();
    for invalid in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ] {
        let (mut client, mut call) = origin.asked(gate.address, "/");
        call.send(invalid);
        let answer = client.answer();
        assert_eq!(answer.status(), 502, "{invalid:?}");
        assert_eq!(
            answer.field("proxy-status"),
            "license-gate; error=http_protocol_error",
            "{invalid:?}"
        );
        call.breaks();
    }
}

#[test]
fn a_truncated_response_never_looks_complete() {
    let (origin, gate) = stage();
    for head in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
    {
        let (mut client, mut call) = origin.asked(gate.address, "/");
        call.send(format!("HTTP/1.1 200 OK\r\n{head}"));
        drop(call);
        assert_eq!(client.cut_answer().text(), "half", "{head:?}");
    }
}

#[test]
fn a_malformed_chunk_from_the_dashboard_cuts_the_response() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n");
    assert_eq!(client.cut_answer().text(), "half");
}

#[test]
fn a_client_that_disconnects_ends_its_request_to_the_dashboard() {
    let (origin, gate) = stage();
    // Before a response, during one, and during its own request.
    let (client, mut call) = origin.asked(gate.address, "/");
    drop(client);
    call.ends();

    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    client.head();
    client.exactly(4);
    drop(client);
    call.ends();

    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\nhalf");
    let mut call = origin.accept();
    call.head();
    call.exactly(4);
    client.reset();
    call.breaks();
}

#[test]
fn a_pipelined_request_waits_for_the_response_before_it() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.get("/one");
    let mut call = origin.accept();
    assert_eq!(call.request().start, "GET /one HTTP/1.1");
    client.get("/two");
    client.send("GET /thr");
    call.answer("one");
    assert_eq!(client.answer().text(), "one");
    assert_eq!(call.serve("two").start, "GET /two HTTP/1.1");
    assert_eq!(client.answer().text(), "two");
    client.send("ee HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(call.serve("three").start, "GET /three HTTP/1.1");
    assert_eq!(client.answer().text(), "three");
}

#[test]
fn an_idempotent_request_on_a_broken_reused_connection_is_retried_once() {
    let (origin, gate) = stage();
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let mut client = Wire::connect(gate.address);
        let request = format!("{method} / HTTP/1.1\r\nHost: d\r\n\r\n");
        client.send(&request);
        let mut call = origin.accept();
        call.serve("");
        client.answer_to(method);
        client.send(&request);
        call.request();
        drop(call);
        let mut again = origin.accept();
        again.serve("");
        assert_eq!(client.answer_to(method).status(), 200, "{method}");
        // A request on a new connection is not retried.
        drop(again);
    }
}

#[test]
fn a_request_that_is_not_idempotent_is_not_retried() {
    let (origin, gate) = stage();
    for (request, method) in [
        ("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n", "POST"),
        ("PUT / HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\n\r\nx", "PUT"),
        ("PATCH / HTTP/1.1\r\nHost: d\r\n\r\n", "PATCH"),
    ] {
        let mut client = Wire::connect(gate.address);
        client.get("/");
        let mut call = origin.accept();
        call.serve("");
        client.answer();
        client.send(request);
        call.request();
        drop(call);
        assert_eq!(client.answer_to(method).status(), 502, "{method}");
    }
}

#[test]
fn a_request_is_not_retried_after_the_response_has_begun() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    call.serve("");
    client.answer();
    client.get("/");
    call.request();
    call.send("HTTP/1.1 2");
    drop(call);
    let answer = client.answer();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.field("proxy-status"), "license-gate; error=http_response_incomplete");
}

#[test]
fn an_idle_connection_to_the_dashboard_is_closed_in_time() {
    let (origin, gate) = stage_with(|gate| gate.set("upstream.idle_timeout", "\"300ms\""));
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    call.serve("");
    client.answer();
    call.ends();
}

#[test]
fn unexpected_bytes_close_an_idle_connection_to_the_dashboard() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert_eq!(client.answer().text(), "x");
    client.get("/next");
    origin.accept().serve("good");
    assert_eq!(client.answer().text(), "good");
}

#[test]
fn an_idle_connection_to_the_dashboard_is_closed_without_any_client() {
    let (origin, gate) = stage_with(|gate| gate.set("upstream.idle_timeout", "\"300ms\""));
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    let mut call = origin.accept();
    call.serve("");
    client.answer();
    client.ends();
    call.ends();
}

#[test]
fn a_refused_head_request_gets_a_length_and_is_not_logged_as_a_disconnect() {
    let gate = Builder::before(Origin::vacant()).set("log.access", true).start();
    let mut client = Wire::connect(gate.address);
    for path in ["/%zz", "/refused"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: d\r\n\r\n"));
        assert_ne!(client.answer_to("HEAD").field("content-length"), "0", "{path}");
        let line = gate.access().wait_for(path);
        assert!(!line.contains(" DC "), "{line}");
    }
}
