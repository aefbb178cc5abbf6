//! Settings of the dashboard's side.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::socket::Places;
use crate::telemetry::metrics::WorkerMetrics;

/// What the dashboard's side needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the dashboard listens. Default `http://127.0.0.1:3000`.
    pub origin: Origin,
    /// HTTP/2: by ALPN on `https://`, with prior knowledge elsewhere. Default: HTTP/1.1.
    pub http2: bool,
    /// Whom to trust and what to show, on `https://`.
    pub tls: TlsConfig,
    /// For a new connection to stand, TLS included. Default 5 s.
    pub connect_timeout: Duration,
    /// Between two writes that the dashboard accepts. Default 60 s.
    pub send_timeout: Duration,
    /// Between the end of a request and the head of its answer; zero, the default: no limit.
    pub response_header_timeout: Duration,
    /// A pooled connection unused for so long is closed. Default 30 s.
    pub idle_timeout: Duration,
    /// How often a request that found its reused connection closed is tried again. Default 1.
    pub retries: u32,
    /// Time without traffic after which the gate probes the dashboard; zero: never. Default 15 s.
    pub probe_interval: Duration,
    /// What a probe requests with GET. Default: nothing, a probe only connects.
    pub probe_path: Option<String>,
    /// Limit of connections of all workers, from the number of file descriptors; not a setting. Default: none.
    pub places: Places,
    /// Where contacts are counted; not a setting. Default: nowhere.
    pub metrics: Option<WorkerMetrics>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origin: Origin::Http { host: "127.0.0.1".into(), port: 3000 },
            http2: false,
            tls: TlsConfig::default(),
            connect_timeout: Duration::from_secs(5),
            send_timeout: Duration::from_secs(60),
            response_header_timeout: Duration::ZERO,
            idle_timeout: Duration::from_secs(30),
            retries: 1,
            probe_interval: Duration::from_secs(15),
            probe_path: None,
            places: Places::default(),
            metrics: None,
        }
    }
}

/// The dashboard's address. A host, IPv6 without brackets, is looked up anew for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `http://host:port`.
    Http {
        /// A name or an address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `https://host:port`.
    Https {
        /// A name or an address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `unix:/path`, without TLS.
    Unix(PathBuf),
    /// A test's own, in memory.
    #[cfg(test)]
    Memory,
}

impl fmt::Display for Origin {
    /// `host:port`, or `unix:/path`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port } | Self::Https { host, port } if host.contains(':') => {
                write!(out, "[{host}]:{port}")
            }
            Self::Http { host, port } | Self::Https { host, port } => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            #[cfg(test)]
            Self::Memory => write!(out, "memory"),
        }
    }
}

/// `[upstream.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate authorities, PEM; `None`: the platform's.
    pub ca_file: Option<PathBuf>,
    /// What the dashboard is shown, PEM, the leaf first; with `key_file`, or not at all.
    pub cert_file: Option<PathBuf>,
    /// The key of `cert_file`, PEM.
    pub key_file: Option<PathBuf>,
    /// The name the dashboard's certificate must bear, and SNI; `None`: the host of the URL.
    pub server_name: Option<String>,
}
