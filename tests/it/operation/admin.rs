//! The admin listener with many idle or slow connections: probes are still answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::support::gate::{Builder, Gate};
use crate::support::http::request;
use crate::support::origin::Origin;
use crate::support::wire::socket;

/// Far more than the listener has places, and fewer than the usual limit of descriptors.
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
        // The place may be in use by another connection.
        let _ = held.write_all(bytes);
        held
    };
    (0..HELD).map(|_| open()).collect()
}

/// A hang guard. It is shorter than the 20 s that a probe would wait if each connection kept its place for the 2 s
/// deadline of a head.
const PATIENCE: Duration = Duration::from_secs(15);

/// Places of the listener.
const PLACES: usize = 64;

#[track_caller]
fn probes_are_answered(admin: SocketAddr) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut probe = socket(admin);
        is_answered(&mut probe, path);
    }
}

#[track_caller]
fn is_answered(probe: &mut TcpStream, path: &str) {
    probe.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    write!(probe, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    probe.read_to_end(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
}

#[test]
fn idle_and_partial_connections_do_not_delay_a_probe() {
    let (_origin, gate) = stage();
    for begun in [
        &b""[..],
        b"GET /livez HT",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let held = hold(gate.admin(), begun);
        probes_are_answered(gate.admin());
        drop(held);
    }
}

#[test]
fn connections_that_send_slowly_do_not_delay_a_probe() {
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
        probes_are_answered(gate.admin());
        probed.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_slow_probe_is_not_displaced_by_other_connections() {
    let (_origin, gate) = stage();
    for newcomers in [1, 10, PLACES - 2] {
        let mut dribbling = hold(gate.admin(), b"G");
        let mut probe = socket(gate.admin());
        // The other connections have made progress, the probe has not.
        for connection in &mut dribbling {
            let _ = connection.write_all(b"x");
        }
        let held: Vec<_> = (0..newcomers).map(|_| socket(gate.admin())).collect();
        is_answered(&mut probe, "/livez");
        drop((held, dribbling));
    }
}

#[test]
fn a_connection_with_an_incomplete_head_is_closed() {
    let (_origin, gate) = stage();
    let mut half = socket(gate.admin());
    half.write_all(b"GET /livez HTTP/1.1\r\n").expect("sent");
    // However many connections come in between.
    let mut dribbling = half.try_clone().expect("a clone");
    let (ended, end) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let pause = Duration::from_millis(50);
            while end.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let _ = dribbling.write_all(b"a");
            }
        });
        let mut rest = Vec::new();
        // Closed or reset; a connection that stays open is another error.
        if let Err(error) = half.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        drop(ended);
    });
    request(gate.admin(), "GET", "/livez").send().is(200);
}
