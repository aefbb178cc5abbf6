//! The end of streams: downloads with a silent client, uploads that end late, responses that end before the upload.

use std::thread;

use super::{accept, stage, stage_h2};
use crate::support::gate::Gate;
use crate::support::h2::{Conn, Event, INITIAL_WINDOW_SIZE, NO_ERROR, request};
use crate::support::origin::Origin;
use crate::support::wire::Wire;

/// Windows for a complete download.
const WIDE: u32 = 32 << 20;

/// A client with such windows that never sends WINDOW_UPDATE.
fn silent_client(gate: &Gate) -> Conn {
    let mut client = Conn::connect_with(gate.address, &[(INITIAL_WINDOW_SIZE, WIDE)]);
    client.generous = false;
    client.window_update(0, WIDE - 65_535);
    client
}

/// `POST /` with this content-length.
fn post(length: &str) -> Vec<(&str, &str)> {
    [&request("POST", "/")[..], &[("content-length", length)]].concat()
}

/// The response on `stream` until its end. Fails if the gate sends a PING first.
#[track_caller]
fn reaches_its_end(client: &mut Conn, stream: u32) -> usize {
    let mut bytes = 0;
    loop {
        match client.event() {
            Event::Data { stream: of, data, end } if of == stream => {
                bytes += data.len();
                if end {
                    return bytes;
                }
            }
            Event::Headers { stream: of, end, .. } if of == stream => {
                if end {
                    return bytes;
                }
            }
            other => panic!("{other:?} after {bytes} bytes"),
        }
    }
}

#[test]
fn a_download_completes_while_the_client_is_silent() {
    let (origin, gate) = stage();
    let body = vec![b'x'; 1 << 20];
    for round in 0..40 {
        let mut client = silent_client(&gate);
        let asked = client.get("/");
        let mut call = origin.accept();
        call.request();
        call.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1048576\r\n\r\n");
        body.chunks(64 << 10).for_each(|piece| call.send(piece));
        assert_eq!(reaches_its_end(&mut client, asked), body.len(), "round {round}");
    }
}

#[test]
fn the_end_of_an_upload_may_come_in_a_frame_of_its_own() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    // Forwarded, answered by the gate, and answered by the gate without reading the body.
    for path in ["/", "/api/licensing/token", "/api/licensing/nothing"] {
        let mut head = post("5");
        head[2].1 = path;
        let asked = client.ask(&head, false);
        client.data(asked, b"whole", false);
        if path == "/" {
            origin.accept().serve("thanks");
        }
        client.whole();
        client.ping();
        assert_eq!(client.event(), Event::Pong, "{path}: nothing comes before the end");
        client.data(asked, b"", true);
        client.ping();
        assert_eq!(client.event(), Event::Pong, "{path}: nor behind it");
    }
}

#[test]
fn the_connection_to_the_dashboard_is_reused_once_the_whole_body_has_arrived() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let asked = client.ask(&post("5"), false);
    client.data(asked, b"whole", false);
    let mut call = origin.accept();
    call.serve("one");
    client.whole();
    client.data(asked, b"", true);
    client.get("/next");
    call.serve("two");
    assert_eq!(client.whole().text(), "two");
}

#[test]
fn a_100_continue_is_sent_when_the_body_is_read() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let head = [&post("5")[..], &[("expect", "100-continue")]].concat();
    let asked = client.ask(&head, false);
    let (_, fields, end) = client.head();
    assert!(fields.contains(&(":status".into(), b"100".to_vec())) && !end, "{fields:?}");
    client.data(asked, b"whole", true);
    let arrived = origin.accept().serve("thanks");
    assert!(arrived.text() == "whole" && !arrived.has("expect"));
    assert_eq!(client.whole().status(), 200);
}

#[test]
fn no_100_continue_is_sent_for_a_body_that_is_not_read() {
    let (_origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let mut head = [&post("5")[..], &[("expect", "100-continue")]].concat();
    head[2].1 = "/api/licensing/token";
    client.ask(&head, false);
    assert_eq!(client.whole().status(), 401);
}

#[test]
fn no_100_continue_is_sent_if_the_body_has_arrived() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let head = [&post("5")[..], &[("expect", "100-continue")]].concat();
    let asked = client.ask(&head, false);
    client.data(asked, b"whole", true);
    assert_eq!(origin.accept().serve("thanks").text(), "whole");
    let mut answer = client.whole();
    if answer.status() == 100 {
        // The head was read separately.
        answer = client.whole();
    }
    assert_eq!((answer.status(), answer.text()), (200, "thanks".into()));
}

/// A dashboard that sends a complete response of `bytes` during the request, and closes.
fn answers_and_closes(origin: &Origin, bytes: usize, goodbye: bool) {
    let mut dashboard = accept(origin);
    let (stream, ..) = dashboard.head();
    dashboard.headers(stream, &[(":status", "200")], false);
    let body = vec![b'y'; bytes];
    let mut pieces = body.chunks(16 << 10).peekable();
    while let Some(piece) = pieces.next() {
        dashboard.data(stream, piece, pieces.peek().is_none());
    }
    if goodbye {
        dashboard.go_away(stream, NO_ERROR);
    }
    // Reads what the gate still sends, so that closing does not reset the connection and lose the response.
    dashboard.end_writing();
    while dashboard.event() != Event::End {}
}

