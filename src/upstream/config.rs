//! Settings of the dashboard's side.

use std::fmt;
use std::time::Duration;

/// What the dashboard's side needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the dashboard listens. Default `http://127.0.0.1:3000`.
    pub origin: Origin,
    /// HTTP/2: by ALPN on `https`, with prior knowledge elsewhere. Default: HTTP/1.1.
    pub http2: bool,
    /// For a new connection to stand. Default 5 s.
    pub connect_timeout: Duration,
    /// Between the end of a request and the head of its answer; zero, the default: no limit.
    pub response_header_timeout: Duration,
    /// A pooled connection unused for so long is closed. Default 30 s.
    pub idle_timeout: Duration,
    /// How often a request that found its reused connection closed is tried again. Default 1.
    pub retries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origin: Origin { host: "127.0.0.1".into(), port: 3000 },
            http2: false,
            connect_timeout: Duration::from_secs(5),
            response_header_timeout: Duration::ZERO,
            idle_timeout: Duration::from_secs(30),
            retries: 1,
        }
    }
}

/// The dashboard's address, `http://host:port`. Its host is looked up anew for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(out, "[{}]:{}", self.host, self.port);
        }
        write!(out, "{}:{}", self.host, self.port)
    }
}
