//! Why forwarding failed, and what the client is told: whose fault, as status; which, as `Proxy-Status` (RFC 9209).

use std::io;

use http::StatusCode;
use http::header::{CONNECTION, HeaderName, HeaderValue, RETRY_AFTER};

use crate::downstream::BodyError;
use crate::problem::Problem;
use crate::telemetry::access::Flag;
use crate::telemetry::metrics::UpstreamErrorKind;
use crate::upstream::{self, TlsFault};

/// RFC 9209.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Why a request was not forwarded, or not answered.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The request has been through this very gate before.
    #[error("the request has come back to this gate: upstream.url leads to the gate itself")]
    Loop,
    /// The dashboard's side.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
}

const NO_TLS: (StatusCode, &str, &str) = (
    StatusCode::BAD_GATEWAY,
    "upstream.tls",
    "No secure connection to the dashboard could be made. The log says why.",
);

impl ForwardError {
    /// What went wrong, as RFC 9209 section 2.3 names it; `None` when it was the client.
    pub fn proxy_error(&self) -> Option<&'static str> {
        if let Self::Upstream(error) = self
            && let Some(fault) = error.tls_fault()
        {
            return Some(match fault {
                TlsFault::Certificate => "tls_certificate_error",
                TlsFault::Alert => "tls_alert_received",
                TlsFault::Protocol => "tls_protocol_error",
            });
        }
        Some(match self {
            Self::Loop => "proxy_loop_detected",
            Self::Upstream(error) => match error {
                upstream::Error::Connect { source, .. } => match source.kind() {
                    io::ErrorKind::ConnectionRefused => "connection_refused",
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        "destination_ip_unroutable"
                    }
                    _ => "destination_unavailable",
                },
                upstream::Error::ConnectTimeout { .. } => "connection_timeout",
                upstream::Error::Full => "connection_limit_reached",
                upstream::Error::Tls { .. } => "tls_protocol_error",
                upstream::Error::SendTimeout => "connection_write_timeout",
                upstream::Error::HeaderTimeout => "http_response_timeout",
                upstream::Error::Closed { unanswered: true, .. } => "connection_terminated",
                upstream::Error::Closed { unanswered: false, .. } => "http_response_incomplete",
                upstream::Error::Nonsense(_)
                | upstream::Error::Framing(_)
                | upstream::Error::Protocol(_) => "http_protocol_error",
                upstream::Error::TooLarge => "http_response_body_size",
                upstream::Error::RequestBody(_) | upstream::Error::Unsendable(_) => return None,
            },
        })
    }

    /// By what it is counted; `None` when the dashboard had no part in it.
    pub fn kind(&self) -> Option<UpstreamErrorKind> {
        Some(match self {
            Self::Loop => return None,
            Self::Upstream(error) => match error {
                upstream::Error::Connect { .. } => UpstreamErrorKind::Connect,
                upstream::Error::ConnectTimeout { .. } => UpstreamErrorKind::ConnectTimeout,
                upstream::Error::Tls { .. } => UpstreamErrorKind::Tls,
                upstream::Error::Closed { .. } if error.tls_fault().is_some() => {
                    UpstreamErrorKind::Tls
                }
                upstream::Error::SendTimeout => UpstreamErrorKind::SendTimeout,
                upstream::Error::HeaderTimeout => UpstreamErrorKind::HeaderTimeout,
                upstream::Error::Closed { .. } => UpstreamErrorKind::Closed,
                upstream::Error::Nonsense(_)
                | upstream::Error::Framing(_)
                | upstream::Error::Protocol(_) => UpstreamErrorKind::Nonsense,
                upstream::Error::Unsendable(_) | upstream::Error::Full => return None,
                upstream::Error::TooLarge => UpstreamErrorKind::TooLarge,
                upstream::Error::RequestBody(_) => UpstreamErrorKind::RequestBody,
            },
        })
    }

    /// As the access log flags it.
    pub fn flag(&self) -> Option<Flag> {
        match self.kind()? {
            UpstreamErrorKind::Connect | UpstreamErrorKind::Tls => Some(Flag::ConnectFailed),
            UpstreamErrorKind::ConnectTimeout
            | UpstreamErrorKind::SendTimeout
            | UpstreamErrorKind::HeaderTimeout => Some(Flag::TimedOut),
            UpstreamErrorKind::Closed
            | UpstreamErrorKind::Nonsense
            | UpstreamErrorKind::TooLarge => Some(Flag::CutByUpstream),
            UpstreamErrorKind::RequestBody => Some(Flag::ClientLeft),
        }
    }

    fn told(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Loop => (
                StatusCode::LOOP_DETECTED,
                "upstream.loop",
                "The request came back to this gate: upstream.url leads to the gate itself.",
            ),
            Self::Upstream(error) => match error {
                upstream::Error::Connect { .. } => (
                    StatusCode::BAD_GATEWAY,
                    "upstream.unreachable",
                    "The dashboard cannot be reached. Check that it runs, and upstream.url.",
                ),
                upstream::Error::ConnectTimeout { .. } => (
                    StatusCode::GATEWAY_TIMEOUT,
                    "upstream.connect-timeout",
                    "The dashboard did not accept a connection in time.",
                ),
                upstream::Error::Full => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "gate.full",
                    "The gate has as many connections as it may. Try again.",
                ),
                upstream::Error::Tls { .. } => NO_TLS,
                upstream::Error::Closed { .. } if error.tls_fault().is_some() => NO_TLS,
                upstream::Error::SendTimeout => (
                    StatusCode::GATEWAY_TIMEOUT,
                    "upstream.send-timeout",
                    "The dashboard accepts no more of the request. Check that it reads what it is sent.",
                ),
                upstream::Error::HeaderTimeout => (
                    StatusCode::GATEWAY_TIMEOUT,
                    "upstream.timeout",
                    "The dashboard did not answer in time.",
                ),
                upstream::Error::Closed { .. } => (
                    StatusCode::BAD_GATEWAY,
                    "upstream.closed",
                    "The dashboard closed the connection before it had answered.",
                ),
                upstream::Error::Nonsense(_)
                | upstream::Error::Framing(_)
                | upstream::Error::Protocol(_)
                | upstream::Error::TooLarge => (
                    StatusCode::BAD_GATEWAY,
                    "upstream.invalid-answer",
                    "The dashboard's answer is not valid HTTP.",
                ),
                upstream::Error::Unsendable(_) => (
                    StatusCode::BAD_REQUEST,
                    "request.unsendable",
                    "The request cannot be said in HTTP/2, which the dashboard is asked in.",
                ),
                upstream::Error::RequestBody(source) => match source.downcast_ref() {
                    Some(BodyError::Timeout) => (
                        StatusCode::REQUEST_TIMEOUT,
                        "request.body-timeout",
                        "The request body did not come in time.",
                    ),
                    Some(BodyError::Broken(_) | BodyError::Closed(_) | BodyError::Malformed(_))
                    | None => (
                        StatusCode::BAD_REQUEST,
                        "request.body-broken",
                        "The request body broke off or is malformed.",
                    ),
                },
            },
        }
    }
}

impl From<ForwardError> for Problem {
    fn from(error: ForwardError) -> Self {
        let (status, code, message) = error.told();
        let problem = Self::new(status, code, message);
        let problem = match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                problem.header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => problem,
        };
        let problem = match error.proxy_error() {
            Some(named) => {
                let value = HeaderValue::try_from(format!("license-gate; error={named}"));
                value
                    .into_iter()
                    .fold(problem, |problem, value| problem.header(PROXY_STATUS, value))
            }
            None => problem.header(CONNECTION, HeaderValue::from_static("close")),
        };
        problem.caused_by(error)
    }
}
