//! Why a request to the dashboard got no response, or an incomplete one.

use std::error::Error as StdError;
use std::io;

use crate::codec;

/// Why a request got no response, or an incomplete one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("cannot connect to the upstream {origin}")]
    Connect {
        /// Host and port.
        origin: String,
        /// The system's reason.
        source: io::Error,
    },
    /// `upstream.connect_timeout` passed.
    #[error("the upstream {origin} did not accept a connection in time")]
    ConnectTimeout {
        /// Host and port.
        origin: String,
    },
    /// All file descriptors for connections to the dashboard are in use.
    #[error(
        "all file descriptors for connections to the upstream are in use; raise the limit of open files"
    )]
    Full,
    /// The TLS handshake failed.
    #[error("TLS with the upstream {origin} failed")]
    Tls {
        /// Host and port.
        origin: String,
        /// The kind of failure.
        fault: TlsFault,
        /// The cause.
        source: io::Error,
    },
    /// The upstream accepted no part of the request for `timeouts.send`.
    #[error("the upstream accepted no part of the request in time")]
    SendTimeout,
    /// `upstream.response_header_timeout` passed.
    #[error("the upstream did not send a response in time")]
    HeaderTimeout,
    /// The connection ended before the response.
    #[error("the upstream closed the connection before its response was complete")]
    Closed {
        /// Whether no byte of a response was received.
        unanswered: bool,
        /// The system's reason; `None` if the upstream closed the connection regularly.
        source: Option<io::Error>,
    },
    /// The response is not valid HTTP/1.1 (RFC 9112), or not one to this request.
    #[error("the upstream's response is not valid HTTP: {0}")]
    InvalidResponse(&'static str),
    /// The body of the response is not framed as RFC 9112 section 7 requires.
    #[error("the upstream's response is not valid HTTP")]
    Framing(#[source] codec::FramingError),
    /// The response, or the connection, violates HTTP/2 (RFC 9113).
    #[error("the upstream's response is not valid HTTP/2")]
    Protocol(#[source] h2::Error),
    /// The request cannot be expressed in HTTP/2. Not the upstream's fault.
    #[error("the request cannot be forwarded: {0}")]
    Unsendable(&'static str),
    /// The request's body failed while it was sent. Not the upstream's fault.
    #[error("the request body could not be read")]
    RequestBody(#[source] Box<dyn StdError + Send + Sync>),
    /// The response is larger than the caller accepts.
    #[error("the upstream's response is larger than expected")]
    TooLarge,
}

/// Interim responses are limited: a dashboard that sends nothing else would never complete the request.
pub(super) const ENDLESS_INTERIM: Error =
    Error::InvalidResponse("its interim responses are too large");

/// A request body is shorter than its `Content-Length`.
pub(super) const SHORT: &str = "the request body ended before its Content-Length";

/// How TLS failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The dashboard's certificate is not trusted.
    Certificate,
    /// The dashboard sent an alert, for example because it requires a client certificate.
    Alert,
    /// Anything else.
    Protocol,
}

impl TlsFault {
    /// The TLS fault in an error of a TLS stream; `None` if the socket failed.
    pub(super) fn within(error: &io::Error) -> Option<Self> {
        Some(match error.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Self::Certificate
            }
            rustls::Error::AlertReceived(_) => Self::Alert,
            _ => Self::Protocol,
        })
    }
}

impl Error {
    /// Whether the dashboard cannot be reached, or sends no valid response. `false`: it has responded, or the gate or the client is at
    /// fault.
    pub const fn is_failed_contact(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::SendTimeout
            | Self::HeaderTimeout
            | Self::Closed { .. }
            | Self::InvalidResponse(_)
            | Self::Framing(_)
            | Self::Protocol(_) => true,
            Self::Full | Self::Unsendable(_) | Self::RequestBody(_) | Self::TooLarge => false,
        }
    }

    /// How TLS failed, if it did. With TLS 1.3 the dashboard's word on our certificate comes after the handshake.
    pub fn tls_fault(&self) -> Option<TlsFault> {
        match self {
            Self::Tls { fault, .. } => Some(*fault),
            Self::Closed { source: Some(source), .. } => TlsFault::within(source),
            _ => None,
        }
    }
}
