//! Peers that do not read, or disconnect while the gate waits for the other side; both directions at the same time.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::stage_with;
use super::tunnels::tunnel;
use crate::support::gate::Gate;
use crate::support::h2::{Conn, Event, INITIAL_WINDOW_SIZE, request};
use crate::support::origin::{Call, Origin};
use crate::support::wire::Wire;

/// A write without progress for this long counts as blocked.
const STALL: Duration = Duration::from_millis(300);
static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];
/// More than all socket buffers on the way hold.
const MUCH: usize = 64 << 20;

fn impatient() -> (Origin, Gate) {
    stage_with(|gate| gate.set("timeouts.send", "\"1s\""))
}

/// A gate with deadlines longer than any test.
fn patient() -> (Origin, Gate) {
    stage_with(|gate| gate.set("timeouts.send", "\"1h\"").set("shutdown.grace_period", "\"1h\""))
}

/// Writes until it blocks.
fn fill(mut send: impl FnMut(&[u8]) -> std::io::Result<()>) {
    while send(&PIECE).is_ok() {}
}

/// An upload that the dashboard does not read: both sides of it, blocked.
fn stuck_upload(origin: &Origin, gate: &Gate, framing: &str) -> (Wire, Call) {
    let mut client = Wire::connect(gate.address);
    client.send(format!("POST / HTTP/1.1\r\nHost: d\r\n{framing}\r\n\r\n"));
    let mut call = origin.accept();
    call.head();
    client.write_timeout(STALL);
    match framing.contains("chunked") {
        true => fill(|piece| {
            client.try_send(format!("{:x}\r\n", piece.len()))?;
            client.try_send(piece)?;
            client.try_send("\r\n")
        }),
        false => fill(|piece| client.try_send(piece)),
    }
    (client, call)
}

const LENGTH: &str = "Content-Length: 1000000000";
const CHUNKED: &str = "Transfer-Encoding: chunked";

#[test]
fn a_dashboard_that_does_not_read_is_504() {
    let (origin, gate) = impatient();
    for framing in [LENGTH, CHUNKED] {
        let (mut client, call) = stuck_upload(&origin, &gate, framing);
        let answer = client.answer();
        assert_eq!(answer.status(), 504, "{framing}");
        assert!(answer.text().contains("upstream.send-timeout"), "{}", answer.text());
        assert!(answer.field("proxy-status").contains("connection_write_timeout"));
        drop(call);
    }
}

#[test]
fn over_http_2_it_is_504_as_well() {
    let (origin, gate) =
        stage_with(|gate| gate.set("timeouts.send", "\"1s\"").set("upstream.http2", true));
    let mut client = Wire::connect(gate.address);
    client.send(format!("POST / HTTP/1.1\r\nHost: d\r\n{LENGTH}\r\n\r\n"));
    let mut dashboard = Conn::serve(origin.socket(), &[(INITIAL_WINDOW_SIZE, 1 << 30)]);
    dashboard.window_update(0, 1 << 30);
    dashboard.head();
    client.write_timeout(STALL);
    fill(|piece| client.try_send(piece));
    assert_eq!(client.answer().status(), 504);
}

#[test]
fn a_reset_of_a_stuck_upload_by_the_client_ends_it_at_once() {
    for framing in [LENGTH, CHUNKED] {
        let (origin, gate) = patient();
        let (client, call) = stuck_upload(&origin, &gate, framing);
        client.reset();
        let_go(gate, call);
    }
}

#[test]
fn a_stuck_upload_of_a_disconnected_client_ends_at_the_deadline() {
    let (origin, gate) = stage_with(|gate| {
        gate.set("timeouts.send", "\"1s\"").set("shutdown.grace_period", "\"1h\"")
    });
    let (client, call) = stuck_upload(&origin, &gate, LENGTH);
    drop(client);
    let_go(gate, call);
}

/// Nothing is in flight any more: the gate stops at once, long before the end of its grace period.
#[track_caller]
fn let_go(mut gate: Gate, call: Call) {
    gate.signal("TERM");
    assert!(gate.wait().success());
    drop(call);
}

#[test]
fn a_stuck_tunnel_ends_when_the_client_resets() {
    let (origin, gate) = patient();
    let (mut client, call) = tunnel(&origin, &gate);
    client.write_timeout(STALL);
    fill(|piece| client.try_send(piece));
    client.reset();
    let_go(gate, call);
}

#[test]
fn a_stuck_tunnel_of_a_disconnected_client_ends_at_the_deadline() {
    let (origin, gate) = stage_with(|gate| {
        gate.set("timeouts.send", "\"1s\"").set("shutdown.grace_period", "\"1h\"")
    });
    let (mut client, call) = tunnel(&origin, &gate);
    client.write_timeout(STALL);
    fill(|piece| client.try_send(piece));
    drop(client);
    let_go(gate, call);
}

