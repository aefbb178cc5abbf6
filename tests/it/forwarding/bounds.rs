//! Limits on what a message can have besides its head and its content.

use super::stage;
use crate::support::wire::Wire;

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

/// Chunks of one byte, each with an extension of this size, and the last chunk.
fn chunks(count: usize, extension: usize) -> String {
    let chunk = format!("1{:;<extension$}\r\na\r\n", "");
    format!("{}0\r\n\r\n", chunk.repeat(count))
}

#[test]
fn chunk_extensions_of_a_request_are_limited_to_16_kib() {
    for (body, is_fine) in [(chunks(546, 30), true), (chunks(2000, 30), false)] {
        let (origin, gate) = stage();
        let mut client = Wire::connect(gate.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: d\r\n{CHUNKED}"));
        let mut call = origin.accept();
        call.head();
        // Beyond the limit, the gate closes the connection.
        let sent = client.try_send(&body);
        match is_fine {
            true => {
                sent.expect("taken");
                (0..546).for_each(|_| drop(call.exactly(6)));
                call.answer("done");
                assert_eq!(client.answer().text(), "done");
            }
            false => {
                let answer = client.answer();
                assert_eq!((answer.status(), answer.field("connection")), (400, "close".into()));
                call.breaks();
                client.ends();
            }
        }
    }
}

#[test]
fn chunk_extensions_of_a_discarded_body_are_limited_to_16_kib() {
    let (_origin, gate) = stage();
    for (body, goes_on) in [(chunks(546, 30), true), (chunks(2000, 30), false)] {
        let mut client = Wire::connect(gate.address);
        client.send(format!("POST /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n{CHUNKED}"));
        assert_eq!(client.answer().status(), 404);
        let _ = client.try_send(&body);
        match goes_on {
            true => {
                client.get("/api/licensing/nothing");
                assert_eq!(client.answer().status(), 404);
            }
            false => client.ends(),
        }
    }
}

#[test]
fn chunk_extensions_of_a_response_are_limited_to_16_kib() {
    for (body, is_fine) in [(chunks(546, 30), true), (chunks(2000, 30), false)] {
        let (origin, gate) = stage();
        let (mut client, mut call) = origin.asked(gate.address, "/");
        call.send(format!("HTTP/1.1 200 OK\r\n{CHUNKED}"));
        let _ = call.try_send(&body);
        match is_fine {
            true => assert_eq!(client.answer().text(), "a".repeat(546)),
            false => {
                assert_eq!(client.cut_answer().status(), 200);
                call.breaks();
            }
        }
    }
}

#[test]
fn the_overhead_of_one_byte_chunks_does_not_count_as_extensions() {
    const COUNT: usize = 20_000;
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send(format!("HTTP/1.1 200 OK\r\n{CHUNKED}"));
    call.send(chunks(COUNT, 0));
    assert_eq!(client.answer().body.len(), COUNT);
}

#[test]
fn trailers_are_limited_in_both_directions() {
    let (origin, gate) = stage();
    let many = format!("0\r\n{}\r\n", "X-T: 1\r\n".repeat(65));
    let large = format!("0\r\n{}\r\n", format!("X-T: {}\r\n", "y".repeat(2000)).repeat(40));
    for trailers in [many, large] {
        let mut client = Wire::connect(gate.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: d\r\n{CHUNKED}1\r\na\r\n"));
        let mut call = origin.accept();
        call.head();
        let _ = client.try_send(&trailers);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.field("connection")), (400, "close".into()));
        call.breaks();

        let (mut client, mut call) = origin.asked(gate.address, "/");
        call.send(format!("HTTP/1.1 200 OK\r\n{CHUNKED}1\r\na\r\n"));
        let _ = call.try_send(&trailers);
        assert_eq!(client.cut_answer().status(), 200);
    }
}

#[test]
fn empty_lines_before_a_request_are_limited() {
    let (_origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    // The limit applies before each request separately.
    for _ in 0..2 {
        client.send(format!(
            "{}GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n",
            "\r\n".repeat(32)
        ));
        assert_eq!(client.answer().status(), 404);
    }
    for _ in 0..33 {
        // Sent one by one, because the gate may close before the last.
        let _ = client.try_send("\r\n");
    }
    let answer = client.answer();
    assert_eq!((answer.status(), answer.field("connection")), (400, "close".into()));
    client.ends();
}

#[test]
fn interim_responses_are_limited_in_total() {
    let (origin, gate) = stage();
    for interim in [
        "HTTP/1.1 102 Processing\r\n\r\n".to_owned(),
        format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "a".repeat(8000)),
    ] {
        let (mut client, mut call) = origin.asked(gate.address, "/");
        while call.try_send(&interim).is_ok() {}
        let answer = client.answer();
        assert_eq!(answer.status(), 502);
        assert!(answer.text().contains("upstream.invalid-answer"), "{answer:?}");
    }
}

#[test]
fn a_long_wait_with_interim_responses_is_allowed() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    // One every 20 s for two days.
    call.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(8_640));
    call.answer("at last");
    assert_eq!(client.answer().text(), "at last");
}
