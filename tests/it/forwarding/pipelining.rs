//! The order on one connection: pipelining, interim responses, upgrades, and bytes that are sent early.

use super::tunnels::tunnel;
use super::{recorded, stage};
use crate::support::wire::Wire;

const UPGRADE: &str = "GET /live HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[test]
fn ten_requests_of_every_kind_in_one_packet_are_answered_in_order() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    let requests = [
        ("GET", "/0 HTTP/1.1\r\nHost: d\r\n\r\n"),
        ("POST", "/1 HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhello"),
        ("HEAD", "/2 HTTP/1.1\r\nHost: d\r\n\r\n"),
        (
            "PUT",
            "/3 HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nput\r\n0\r\nX: y\r\n\r\n",
        ),
        ("OPTIONS", "* HTTP/1.1\r\nHost: d\r\n\r\n"),
        ("GET", "/api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n"),
        ("DELETE", "/6 HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"),
        ("GET", "/api/%6cicensing/token HTTP/1.1\r\nHost: d\r\n\r\n"),
        ("GET", "http://d/8 HTTP/1.1\r\nHost: d\r\n\r\n"),
        ("POST", "/9 HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\r\n"),
    ];
    let all: String = requests.iter().map(|(method, rest)| format!("{method} {rest}")).collect();
    client.send(all);
    let statuses = requests.map(|(method, _)| client.answer_to(method).status());
    assert_eq!(statuses, [200, 200, 200, 200, 200, 404, 200, 400, 200, 200]);
    client.ends();
    let seen = recorder.seen();
    let lines: Vec<_> = seen.iter().map(|request| request.start.as_str()).collect();
    let expected =
        ["GET /0", "POST /1", "HEAD /2", "PUT /3", "OPTIONS *", "DELETE /6", "GET /8", "POST /9"];
    assert_eq!(lines, expected.map(|line| format!("{line} HTTP/1.1")));
    let bodies: Vec<_> = seen.iter().map(|request| request.text()).collect();
    assert_eq!(bodies, ["", "hello", "", "put", "", "", "", "\r\n"]);
}

#[test]
fn pipelined_requests_wait_while_a_response_streams() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("GET /one HTTP/1.1\r\nHost: d\r\n\r\nPOST /two HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\ntwo");
    let mut call = origin.accept();
    assert_eq!(call.request().start, "GET /one HTTP/1.1");
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\non\r\n");
    client.head();
    assert_eq!(client.chunk(), b"on");
    call.send("1\r\ne\r\n0\r\n\r\n");
    assert_eq!(client.chunk(), b"e");
    assert_eq!(client.chunk(), b"");
    assert_eq!(client.exactly(2), b"\r\n");
    let second = call.serve("two");
    assert_eq!((second.start.as_str(), second.text()), ("POST /two HTTP/1.1", "two".into()));
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn a_100_continue_is_sent_for_either_framing() {
    let (origin, gate) = stage();
    let table = [
        ("Content-Length: 2\r\n", "hi"),
        ("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"),
    ];
    for (framing, body) in table {
        let mut client = Wire::connect(gate.address);
        client.send(format!("PUT / HTTP/1.1\r\nHost: d\r\nexpect: 100-Continue\r\n{framing}\r\n"));
        assert_eq!(client.head().start, "HTTP/1.1 100 Continue");
        client.send(body);
        let mut call = origin.accept();
        let arrived = call.request();
        assert_eq!(arrived.text(), "hi");
        assert!(!arrived.has("expect"));
        // The gate has sent 100 already, so the dashboard's own is dropped.
        call.send("HTTP/1.1 100 Continue\r\n\r\n");
        call.answer("done");
        assert_eq!(client.answer().text(), "done");
    }
}

#[test]
fn without_a_body_no_100_continue_is_sent() {
    let (_recorder, gate) = recorded();
    for framing in ["", "Content-Length: 0\r\n"] {
        let mut client = Wire::connect(gate.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n{framing}\r\n"));
        assert_eq!(client.answer().status(), 200, "{framing:?}");
    }
}

#[test]
fn an_http_1_0_client_never_gets_100_continue() {
    let (_recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    client
        .send("POST / HTTP/1.0\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn a_refusal_replaces_the_100_continue() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    client.send(
        "POST /api/licensing/token HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n\
         Content-Length: 13\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 401, "refused before the body is sent");
    assert_eq!(recorder.lines(), [""; 0]);
}

#[test]
fn a_request_after_a_declined_upgrade_is_answered() {
    let (origin, gate) = stage();
    for declined in ["403 Forbidden", "200 OK", "426 Upgrade Required", "500 Oops"] {
        let mut client = Wire::connect(gate.address);
        client.send(format!(
            "{UPGRADE}POST /next HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nabc"
        ));
        let mut call = origin.accept();
        call.head();
        call.send(format!("HTTP/1.1 {declined}\r\nContent-Length: 2\r\n\r\nno"));
        let answer = client.answer();
        assert_eq!((answer.start, &answer.body[..]), (format!("HTTP/1.1 {declined}"), &b"no"[..]));
        let next = call.serve("yes");
        assert_eq!((next.start.as_str(), next.text()), ("POST /next HTTP/1.1", "abc".into()));
        assert_eq!(client.answer().text(), "yes");
        client.get("/again");
        assert_eq!(call.serve("again").start, "GET /again HTTP/1.1");
        assert_eq!(client.answer().text(), "again");
    }
}

#[test]
fn an_upgrade_may_come_late_on_a_connection() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.get("/first");
    let mut call = origin.accept();
    call.serve("first");
    client.answer();
    client.send(format!("{UPGRADE}ahead"));
    call.head();
    call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nprompt");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(6), b"prompt");
    assert_eq!(call.exactly(5), b"ahead");
}

#[test]
fn either_side_of_a_tunnel_may_close_first() {
    let (origin, gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    call.send("last words");
    call.half_close();
    assert_eq!(client.rest(), b"last words");
    client.send("still talking");
    assert_eq!(call.exactly(13), b"still talking");
    client.half_close();
    assert_eq!(call.rest(), b"");
}

#[test]
fn a_reset_on_one_side_of_a_tunnel_ends_the_other() {
    let (origin, gate) = stage();
    for client_first in [true, false] {
        let (mut client, mut call) = tunnel(&origin, &gate);
        match client_first {
            true => {
                client.reset();
                call.ends();
            }
            false => {
                call.reset();
                client.ends();
            }
        }
    }
}

#[test]
fn a_client_that_half_closes_after_its_request_gets_the_response() {
    // A client that half-closes is still reading.
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    let mut call = origin.accept();
    assert_eq!(call.request().text(), "hi");
    call.answer("bye");
    assert_eq!(client.answer().text(), "bye");
    client.ends();
}
