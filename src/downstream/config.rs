//! Settings of the client's side: addresses, certificate files, deadlines, limits.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// What the client's side needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on. Default `127.0.0.1:8080`.
    pub listen: Vec<Listen>,
    /// Threads that serve requests, each with a runtime and a pool of its own. 0, the default: one per core.
    pub workers: usize,
    /// Peers whose forwarding fields are believed. Default: nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// Which of their fields. Default `x-forwarded-for`.
    pub trusted_header: TrustedHeader,
    /// Every connection begins with a PROXY header, from trusted proxies only. Default `false`.
    pub proxy_protocol: bool,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Limits.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Listen {
                place: ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080))),
                scheme: None,
            }],
            workers: 0,
            trusted_proxies: Vec::new(),
            trusted_header: TrustedHeader::default(),
            proxy_protocol: false,
            tls: None,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}

/// The fields that a trusted proxy sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustedHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`, `-Host` and `-Port`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub place: ListenAddress,
    /// As written before the address; `None`: TLS over TCP if a certificate is configured, plain on a Unix socket.
    pub scheme: Option<Scheme>,
}

/// Where clients are expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A Unix socket at this path. Its clients count as 127.0.0.1.
    Unix(PathBuf),
    /// The sockets that systemd passed under this name (`FileDescriptorName=`).
    Systemd(String),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Systemd(name) => write!(out, "systemd:{name}"),
        }
    }
}

/// How a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP without TLS.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Files of the listeners' certificate, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub cert_file: PathBuf,
    /// The leaf's private key.
    pub key_file: PathBuf,
    /// Authorities of whom a client must show a certificate; `None`: none is asked for.
    pub client_ca_file: Option<PathBuf>,
}

/// Deadlines on the client's side. There is none on a whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// First byte of a connection, and a whole request head once begun. Default 10 s.
    pub request_header: Duration,
    /// TLS handshake. Default 10 s.
    pub tls_handshake: Duration,
    /// Between two pieces of a request body. Default 60 s.
    pub request_body: Duration,
    /// Between two writes that a peer accepts: responses to clients, uploads to the dashboard, tunnels. Default 60 s.
    pub send: Duration,
    /// A connection without a request. Default 75 s.
    pub idle: Duration,
    /// An upgraded connection on which nothing moves. Default 1 h.
    pub tunnel_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_header: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(10),
            request_body: Duration::from_secs(60),
            send: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            tunnel_idle: Duration::from_secs(3600),
        }
    }
}

/// Limits on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections over all workers; those beyond are told 503 and closed. Default 16384.
    pub max_connections: usize,
    /// Size of a request head; 431 beyond. Default 64 KiB.
    pub max_header_bytes: usize,
    /// Number of fields in a request head; 431 beyond. Default 100.
    pub max_headers: usize,
    /// Requests at once on one HTTP/2 connection. Default 128.
    pub h2_max_concurrent_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 16384,
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            h2_max_concurrent_streams: 128,
        }
    }
}
