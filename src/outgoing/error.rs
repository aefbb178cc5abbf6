//! Errors of calls and of their setup.
//!
//! They contain no part of the request, no text of the response, and no proxy credentials; of a URL only host and port.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;

use super::proxies::ProxyError;
use crate::certificate;

/// Why an endpoint cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL in this setting is neither `http://host…` nor `https://host…`.
    #[error("{0} must be http://host/path or https://host/path")]
    Url(&'static str),
    /// The trust anchors for `https://` cannot be loaded.
    #[error("renewal.ca_file cannot be used")]
    Authorities(#[from] certificate::Error),
    /// The proxy that the environment configures for the URL cannot be used.
    #[error("the proxy in the environment cannot be used")]
    Proxy(#[source] ProxyError),
}

/// A failed call. The same failure always has the same text.
#[derive(Debug)]
pub struct Error {
    /// The endpoint, or the proxy on the way to it.
    pub peer: String,
    /// Whether the proxy failed, so that the request did not reach the endpoint.
    pub by_proxy: bool,
    /// What went wrong.
    pub cause: Cause,
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No complete response within the deadline.
    #[error("did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// No connection could be opened.
    #[error("cannot be reached")]
    Connect(#[source] io::Error),
    /// TLS failed: certificate, host name or protocol.
    #[error("has no trusted certificate, or TLS with it failed")]
    Tls(#[source] io::Error),
    /// The response is incomplete or not HTTP.
    #[error("sent an incomplete answer, or one that is not HTTP")]
    Http(#[from] hyper::Error),
    /// The request cannot be expressed in HTTP.
    #[error("cannot be called: the request cannot be expressed in HTTP")]
    Request(#[from] http::Error),
    /// An unexpected status.
    #[error("refused with status {}", status.as_u16())]
    Refused {
        /// The status.
        status: StatusCode,
        /// `Retry-After`, at most a day.
        retry_after: Option<Duration>,
    },
    /// The body is too large.
    #[error("sent an answer longer than {0} bytes")]
    TooLarge(usize),
}

impl Error {
    /// `Retry-After` of a refusal.
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
        // `Display` shows the cause itself.
        std::error::Error::source(&self.cause)
    }
}
