//! Settings of the dashboard's side.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::socket::SocketLimit;
use crate::telemetry::metrics::WorkerMetrics;

/// Settings of the dashboard's side.
#[derive(Clone, Debug)]
pub struct Config {
    /// The dashboard's address. Default `http://127.0.0.1:3000`.
    pub origin: Origin,
    /// Whether to use HTTP/2: by ALPN on `https://`, otherwise with prior knowledge. Default `false`.
    pub http2: bool,
    /// TLS, for `https://`.
    pub tls: TlsConfig,
    /// For opening a connection, including TLS. Default 5 s.
    pub connect_timeout: Duration,
    /// Between two writes that the dashboard accepts. Default 60 s.
    pub send_timeout: Duration,
    /// Between the end of a request and the head of its response. Default zero: no limit.
    pub response_header_timeout: Duration,
    /// Idle time after which a pooled connection is closed. Default 30 s.
    pub idle_timeout: Duration,
    /// How often a request is sent again if its reused connection was closed. Default 1.
    pub retries: u32,
    /// Limit on connections of all workers, computed from the limit of file descriptors. Not a setting. Default: none.
    pub sockets: SocketLimit,
    /// Time without traffic after which the gate probes the dashboard; zero: never. Default 15 s.
    pub probe_interval: Duration,
    /// What a probe requests with GET. Default: nothing, a probe only connects.
    pub probe_path: Option<String>,
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
            sockets: SocketLimit::default(),
            probe_interval: Duration::from_secs(15),
            probe_path: None,
            metrics: None,
        }
    }
}

/// The dashboard's address. A host name is looked up for each connection; IPv6 addresses have no brackets.
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
    /// In memory, for tests.
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
    /// The client certificate, PEM, leaf first. Requires `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The key of `cert_file`, PEM.
    pub key_file: Option<PathBuf>,
    /// The name for SNI and for the dashboard's certificate; `None`: the host of the URL.
    pub server_name: Option<String>,
}
