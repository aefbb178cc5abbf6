//! Why a request to the dashboard got no answer, or not all of it.

use std::error::Error as StdError;
use std::io;

use crate::codec;

/// Why a request got no (whole) answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
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
    #[error("the gate has as many connections to the upstream as it has file descriptors for")]
    Full,
    /// TLS did not come about, or broke.
    #[error("no TLS with the upstream {origin}")]
    Tls {
        /// Host and port.
        origin: String,
        /// Whose doing.
        fault: TlsFault,
        /// What was wrong.
        source: io::Error,
    },
    /// `timeouts.send` passed while part of the request waited for the upstream to accept it.
    #[error("the upstream accepted no part of the request in time")]
    SendTimeout,
    /// `upstream.response_header_timeout` passed.
    #[error("the upstream did not answer in time")]
    HeaderTimeout,
    /// The connection ended before the answer did.
    #[error("the upstream closed the connection before its answer was complete")]
    Closed {
        /// Whether not one byte of an answer had come.
        unanswered: bool,
        /// The system's reason; none when the upstream simply closed.
        source: Option<io::Error>,
    },
    /// The answer is not HTTP/1.1 as RFC 9112 has it.
    #[error("the upstream's answer is not valid HTTP: {0}")]
    InvalidResponse(&'static str),
    /// The answer's body is not framed as RFC 9112 section 7 has it.
    #[error("the upstream's answer is not valid HTTP")]
    Framing(#[source] codec::FramingError),
    /// The answer, or all the dashboard says, is not HTTP/2 as RFC 9113 has it.
    #[error("the upstream's answer breaks the rules of HTTP/2")]
    Protocol(#[source] h2::Error),
    /// The request cannot be expressed in HTTP/2; not the upstream's fault.
    #[error("the request cannot be forwarded: {0}")]
    Unsendable(&'static str),
    /// The request's body failed while it was sent; not the upstream's fault.
    #[error("the request body could not be read")]
    RequestBody(#[source] Box<dyn StdError + Send + Sync>),
    /// A small answer was expected and a large one came.
    #[error("the upstream's answer is larger than expected")]
    TooLarge,
}

/// Interim answers carry nothing on: a dashboard that sends no other would be waited for without end.
pub(super) const ENDLESS_INTERIM: Error =
    Error::InvalidResponse("its interim responses are too large");

/// Why a request's body is refused that is shorter than its head says.
pub(super) const SHORT: &str = "the request body ended before its Content-Length";

/// How TLS failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The dashboard's certificate is not to be trusted.
    Certificate,
    /// The dashboard sent an alert; it wants a certificate, say.
    Alert,
    /// Anything else.
    Protocol,
}

impl TlsFault {
    /// The fault of TLS within an error of its stream; `None` when it is the socket's.
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
