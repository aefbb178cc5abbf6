//! Whether the other end of an HTTP/2 connection is still there: a PING after a silence (RFC 9113 section 6.7).
//!
//! Any byte that comes is a sign of life, so that a connection in use is never asked. Belongs to one connection.

use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};

use crate::sweep::{Deadline, Sweep};

/// When a connection is asked, and given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// So long a silence asks for a PING.
    pub silence: Duration,
    /// So long after it the other end is taken for gone.
    pub patience: Duration,
}

impl Rhythm {
    /// A PING after 20 s, given up 10 s later; both sooner where connections are kept for less.
    pub fn within(idle: Duration) -> Self {
        let sooner = |usual| if idle.is_zero() { usual } else { idle.min(usual) };
        Self { silence: sooner(Duration::from_secs(20)), patience: sooner(Duration::from_secs(10)) }
    }
}

/// Looks after one connection.
pub struct Pulse {
    ping: PingPong,
    rhythm: Rhythm,
    deadline: Deadline,
    /// Bytes that had come when it was last looked.
    heard: u64,
    asked: bool,
}

impl Pulse {
    /// Looks after the connection of `ping`, from now on.
    pub fn new(ping: PingPong, rhythm: Rhythm, sweep: &Sweep) -> Self {
        let deadline = sweep.deadline();
        deadline.set(rhythm.silence);
        Self { ping, rhythm, deadline, heard: 0, asked: false }
    }

    /// Whether the other end, of which `heard` bytes have come so far, is gone. To be asked before the connection is polled:
    /// a PING goes out with it.
    pub fn has_stopped(&mut self, heard: u64, cx: &mut Context<'_>) -> bool {
        if self.asked && self.ping.poll_pong(cx).is_ready() {
            self.rest();
        }
        if !self.deadline.has_passed(cx) {
            return false;
        }
        if heard != self.heard {
            self.heard = heard;
            self.rest();
            return false;
        }
        if self.asked {
            return true;
        }
        // A PING that cannot be sent is one on its way, or a connection that ends.
        self.asked = self.ping.send_ping(Ping::opaque()).is_ok();
        self.deadline.set(self.rhythm.patience);
        false
    }

    fn rest(&mut self) {
        self.asked = false;
        self.deadline.set(self.rhythm.silence);
    }
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pulse").field("rhythm", &self.rhythm).field("asked", &self.asked).finish()
    }
}
