//! Bodies are streamed as they arrive, and no faster than the other side reads.

use std::time::Duration;

use super::stage;
use crate::support::gate::Gate;
use crate::support::wire::Wire;

/// A write without progress for this long counts as blocked.
const STALL: Duration = Duration::from_millis(500);
const GIB: u64 = 1 << 30;

/// The peak memory of the gate, in bytes.
fn peak_bytes(gate: &Gate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.pid())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// Writes until it blocks. Returns how much was accepted.
fn offer(mut send: impl FnMut(&[u8]) -> std::io::Result<()>) -> u64 {
    let piece = [b'x'; 64 * 1024];
    (0..GIB).step_by(piece.len()).take_while(|_| send(&piece).is_ok()).count() as u64 * 64 * 1024
}

#[test]
fn a_client_that_stops_reading_blocks_the_dashboard_in_bounded_memory() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"));
    call.write_timeout(STALL);
    let taken = offer(|piece| call.try_send(piece));
    assert!(taken < GIB / 8, "{taken} bytes");
    assert!(peak_bytes(&gate) < 64 << 20);
    assert_eq!(client.head().status(), 200);
    client.skip(1 << 20);
}

#[test]
fn a_dashboard_that_stops_reading_blocks_the_client_in_bounded_memory() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send(format!("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: {GIB}\r\n\r\n"));
    let mut call = origin.accept();
    call.head();
    client.write_timeout(STALL);
    let taken = offer(|piece| client.try_send(piece));
    assert!(taken < GIB / 8, "{taken} bytes");
    assert!(peak_bytes(&gate) < 64 << 20);
    call.skip(1 << 20);
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/events");
    call.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(client.head().field("content-type"), "text/event-stream");
    for event in ["data: one\n\n", "data: two\n\n"] {
        call.send(format!("{:x}\r\n{event}\r\n", event.len()));
        assert_eq!(client.chunk(), event.as_bytes());
    }
}

#[test]
fn an_upload_arrives_piece_by_piece() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut call = origin.accept();
    assert_eq!(call.head().field("transfer-encoding"), "chunked");
    for piece in ["one", "two"] {
        client.send(format!("3\r\n{piece}\r\n"));
        assert_eq!(call.chunk(), piece.as_bytes());
    }
}
