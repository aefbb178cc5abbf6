//! Signals, and the one order to stop that all long-lived work answers to.

use std::time::Duration;

/// How the gate stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Not ready, everything still served. Default 0 s.
    pub delay: Duration,
    /// From closing the listeners until what is left is cut. Default 25 s.
    pub grace_period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { delay: Duration::ZERO, grace_period: Duration::from_secs(25) }
    }
}
