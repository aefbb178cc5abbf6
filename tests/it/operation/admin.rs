//! The admin listener among connections that want nothing: a probe is answered all the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::gate::{Builder, Gate};
use crate::support::http::request;
use crate::support::origin::Origin;
use crate::support::wire::socket;

/// More than the listener has places by far, and fewer than a process usually has descriptors.
const HELD: usize = 700;

fn stage() -> (Origin, Gate) {
    let origin = Origin::start();
    let gate = Builder::before(origin.address).set("admin.listen", "\"127.0.0.1:0\"").start();
    (origin, gate)
}

/// Opens connections and sends `bytes` on each.
fn hold(admin: SocketAddr, bytes: &[u8]) -> Vec<TcpStream> {
    let open = || {
        let mut held = socket(admin);
        // The place may have been taken by another already.
        let _ = held.write_all(bytes);
        held
    };
    (0..HELD).map(|_| open()).collect()
}

/// A connection that waits for a place would wait for 10 s and more.
const SOON: Duration = Duration::from_secs(2);

#[track_caller]
fn is_answered_soon(admin: SocketAddr) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut probe = socket(admin);
        probe.set_read_timeout(Some(SOON)).expect("a deadline");
        write!(probe, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut answer = Vec::new();
        probe.read_to_end(&mut answer).expect("an answer in time");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
    }
}

#[test]
fn connections_that_are_idle_half_way_or_answered_delay_no_probe() {
    let (_origin, gate) = stage();
    for begun in [
        &b""[..],
        b"GET /livez HT",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let held = hold(gate.admin(), begun);
        is_answered_soon(gate.admin());
        drop(held);
    }
}

#[test]
fn connections_that_dribble_delay_no_probe() {
    let (_origin, gate) = stage();
    let mut held = hold(gate.admin(), b"G");
    let probed = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !probed.load(Ordering::Relaxed) {
                for connection in &mut held {
                    let _ = connection.write_all(b"x");
                }
                thread::yield_now();
            }
        });
        is_answered_soon(gate.admin());
        probed.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_head_that_does_not_come_ends_its_connection() {
    let (_origin, gate) = stage();
    let mut half = socket(gate.admin());
    half.write_all(b"GET /livez HTTP/1.1\r\n").expect("sent");
    // However much comes in between.
    let mut dribbling = half.try_clone().expect("a clone");
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) && dribbling.write_all(b"a").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let mut rest = Vec::new();
        // An end, or a reset; a connection that stays open is an error of another kind.
        if let Err(error) = half.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        ended.store(true, Ordering::Relaxed);
    });
    request(gate.admin(), "GET", "/livez").send().is(200);
}
