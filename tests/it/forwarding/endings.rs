//! How requests and responses end, and what each side sees when the other one disconnects.

use super::{recorded, stage};
use crate::support::message::Length;
use crate::support::origin::Call;
use crate::support::wire::{Wire, has_ended};

/// The ways to disconnect.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Closes,
    Resets,
}

use Leaving::{Closes, Resets};

fn origin_leaves(call: Call, how: Leaving) {
    match how {
        Closes => drop(call),
        Resets => call.reset(),
    }
}

fn client_leaves(client: Wire, how: Leaving) {
    match how {
        Closes => drop(client),
        Resets => client.reset(),
    }
}

#[test]
fn a_dashboard_that_disconnects_during_a_response_cuts_it() {
    let (origin, gate) = stage();
    let heads = [
        "Content-Length: 9\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX: y\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX: y\r\n\r",
    ];
    for (head, how) in heads.into_iter().flat_map(|head| [(head, Closes), (head, Resets)]) {
        let (mut client, mut call) = origin.asked(gate.address, "/");
        call.send(format!("HTTP/1.1 200 OK\r\n{head}"));
        assert_eq!(client.head().status(), 200);
        origin_leaves(call, how);
        // In any case without a last chunk, and without a complete length.
        match client.end() {
            Ok(rest) => {
                assert!(!rest.ends_with(b"0\r\n\r\n") && rest.len() < 13, "{head:?} {how:?}")
            }
            Err(error) => assert!(has_ended(&error), "{error}"),
        }
    }
}

#[test]
fn a_response_without_length_is_complete_after_a_close_and_cut_after_a_reset() {
    let (origin, gate) = stage();
    for how in [Closes, Resets] {
        let (mut client, mut call) = origin.asked(gate.address, "/");
        call.send("HTTP/1.1 200 OK\r\n\r\nhello");
        assert_eq!(client.head().answer_length("GET"), Length::Chunked);
        assert_eq!(client.chunk(), b"hello");
        origin_leaves(call, how);
        match how {
            // The client's connection stays open when the dashboard's is closed.
            Closes => assert_eq!(client.exactly(5), b"0\r\n\r\n"),
            Resets => match client.end() {
                Ok(rest) => assert_eq!(rest, b"", "cut"),
                Err(error) => assert!(has_ended(&error), "{error}"),
            },
        }
    }
}

#[test]
fn a_dashboard_that_disconnects_before_a_response_is_502() {
    let (origin, gate) = stage();
    for (part, how) in
        ["", "H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r"]
            .into_iter()
            .flat_map(|part| [(part, Closes), (part, Resets)])
    {
        let (mut client, mut call) = origin.asked(gate.address, "/");
        call.send(part);
        origin_leaves(call, how);
        let answer = client.answer();
        assert_eq!(answer.status(), 502, "{part:?} {how:?}");
        let status = answer.field("proxy-status");
        let is_reported = ["http_response_incomplete", "connection_terminated"]
            .iter()
            .any(|why| status.ends_with(why));
        assert!(is_reported, "{part:?} {how:?}: {status}");
    }
}

#[test]
fn interim_responses_are_not_the_response() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    drop(call);
    assert_eq!(client.answer().status(), 502);
}

#[test]
fn a_client_that_disconnects_ends_its_request() {
    let (origin, gate) = stage();
    for how in [Closes, Resets] {
        // Before a response.
        let (client, mut call) = origin.asked(gate.address, "/");
        client_leaves(client, how);
        call.ends();

        // During a response of any framing, while the dashboard sends nothing.
        for framing in [
            "Content-Length: 9\r\n\r\nhalf",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "\r\nhalf",
        ] {
            let (mut client, mut call) = origin.asked(gate.address, "/");
            call.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
            client.head();
            client_leaves(client, how);
            call.ends();
        }

        // During its own body, of either framing.
        for framing in
            ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
        {
            let mut client = Wire::connect(gate.address);
            client.send(format!("POST / HTTP/1.1\r\nHost: d\r\n{framing}"));
            let mut call = origin.accept();
            let mut head = call.head();
            client_leaves(client, how);
            match head.request_length() {
                // It must not look complete: neither the last chunk nor the last byte of the length is sent.
                Length::Chunked => assert_eq!(call.chunk(), b"half"),
                _ => assert_eq!(call.exactly(4), b"half"),
            }
            call.ends();
            head.body.clear();
        }
    }
}

#[test]
fn a_client_that_disconnects_during_a_large_response_ends_it() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
    client.head();
    drop(client);
    let piece = [b'x'; 64 * 1024];
    let sent = (0..16 * 1024).take_while(|_| call.try_send(piece).is_ok()).count();
    assert!(sent < 16 * 1024, "the dashboard is not stopped");
}

#[test]
fn a_connection_is_reused_after_a_response_without_a_body() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    let mut call = None;
    for (method, head) in [
        ("HEAD", "200 OK\r\nContent-Length: 100\r\n"),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n"),
        ("HEAD", "200 OK\r\n"),
        ("HEAD", "404 Not Found\r\nContent-Length: 5\r\n"),
        ("GET", "204 No Content\r\n"),
        ("DELETE", "204 No Content\r\n"),
        ("GET", "304 Not Modified\r\nContent-Length: 100\r\n"),
        ("GET", "304 Not Modified\r\nTransfer-Encoding: chunked\r\n"),
        ("HEAD", "304 Not Modified\r\n"),
        ("POST", "201 Created\r\nContent-Length: 0\r\n"),
        ("GET", "200 OK\r\nContent-Length: 0\r\n"),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"));
        let call = call.get_or_insert_with(|| origin.accept());
        call.request();
        call.send(format!("HTTP/1.1 {head}\r\n"));
        let answer = client.answer_to(method);
        assert!(answer.start.ends_with(head.lines().next().expect("a line")), "{answer:?}");
        // No extra bytes on either side: the next exchange works.
        client.get("/next");
        assert_eq!(call.serve("next").start, "GET /next HTTP/1.1", "{method} {head:?}");
        assert_eq!(client.answer().text(), "next", "{method} {head:?}");
    }
}

#[test]
fn an_http_1_0_client_that_keeps_alive_gets_lengths_and_keeps_its_connection() {
    let (_recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    for method in ["GET", "HEAD", "POST", "GET"] {
        client.send(format!(
            "{method} / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
        ));
        let answer = client.answer_to(method);
        assert!(matches!(answer.answer_length(method), Length::Known(_)), "{answer:?}");
        assert_eq!(answer.field("connection"), "keep-alive");
    }
}

#[test]
fn a_response_shorter_than_its_length_is_cut_for_an_http_1_0_client_too() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    drop(call);
    assert_eq!(client.cut_answer().text(), "half");
}