#[test]
fn a_response_is_complete_if_the_dashboard_closes_before_the_upload_has_ended() {
    const BYTES: usize = 262_144;
    for goodbye in [false, true] {
        let (origin, gate) = stage_h2();
        // The client opens its window only after the dashboard has closed.
        let mut client = Conn::connect(gate.address);
        client.generous = false;
        client.window_update(0, WIDE);
        let asked = client.ask(&request("POST", "/"), false);
        client.data(asked, b"some", false);
        let dashboard = thread::spawn(move || {
            answers_and_closes(&origin, BYTES, goodbye);
            origin
        });
        client.head();
        client.exactly(asked, 65_535);
        client.window_update(asked, WIDE);
        let rest = reaches_its_end(&mut client, asked);
        assert_eq!(rest, BYTES - 65_535, "goodbye: {goodbye}");
        client.data(asked, b"", true);
        dashboard.join().expect("the dashboard");
    }
}

#[test]
fn it_is_complete_for_an_http_1_client_too() {
    const BYTES: usize = 262_144;
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\nsome");
    let dashboard = thread::spawn(move || answers_and_closes(&origin, BYTES, false));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().len()), (200, BYTES));
    drop(client);
    dashboard.join().expect("the dashboard");
}

#[test]
fn late_trailers_after_an_early_response_have_no_effect() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let late: Vec<u32> = (0..80)
        .map(|_| {
            let asked = client.ask(&request("POST", "/"), false);
            let mut call = origin.accept();
            call.head();
            call.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            asked
        })
        .collect();
    let mut reset = Vec::new();
    while reset.len() < late.len() {
        match client.news() {
            Event::Reset { stream, reason: NO_ERROR } => reset.push(stream),
            Event::Headers { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    for stream in late {
        client.headers(stream, &[("x-late", "trailer")], true);
    }
    client.get("/next");
    origin.accept().serve("alive");
    assert_eq!(client.whole().text(), "alive");
}

#[test]
fn an_upload_continues_after_a_complete_early_response() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let asked = client.ask(&request("POST", "/"), false);
    let mut call = origin.accept();
    call.head();
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.whole().text(), "ok");
    for piece in ["one", "two"] {
        client.data(asked, piece.as_bytes(), false);
        assert_eq!(call.chunk(), piece.as_bytes());
    }
    client.data(asked, b"", true);
    assert_eq!(call.chunk(), b"");
    client.get("/next");
    call.trailers();
    call.serve("next");
    assert_eq!(client.whole().text(), "next");
}

/// An HTTP/2 dashboard sends `answer` during the upload. Returns what an HTTP/1.1 client receives until its connection
/// ends.
fn broken_answer(answer: impl FnOnce(&mut Conn, u32) + Send + 'static) -> String {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\nsome");
    let dashboard = thread::spawn(move || {
        let mut dashboard = accept(&origin);
        let (stream, ..) = dashboard.head();
        answer(&mut dashboard, stream);
    });
    let got = client.end().unwrap_or_default();
    dashboard.join().expect("the dashboard");
    String::from_utf8_lossy(&got).into_owned()
}

#[test]
fn a_response_shorter_than_its_length_never_looks_complete() {
    let got = broken_answer(|dashboard, stream| {
        dashboard.headers(stream, &[(":status", "200"), ("content-length", "1000")], false);
        // The gate may refuse before all of it is sent.
        let _ = dashboard.try_data(stream, &[b'y'; 500], true);
        // The gate resets the stream, or ends the connection with the client's.
        while !matches!(dashboard.event(), Event::End | Event::Reset { .. }) {}
    });
    let body = got.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    assert!(got.starts_with("HTTP/1.1 502") || body < 1000, "{got}");
    assert!(got.matches("HTTP/1.1").count() <= 1, "something follows it: {got}");
}

#[test]
fn a_response_with_a_truncated_last_frame_never_looks_complete() {
    let got = broken_answer(|dashboard, stream| {
        dashboard.headers(stream, &[(":status", "200")], false);
        // DATA with END_STREAM of 1,000 bytes, of which 400 are sent.
        let head = [&[0, 3, 0xe8, 0, 1][..], &stream.to_be_bytes()].concat();
        dashboard.raw(&[&head[..], &[b'y'; 400]].concat());
        dashboard.end_writing();
        dashboard.ends();
    });
    assert!(!got.ends_with("0\r\n\r\n"), "{got}");
}

#[test]
fn an_early_response_of_a_dashboard_that_stops_reading_keeps_the_connection() {
    let (origin, gate) = stage_h2();
    let mut client = Conn::connect(gate.address);
    let asked = client.ask(&request("POST", "/"), false);
    let mut dashboard = accept(&origin);
    let (stream, ..) = dashboard.head();
    dashboard.generous = false;
    // More than the dashboard's window, which stays closed.
    for _ in 0..10 {
        client.data(asked, &[b'x'; 16_000], false);
    }
    dashboard.headers(stream, &[(":status", "413")], true);
    assert_eq!(client.whole().status(), 413);
    assert_eq!(client.is_reset(asked), NO_ERROR, "the rest is not waited for without end");
}
