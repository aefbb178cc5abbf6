//! WebSockets when the gate stops: both sides get a Close with status 1001 at a boundary between frames, and nobody delays the exit.

use std::net::TcpStream;
use std::thread;

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::stage_with;
use super::tunnels::tunnel;
use crate::support::gate::Gate;
use crate::support::origin::{Call, Origin};
use crate::support::wire::{CLOSE, ECHO, Wire, is_close_of_client, socket};

/// A gate that closes its tunnels within two seconds, and has two more for those that do not end.
fn stage() -> (Origin, Gate) {
    stage_with(|gate| gate.set("shutdown.grace_period", "\"4s\""))
}

/// Sends `pieces` again and again, until the gate has closed or `most` were sent.
fn flood(mut send: impl FnMut(&[u8]) -> std::io::Result<()>, bytes: &[u8], piece: usize) {
    // A piece contains the end of one frame and the beginning of the next.
    let all = bytes.repeat(piece);
    while all.chunks(piece).all(|piece| send(piece).is_ok()) {}
}

/// How often `bytes` contain `frame` before the rest.
fn repeated<'a>(mut bytes: &'a [u8], frame: &[u8]) -> (usize, &'a [u8]) {
    let mut count = 0;
    while let Some(rest) = bytes.strip_prefix(frame) {
        (bytes, count) = (rest, count + 1);
    }
    (count, bytes)
}

