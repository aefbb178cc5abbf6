//! Backpressure: a sender without end is blocked by a peer that does not read, in bounded memory, with every framing.

use std::io;
use std::time::Duration;

use super::stage;
use crate::support::gate::Gate;
use crate::support::wire::Wire;

/// A write without progress for this long counts as blocked.
const STALL: Duration = Duration::from_millis(500);
const PIECE: usize = 64 * 1024;
const GIB: usize = 1 << 30;
const MOST_BYTES: u64 = 32 << 20;

/// Private memory of the gate, current and maximum, in bytes.
fn memory_bytes(gate: &Gate) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.pid())).expect("Linux");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Offers a GiB. Returns how much was accepted before it blocked.
fn offer(mut send: impl FnMut(&[u8]) -> io::Result<()>, chunked: bool) -> usize {
    let piece = [b'x'; PIECE];
    let framed = [format!("{PIECE:x}\r\n").as_bytes(), &piece, b"\r\n"].concat();
    let bytes = if chunked { &framed[..] } else { &piece };
    (0..GIB).step_by(PIECE).take_while(|_| send(bytes).is_ok()).count() * PIECE
}

#[track_caller]
fn was_held_up(gate: &Gate, taken: usize) {
    assert!(taken < GIB / 8, "{taken} bytes were taken");
    let (now, most) = memory_bytes(gate);
    assert!(now < MOST_BYTES && most < MOST_BYTES, "{now} bytes, {most} at most");
}

#[test]
fn a_client_that_reads_no_chunks_blocks_the_dashboard() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    call.write_timeout(STALL);
    was_held_up(&gate, offer(|piece| call.try_send(piece), true));
    client.head();
    client.skip(1 << 20);
}

#[test]
fn a_client_that_reads_no_body_until_close_blocks_the_dashboard() {
    let (origin, gate) = stage();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("HTTP/1.1 200 OK\r\n\r\n");
    call.write_timeout(STALL);
    was_held_up(&gate, offer(|piece| call.try_send(piece), false));
    client.head();
    client.skip(1 << 20);
}

#[test]
fn a_dashboard_that_reads_no_chunks_blocks_the_client() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut call = origin.accept();
    call.head();
    client.write_timeout(STALL);
    was_held_up(&gate, offer(|piece| client.try_send(piece), true));
    call.skip(1 << 20);
}

#[test]
fn a_tunnel_blocks_the_side_whose_bytes_are_not_read() {
    let (origin, gate) = stage();
    for up in [true, false] {
        let mut client = Wire::connect(gate.address);
        client
            .send("GET / HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let mut call = origin.accept();
        call.head();
        call.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        client.head();
        client.write_timeout(STALL);
        call.write_timeout(STALL);
        match up {
            true => was_held_up(&gate, offer(|piece| client.try_send(piece), false)),
            false => was_held_up(&gate, offer(|piece| call.try_send(piece), false)),
        }
        // The other direction still works.
        match up {
            true => {
                call.send("down");
                assert_eq!(client.exactly(4), b"down");
                call.skip(1 << 20);
            }
            false => {
                client.send("up");
                assert_eq!(call.exactly(2), b"up");
                client.skip(1 << 20);
            }
        }
    }
}

#[test]
fn pipelined_requests_without_responses_block_the_client() {
    let (origin, gate) = stage();
    let (mut client, _call) = origin.asked(gate.address, "/");
    client.write_timeout(STALL);
    let piece = "GET /next HTTP/1.1\r\nHost: d\r\n\r\n".repeat(2_000);
    let taken =
        (0..GIB).step_by(piece.len()).take_while(|_| client.try_send(&piece).is_ok()).count();
    was_held_up(&gate, taken * piece.len());
}
