//! Settings of the client's side: addresses, certificate files, deadlines, limits.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Settings of the client's side.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on. Default `127.0.0.1:8080`.
    pub listen: Vec<Listen>,
    /// Plain addresses that redirect to `server.root_url`. Default: none.
    pub redirect: Vec<Listen>,
    /// The webroot of an ACME client, which the redirect addresses serve challenges from. Default: none.
    pub acme_dir: Option<PathBuf>,
    /// Threads that serve requests, each with its own runtime and connection pool. Default 0: one per core.
    pub workers: usize,
    /// Networks of proxies that are trusted: their forwarding fields are used. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// The forwarding fields that trusted proxies set. Default `x-forwarded-for`.
    pub trusted_header: TrustedHeader,
    /// Every connection begins with a PROXY header, from trusted proxies only. Default `false`.
    pub proxy_protocol: bool,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// `max-age` of `Strict-Transport-Security` on responses over TLS, in whole seconds. Default 0: the field is not added.
    pub hsts: Duration,
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
            redirect: Vec::new(),
            acme_dir: None,
            workers: 0,
            trusted_proxies: Vec::new(),
            trusted_header: TrustedHeader::default(),
            proxy_protocol: false,
            tls: None,
            hsts: Duration::ZERO,
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
    /// The address.
    pub place: ListenAddress,
    /// As written before the address; `None`: TLS over TCP if a certificate is configured, plain on a Unix socket.
    pub scheme: Option<Scheme>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP. Port 0: a free port.
    Tcp(SocketAddr),
    /// A Unix socket at this path. Its clients have the address 127.0.0.1.
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

/// HTTP with or without TLS.
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

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// Files of the listeners' certificate, PEM, and the versions that it is used with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub cert_file: PathBuf,
    /// The leaf's private key.
    pub key_file: PathBuf,
    /// Certificate authorities for client certificates, which are then required; `None`: no client certificates.
    pub client_ca_file: Option<PathBuf>,
    /// The lowest version that is accepted. Default 1.2.
    pub min_version: TlsVersion,
}

/// Deadlines of the client's side. A request as a whole has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the first byte of a connection, and for a request head once it has begun. Default 10 s.
    pub request_header: Duration,
    /// For the TLS handshake. Default 10 s.
    pub tls_handshake: Duration,
    /// Between two pieces of a request body. Default 60 s.
    pub request_body: Duration,
    /// Between two writes that a peer accepts: responses to clients, uploads to the dashboard, tunnels. Default 60 s.
    pub send: Duration,
    /// For a connection without a request. Default 75 s.
    pub idle: Duration,
    /// For a tunnel without traffic. Default 1 h.
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
    /// Open client connections of all workers; further ones get 503 and are closed. Default 16384.
    pub max_connections: usize,
    /// Size of a request head; 431 above. Default 64 KiB.
    pub max_header_bytes: usize,
    /// Number of fields in a request head; 431 above. Default 100.
    pub max_headers: usize,
    /// Concurrent streams of one HTTP/2 connection. Default 128.
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
