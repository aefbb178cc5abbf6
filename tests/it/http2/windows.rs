//! Streams with a closed flow-control window: each ends after `timeouts.send`, and its connection stays open.

use super::{accept, stage_h2_with, stage_with};
use crate::support::gate::Gate;
use crate::support::h2::{CANCEL, Conn, Event, INITIAL_WINDOW_SIZE, INTERNAL_ERROR, request};
use crate::support::origin::Origin;
use crate::support::wire::Wire;

/// More than a client accepts before it reads.
const MUCH: usize = 256 << 10;

fn impatient() -> (Origin, Gate) {
    stage_with(|gate| gate.set("timeouts.send", "\"500ms\""))
}

fn impatient_h2() -> (Origin, Gate) {
    stage_h2_with(|gate| gate.set("timeouts.send", "\"500ms\""))
}

/// A client with this initial window for each stream.
fn client(gate: &Gate, window: u32) -> Conn {
    let mut client = Conn::connect_with(gate.address, &[(INITIAL_WINDOW_SIZE, window)]);
    client.generous = false;
    client
}

/// The next event of `stream` other than response data, and how much data came before.
#[track_caller]
fn after_data(client: &mut Conn, stream: u32) -> (usize, Event) {
    let mut bytes = 0;
    loop {
        match client.news() {
            Event::Data { stream: of, data, end: false } if of == stream => bytes += data.len(),
            event => return (bytes, event),
        }
    }
}

#[test]
fn a_response_without_a_window_is_cancelled_and_its_connection_kept() {
    for (window, expected) in [(0, 0), (10, 10), (1 << 20, 65_535)] {
        let (origin, gate) = impatient();
        let mut client = client(&gate, window);
        let stuck = client.get("/stuck");
        let mut call = origin.accept();
        call.request();
        call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n"));
        let _ = call.try_send(vec![b'x'; MUCH]);
        let (stream, _, end) = client.head();
        assert_eq!((stream, end), (stuck, false));
        let reset = Event::Reset { stream: stuck, reason: CANCEL };
        assert_eq!(after_data(&mut client, stuck), (expected, reset), "window {window}");
        call.breaks();
        client.settings(&[(INITIAL_WINDOW_SIZE, 65_535)]);
        client.window_update(0, 65_535);
        client.get("/next");
        origin.accept().serve("next");
        assert_eq!(client.whole().text(), "next", "window {window}");
    }
}

/// Other streams of its connection continue meanwhile, without a deadline.
#[test]
fn one_closed_window_ends_no_other_stream() {
    let (origin, gate) = impatient();
    let mut client = client(&gate, 0);
    let stuck = client.get("/stuck");
    origin.accept().serve("stuck");
    client.head();
    let open = client.get("/open");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    assert_eq!(client.is_reset(stuck), CANCEL);
    client.window_update(open, 4);
    call.send("4\r\nlate\r\n0\r\n\r\n");
    assert_eq!(client.exactly(open, 4), b"late");
}

#[test]
fn a_tunnel_without_a_window_is_cancelled() {
    let (origin, gate) = impatient();
    let mut client = client(&gate, 3);
    let (stream, mut call) = super::websocket::tunnel_on(&mut client, &origin);
    call.send("more than three");
    let reset = Event::Reset { stream, reason: CANCEL };
    assert_eq!(after_data(&mut client, stream), (3, reset));
    call.ends();
}

#[test]
fn an_upload_without_a_window_is_504_and_its_connection_kept() {
    let (origin, gate) = impatient_h2();
    let mut client = Wire::connect(gate.address);
    client.send(format!("POST /stuck HTTP/1.1\r\nHost: d\r\nContent-Length: {MUCH}\r\n\r\n"));
    let mut dashboard = accept(&origin);
    dashboard.generous = false;
    let _ = client.try_send(vec![b'x'; MUCH]);
    let (stuck, ..) = dashboard.head();
    let reset = Event::Reset { stream: stuck, reason: CANCEL };
    assert_eq!(after_data(&mut dashboard, stuck), (65_535, reset));
    let answer = client.answer();
    assert_eq!(answer.status(), 504);
    assert!(answer.text().contains("upstream.send-timeout"), "{}", answer.text());
    let mut other = Conn::connect(gate.address);
    other.get("/next");
    let next = dashboard.whole();
    dashboard.answer(next.stream, "");
    assert_eq!(other.whole().status(), 200);
}

/// A response that has begun cannot be replaced: it is cut.
#[test]
fn a_stalled_upload_cuts_a_partial_response_but_not_a_complete_one() {
    let (origin, gate) = impatient_h2();
    for is_whole in [false, true] {
        let mut client = Conn::connect(gate.address);
        let fields = [&request("POST", "/stuck")[..], &[("content-length", "262144")]].concat();
        let asked = client.ask(&fields, false);
        (0..MUCH / 16_384).for_each(|_| drop(client.try_data(asked, &[b'x'; 16_384], false)));
        let mut dashboard = accept(&origin);
        dashboard.generous = false;
        let (stuck, ..) = dashboard.head();
        dashboard.headers(stuck, &[(":status", "200")], false);
        dashboard.data(stuck, b"begun", is_whole);
        client.head();
        if is_whole {
            let (bytes, event) = after_data(&mut client, asked);
            let last = Event::Data { stream: asked, data: b"begun".to_vec(), end: true };
            assert_eq!((bytes, event), (0, last));
        } else {
            assert_eq!(client.is_reset(asked), INTERNAL_ERROR);
        }
        assert_eq!(dashboard.is_reset(stuck), CANCEL);
        client.abort();
        dashboard.abort();
    }
}
