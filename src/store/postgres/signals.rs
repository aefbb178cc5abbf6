//! What happens on connections to the database, passed to the task that waits for it (`hints.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::random;

/// The payload of an echo begins with this. It announces no change.
const ECHO: &str = "echo ";

/// What happens on connections, each known by its number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// This connection listens from now on.
    Listening(u64),
    /// Another connection announced a change.
    Changed,
    /// The gate's own echo arrived.
    Echo,
    /// This connection has ended.
    Ended(u64),
}

/// The sending half, for connections.
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

    /// A new connection.
    pub(super) fn connection(&self) -> Listening {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        Listening { signals: self.clone(), number }
    }

    /// The newest connection listens.
    pub(super) fn begin(&self) {
        self.send(Signal::Listening(self.number.load(Ordering::Relaxed)));
    }

    fn send(&self, signal: Signal) {
        // A gate that stops has no receiver any more.
        let _ = self.sender.send(signal);
    }
}

impl Listening {
    /// Takes the payload of a notification.
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
