//! Keep-alive of an HTTP/2 connection: a PING after a time without bytes from the peer (RFC 9113 section 6.7).
//!
//! Any received byte shows that the peer is alive, so a connection in use never sends a PING.

use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};

use crate::sweep::{Deadline, Sweep};

/// The acknowledgement of a PING.
const PONG_BYTES: u64 = 9 + 8;

/// The keep-alive of one connection.
#[derive(Debug)]
pub struct KeepAlive {
    ping: PingPong,
    /// Time without a received byte after which a PING is sent.
    silence: Duration,
    /// Time after the PING after which the peer is considered gone.
    timeout: Duration,
    /// Time between an acknowledged PING and the next one, if nothing else was received.
    interval: Duration,
    deadline: Deadline,
    /// Bytes received when the silence began.
    received: u64,
    /// A PING is not yet acknowledged.
    waiting: bool,
}

impl KeepAlive {
    /// A PING after 20 s of silence, and a timeout of 10 s; both are at most `idle`, unless that is zero. PINGs within one silence are at
    /// least `between` apart.
    pub fn new(ping: PingPong, idle: Duration, between: Duration, sweep: &Sweep) -> Self {
        let sooner = |usual| if idle.is_zero() { usual } else { idle.min(usual) };
        let silence = sooner(Duration::from_secs(20));
        let timeout = sooner(Duration::from_secs(10));
        let deadline = sweep.deadline();
        deadline.set(silence);
        let interval = silence.max(between);
        Self { ping, silence, timeout, interval, deadline, received: 0, waiting: false }
    }

    /// Whether the peer, which has sent `received` bytes so far, is gone. Call it before the connection is polled, which sends the PING.
    ///
    /// While the socket `is_blocked`, the PING may be queued behind other bytes. Its timeout therefore starts once the socket has
    /// accepted all of them. Until then, TCP detects a peer that vanishes.
    pub fn has_stopped(&mut self, received: u64, is_blocked: bool, cx: &mut Context<'_>) -> bool {
        if self.waiting && self.ping.poll_pong(cx).is_ready() {
            self.waiting = false;
            let has_sent_more = received != self.received + PONG_BYTES;
            self.restart(received, if has_sent_more { self.silence } else { self.interval });
        }
        if self.waiting && is_blocked {
            self.deadline.set(self.timeout);
        }
        if !self.deadline.has_passed(cx) {
            return false;
        }
        if received != self.received {
            self.restart(received, self.silence);
            return false;
        }
        if self.waiting {
            return true;
        }
        // Fails if a PING is not yet acknowledged, or the connection ends.
        drop(self.ping.send_ping(Ping::opaque()));
        self.waiting = true;
        self.deadline.set(self.timeout);
        false
    }

    /// Restarts the silence if bytes were received. Call it after the connection was polled, so that the silence starts at the last
    /// byte.
    pub fn note_received(&mut self, received: u64) {
        if !self.waiting && received != self.received {
            self.restart(received, self.silence);
        }
    }

    fn restart(&mut self, received: u64, time: Duration) {
        self.received = received;
        self.deadline.set(time);
    }
}