#[test]
fn a_stuck_tunnel_ends_when_the_dashboard_resets() {
    let (origin, gate) = patient();
    let (mut client, mut call) = tunnel(&origin, &gate);
    call.write_timeout(STALL);
    fill(|piece| call.try_send(piece));
    call.reset();
    // Everything sent until then, and the end.
    drop(client.end());
    drop(gate);
}

/// A response that its client does not read.
fn stuck_download(origin: &Origin, gate: &Gate) -> (Wire, Call) {
    let (client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    call.write_timeout(STALL);
    fill(|piece| call.try_send(piece));
    (client, call)
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    let (origin, gate) = impatient();
    let (client, mut call) = stuck_download(&origin, &gate);
    call.breaks();
    drop(client);
}

#[test]
fn a_client_that_reads_slowly_is_not_closed() {
    let (origin, gate) = impatient();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    let sending = thread::spawn(move || {
        call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n"));
        (0..MUCH / PIECE.len()).for_each(|_| call.send(PIECE));
        call
    });
    client.head();
    let mut left = MUCH;
    // Reads for several times `timeouts.send`, a piece every fifth of it, so that the gate's socket stays full.
    for _ in 0..25 {
        // The slow reading itself is tested: there is no event to wait for.
        thread::park_timeout(Duration::from_millis(200));
        client.skip(128 << 10);
        left -= 128 << 10;
    }
    client.skip(left);
    sending.join().expect("the dashboard");
}

#[test]
fn a_reset_of_the_dashboard_ends_a_stuck_download() {
    let (origin, gate) = patient();
    let (client, call) = stuck_download(&origin, &gate);
    call.reset();
    let mut gate = gate;
    gate.signal("TERM");
    assert!(gate.wait().success());
    drop(client);
}

#[test]
fn a_complete_response_in_socket_buffers_survives_a_reset_of_the_dashboard() {
    const BYTES: usize = 3 << 20;
    let (origin, gate) = patient();
    let mut client = Wire::connect(gate.address);
    client.send(format!("POST / HTTP/1.1\r\nHost: d\r\n{LENGTH}\r\n\r\nsome"));
    let mut call = origin.accept();
    call.head();
    call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
    call.send(vec![b'y'; BYTES]);
    // Closing with unread bytes resets the connection.
    drop(call);
    assert_eq!(client.head().status(), 200);
    client.skip(BYTES);
}

/// The dashboard responds at once and reads the request meanwhile; `client` sends everything before it reads.
fn full_duplex(origin: Origin, client: impl FnOnce()) {
    const BYTES: usize = 24 << 20;
    let dashboard = thread::spawn(move || {
        let mut call = origin.accept();
        call.head();
        call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
        let mut writer = call.writer();
        let answering = thread::spawn(move || {
            let piece = vec![b'y'; 64 << 10];
            (0..BYTES / piece.len()).for_each(|_| {
                writer.write_all(&piece).expect("sent");
            });
        });
        call.skip(BYTES);
        answering.join().expect("the answer");
        call
    });
    client();
    dashboard.join().expect("the dashboard");
}

#[test]
fn an_upload_continues_while_its_response_waits() {
    const BYTES: usize = 24 << 20;
    let (origin, gate) = patient();
    full_duplex(origin, || {
        let mut client = Wire::connect(gate.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: {BYTES}\r\n\r\n"));
        (0..BYTES / PIECE.len()).for_each(|_| client.send(PIECE));
        assert_eq!(client.head().status(), 200);
        client.skip(BYTES);
    });
}

#[test]
fn over_http_2_it_moves_as_well() {
    const BYTES: usize = 24 << 20;
    let (origin, gate) = patient();
    full_duplex(origin, || {
        let mut client = Conn::connect(gate.address);
        client.generous = false;
        let length = BYTES.to_string();
        let head = [&request("POST", "/")[..], &[("content-length", &length)]].concat();
        let asked = client.ask(&head, false);
        let mut sent = 0;
        while sent < BYTES {
            let window = usize::try_from(client.window).expect("a window");
            let room = window.min(client.initial_window() + client.stream_window(asked));
            if sent + 16_384 > room {
                client.receive();
                continue;
            }
            sent += 16_384;
            client.data(asked, &PIECE[..16_384], sent == BYTES);
        }
        client.window_update(0, 1 << 30);
        client.window_update(asked, 1 << 30);
        let mut received = client.received;
        while received < BYTES {
            match client.news() {
                Event::Data { .. } => received = client.received,
                Event::Headers { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    });
}
