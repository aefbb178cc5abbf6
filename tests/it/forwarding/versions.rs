//! HTTP/1.0, on either side.

use super::{forwarded, recorded, stage, stage_with};
use crate::support::message::Length;
use crate::support::wire::Wire;

#[test]
fn an_http_1_0_request_without_host_gets_that_of_the_root_url() {
    let (origin, gate) =
        stage_with(|gate| gate.set("server.root_url", "\"https://dash.example:8443/grafana/\""));
    let arrived = forwarded(&origin, &gate, "GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(arrived.start, "GET /x HTTP/1.1");
    assert_eq!(arrived.field("host"), "dash.example:8443");
    assert_eq!(arrived.field("x-forwarded-host"), "dash.example:8443");
}

#[test]
fn an_http_1_0_request_with_host_keeps_it() {
    let (origin, gate) = stage();
    let arrived = forwarded(&origin, &gate, "GET / HTTP/1.0\r\nHost: mine:81\r\n\r\n");
    assert_eq!(arrived.field("host"), "mine:81");
}

#[test]
fn an_http_1_0_connection_closes_after_the_response() {
    let (_recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "dashboard");
    client.ends();
}

#[test]
fn an_http_1_0_connection_is_kept_if_the_client_wants_it() {
    let (_recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.text(), "dashboard");
        assert_eq!(answer.field("connection"), "keep-alive");
    }
}

#[test]
fn an_http_1_0_client_gets_no_chunked_response() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.answer_length("GET"), Length::UntilClose);
}

#[test]
fn a_connection_to_an_http_1_0_dashboard_is_not_reused() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    for _ in 0..2 {
        client.get("/");
        let mut call = origin.accept();
        call.request();
        call.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.answer().text(), "hi");
        call.ends();
    }
}

#[test]
fn a_kept_alive_connection_to_an_http_1_0_dashboard_is_reused() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    let mut call = None;
    for _ in 0..2 {
        client.get("/");
        let call = call.get_or_insert_with(|| origin.accept());
        call.request();
        call.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.answer().text(), "hi");
    }
}
