//! Whether the other end of an HTTP/2 connection is still there: a PING after a silence (RFC 9113 section 6.7).
//!
//! Any byte that comes is a sign of life, so that a connection in use is never asked. Belongs to one connection.

use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};

use crate::sweep::{Deadline, Sweep};

/// The answer to a PING: more than that is other words.
const PONG_BYTES: u64 = 9 + 8;

/// Looks after one connection.
#[derive(Debug)]
pub struct Pulse {
    ping: PingPong,
    /// So long a silence asks for a PING.
    silence: Duration,
    /// So long after it the other end is taken for gone.
    patience: Duration,
    /// So long after an answered PING it is asked again, when nothing else has come.
    again: Duration,
    deadline: Deadline,
    /// Bytes that had come when it was last looked.
    heard: u64,
    /// A PING is on its way, or its answer.
    asked: bool,
}

impl Pulse {
    /// Looks after the connection of `ping`, which is kept for `idle`: a PING after 20 s, given up 10 s later; both sooner if `idle` is
    /// shorter. Between two PINGs in a silence at least `between` passes.
    pub fn new(ping: PingPong, idle: Duration, between: Duration, sweep: &Sweep) -> Self {
        let sooner = |usual| if idle.is_zero() { usual } else { idle.min(usual) };
        let silence = sooner(Duration::from_secs(20));
        let patience = sooner(Duration::from_secs(10));
        let deadline = sweep.deadline();
        deadline.set(silence);
        let again = silence.max(between);
        Self { ping, silence, patience, again, deadline, heard: 0, asked: false }
    }

    /// Whether the other end, of which `heard` bytes have come so far, is gone. To be asked before the connection is polled:
    /// a PING goes out with it.
    ///
    /// While the socket `is_blocked` a PING waits behind what is in it, as long as the other end reads slowly: then it is TCP that
    /// finds out. The time for the answer begins when the socket has taken all.
    pub fn has_stopped(&mut self, heard: u64, is_blocked: bool, cx: &mut Context<'_>) -> bool {
        if self.asked && self.ping.poll_pong(cx).is_ready() {
            self.asked = false;
            let has_said_more = heard != self.heard + PONG_BYTES;
            self.rest(heard, if has_said_more { self.silence } else { self.again });
        }
        if self.asked && is_blocked {
            self.deadline.set(self.patience);
        }
        if !self.deadline.has_passed(cx) {
            return false;
        }
        if heard != self.heard {
            self.rest(heard, self.silence);
            return false;
        }
        if self.asked {
            return true;
        }
        // A PING that cannot be sent is one on its way, or a connection that ends.
        drop(self.ping.send_ping(Ping::opaque()));
        self.asked = true;
        self.deadline.set(self.patience);
        false
    }

    /// Begins a new silence when more has come: it begins with the last byte, not with the next look. To be called after the
    /// connection was polled.
    pub fn hear(&mut self, heard: u64) {
        if !self.asked && heard != self.heard {
            self.rest(heard, self.silence);
        }
    }

    fn rest(&mut self, heard: u64, time: Duration) {
        self.heard = heard;
        self.deadline.set(time);
    }
}