#[test]
fn the_clients_close_reaches_the_dashboard() {
    let (origin, mut gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    gate.signal("TERM");
    assert_eq!(client.exactly(4), CLOSE);
    // What the client had sent before it saw the Close.
    client.send(b"\x81\x81\0\0\0\0!");
    client.send(ECHO);
    assert_eq!(client.rest(), b"");
    assert_eq!(call.rest(), [b"\x81\x81\0\0\0\0!", ECHO].concat());
    call.send(CLOSE);
    drop((client, call));
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_client_that_does_not_answer_is_disconnected_and_the_dashboard_gets_a_close() {
    let (origin, mut gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    gate.signal("TERM");
    let received = call.rest();
    assert!(is_close_of_client(&received), "{received:?}");
    assert_eq!(client.rest(), CLOSE);
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_client_that_disconnects_without_a_close_is_replaced_by_the_gate() {
    let (origin, mut gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    gate.signal("TERM");
    assert_eq!(client.exactly(4), CLOSE);
    client.half_close();
    let received = call.rest();
    assert!(is_close_of_client(&received), "{received:?}");
    assert_eq!(client.rest(), b"");
    drop(call);
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_message_is_not_cut() {
    let (origin, mut gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    // A fragmented message, and a PING within it.
    call.send(b"\x01\x02no\x89\x00\x80");
    assert_eq!(client.exactly(7), b"\x01\x02no\x89\x00\x80");
    gate.signal("TERM");
    gate.log().wait_for("stopping");
    call.send(b"\x02w!");
    assert_eq!(client.exactly(3), b"\x02w!");
    assert_eq!(client.exactly(4), CLOSE);
    client.send(ECHO);
    assert_eq!(call.rest(), ECHO);
    assert_eq!(client.rest(), b"");
    drop(call);
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_message_that_does_not_end_is_closed_between_its_fragments() {
    let (origin, mut gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    call.send(b"\x01\x04half");
    assert_eq!(client.exactly(6), b"\x01\x04half");
    client.send(b"\x01\x81\0\0\0\0?");
    assert_eq!(call.exactly(7), b"\x01\x81\0\0\0\0?");
    gate.signal("TERM");
    assert_eq!(client.rest(), CLOSE);
    assert!(is_close_of_client(&call.rest()));
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn no_close_is_written_into_a_frame() {
    let (origin, mut gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    call.send(b"\x82\x7e\x01\x00half");
    assert_eq!(client.exactly(8), b"\x82\x7e\x01\x00half");
    client.send(b"\x82\xff\0");
    assert_eq!(call.exactly(3), b"\x82\xff\0");
    gate.signal("TERM");
    client.ends();
    call.ends();
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn both_sides_flood_and_get_whole_frames_and_a_close() {
    let (origin, mut gate) = stage();
    let (client, mut call) = tunnel(&origin, &gate);
    let (down, up) = (b"\x82\x05hello", b"\x82\x85\0\0\0\0world");
    let (mut to_client, mut to_dashboard) = (call.writer(), client.writer());
    let mut client: Wire = client;
    thread::scope(|scope| {
        use std::io::Write;
        scope.spawn(move || flood(|piece| to_client.write_all(piece), down, 1_013));
        scope.spawn(move || flood(|piece| to_dashboard.write_all(piece), up, 1_013));
        let read_by_client = scope.spawn(move || client.until_end());
        let read_by_dashboard = scope.spawn(move || call.until_end());
        call_while_busy(&gate);
        gate.signal("TERM");
        let received = read_by_client.join().expect("read");
        let (count, rest) = repeated(&received, down);
        assert!(count > 0);
        assert_eq!(rest, CLOSE);
        let received = read_by_dashboard.join().expect("read");
        let (count, rest) = repeated(&received, up);
        assert!(count > 0);
        assert!(is_close_of_client(rest), "{}", rest.escape_ascii());
    });
    assert_eq!(gate.wait().code(), Some(0));
}

/// Returns once the gate has served another request, so that the tunnel is in use.
fn call_while_busy(gate: &Gate) {
    let mut client = Wire::connect(gate.address);
    client.send("GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status(), 404);
}

#[test]
fn garbage_after_the_close_ends_at_the_gate_or_with_the_tunnel() {
    let (origin, mut gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    gate.signal("TERM");
    assert_eq!(client.exactly(4), CLOSE);
    client.send(ECHO);
    // After its own Close, nothing that a client sends is forwarded.
    client.send(vec![0xff; 100_000]);
    assert_eq!(call.rest(), ECHO);
    drop(call);
    client.ends();
    assert_eq!(gate.wait().code(), Some(0));

    let (origin, mut gate) = stage();
    let (mut client, mut call) = tunnel(&origin, &gate);
    gate.signal("TERM");
    assert_eq!(client.exactly(4), CLOSE);
    // It looks like the head of a very long frame.
    client.send([0xff; 1000]);
    assert_eq!(call.rest(), [0xff; 1000]);
    client.ends();
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_client_that_never_reads_and_a_dashboard_that_never_closes_do_not_delay_the_exit() {
    let (origin, mut gate) = stage();
    let (client, mut call) = tunnel(&origin, &gate);
    call.write_timeout(std::time::Duration::from_millis(300));
    let frame = [&[0x82, 0x7e, 0xff, 0xff][..], &[0; 0xffff]].concat();
    // Until neither the gate nor the client takes more.
    while call.try_send(&frame).is_ok() {}
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    drop((client, call));
}

#[test]
fn a_websocket_that_opens_while_the_gate_drains_is_closed_too() {
    let (origin, mut gate) = stage();
    let mut idle = Wire::connect(gate.address);
    idle.send("GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(idle.answer().status(), 404);
    gate.signal("TERM");
    gate.log().wait_for("stopping");
    let (mut client, mut call): (Wire, Call) = super::tunnels::tunnel_on(idle, &origin);
    assert_eq!(client.exactly(4), CLOSE);
    client.send(ECHO);
    assert_eq!(call.rest(), ECHO);
    drop(call);
    assert_eq!(client.rest(), b"");
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_client_and_a_dashboard_with_a_library_both_get_status_1001() {
    /// The status of the Close after one text message.
    fn closed(socket: &mut tungstenite::WebSocket<TcpStream>) -> CloseCode {
        assert!(matches!(socket.read(), Ok(Message::Text(_))));
        let Ok(Message::Close(Some(close))) = socket.read() else { panic!("no Close") };
        // Sends the answer, and waits for the end.
        while socket.read().is_ok() {}
        close.code
    }
    let (origin, mut gate) = stage();
    thread::scope(|scope| {
        let dashboard = scope.spawn(|| {
            let mut socket = tungstenite::accept(origin.socket()).expect("a handshake");
            socket.send("from the dashboard".into()).expect("sent");
            closed(&mut socket)
        });
        let stream = socket(gate.address);
        let (mut client, _) = tungstenite::client("ws://dash/live", stream).expect("a handshake");
        client.send("from the client".into()).expect("sent");
        gate.signal("TERM");
        assert_eq!(closed(&mut client), CloseCode::Away);
        assert_eq!(dashboard.join().expect("closed"), CloseCode::Away);
    });
    assert_eq!(gate.wait().code(), Some(0));
}
