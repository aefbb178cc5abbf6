//! Passes events of the database connections to the task that waits for changes (`hints.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::random;

/// Prefix of an echo's payload. An echo announces no change.
const ECHO: &str = "echo ";

/// An event on a connection. Connections are numbered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The connection with this number listens from now on.
    Listening(u64),
    /// Another connection announced a change.
    Changed,
    /// The gate's own echo arrived.
    Echo,
    /// The connection with this number has ended.
    Ended(u64),
}

/// The sender, for connections.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    sender: UnboundedSender<Signal>,
    /// The number of the newest connection.
    number: Arc<AtomicU64>,
    /// The payload of this gate's own echo.
    echo: Arc<str>,
}

/// One connection; signals its end when dropped.
pub(super) struct Listening {
    signals: Signals,
    number: u64,
}

impl Signals {
    pub(super) fn new() -> (Self, UnboundedReceiver<Signal>) {
        let (sender, received) = unbounded_channel();
        let echo = format!("{ECHO}{}", random::name()).into();
        (Self { sender, number: Arc::default(), echo }, received)
    }

    /// The payload of this gate's own echo.
    pub(super) fn echo(&self) -> Arc<str> {
        self.echo.clone()
    }

    /// Numbers a new connection.
    pub(super) fn connection(&self) -> Listening {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        Listening { signals: self.clone(), number }
    }

    /// Signals that the newest connection listens.
    pub(super) fn begin(&self) {
        self.send(Signal::Listening(self.number.load(Ordering::Relaxed)));
    }

    fn send(&self, signal: Signal) {
        // There is no receiver when the gate stops.
        let _ = self.sender.send(signal);
    }
}

impl Listening {
    /// Signals a notification with this payload.
    pub(super) fn notified(&self, payload: &str) {
        match payload {
            own if *own == *self.signals.echo => self.signals.send(Signal::Echo),
            // Another gate's echo.
            other if other.starts_with(ECHO) => {}
            _ => self.signals.send(Signal::Changed),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.signals.send(Signal::Ended(self.number));
    }
}
