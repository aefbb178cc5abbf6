//! What goes wrong with a call, and before the first one.
//!
//! Neither what was sent nor the answer's text appears, nor a proxy's credentials, nor more of a URL than host and port.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;

use super::proxies::ProxyError;
use crate::certificate;

/// Why calls cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL of this setting is neither `http://host…` nor `https://host…`.
    #[error("{0} must be http://host/path or https://host/path")]
    Url(&'static str),
    /// Nobody is trusted who could vouch for an `https://` URL.
    #[error("renewal.ca_file cannot be used")]
    Authorities(#[from] certificate::Error),
    /// The environment names a proxy for the URL that cannot be used.
    #[error("the environment's proxy cannot be used")]
    Proxy(#[source] ProxyError),
}

/// A call that failed: who failed, and how. A line of it is the same each time the same thing goes wrong.
#[derive(Debug)]
pub struct Error {
    /// The endpoint, or the proxy on the way to it.
    pub peer: String,
    /// Whether it is the proxy, and the endpoint heard nothing.
    pub by_proxy: bool,
    /// How.
    pub cause: Cause,
}

/// How a call fails.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No whole answer within the deadline.
    #[error("did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// No connection.
    #[error("cannot be reached")]
    Connect(#[source] io::Error),
    /// TLS failed: certificate, name or protocol.
    #[error("is not trusted, or its TLS fails")]
    Tls(#[source] io::Error),
    /// The answer broke off or is not HTTP.
    #[error("broke off its answer or does not speak HTTP")]
    Http(#[from] hyper::Error),
    /// The request cannot be written as HTTP.
    #[error("cannot be asked: the request cannot be written")]
    Request(#[from] http::Error),
    /// A status other than was asked for.
    #[error("refused with status {}", status.as_u16())]
    Refused {
        /// Which.
        status: StatusCode,
        /// How long to leave it alone (`Retry-After`), at most a day.
        retry_after: Option<Duration>,
    },
    /// A body that is too large.
    #[error("gave an answer longer than {0} bytes")]
    TooLarge(usize),
}

impl Error {
    /// For how long the peer that refused wants no further call.
    pub const fn retry_after(&self) -> Option<Duration> {
        match &self.cause {
            Cause::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.peer, self.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // `Display` has shown the cause's own line.
        std::error::Error::source(&self.cause)
    }
}
