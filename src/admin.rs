//! Probes and metrics on a listener of their own.

use std::net::SocketAddr;

/// Where probes and metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `None`: off. Default `127.0.0.1:9180`.
    pub listen: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9180))) }
    }
}
