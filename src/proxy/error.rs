//! Why forwarding failed, and the response for it: the status shows which side is at fault, `Proxy-Status` (RFC 9209) the kind of error.

use std::io;

use http::StatusCode;
use http::header::{CONNECTION, HeaderValue};

use crate::downstream::BodyError;
use crate::problem::Problem;
use crate::telemetry::access::Flag;
use crate::telemetry::metrics::UpstreamErrorKind;
use crate::upstream::{self, TlsFault};

/// Why a request was not forwarded, or got no response.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The request has passed through this gate before.
    #[error(
        "the request has come back to this gate: upstream.url must not lead to the gate itself"
    )]
    Loop,
    /// The upstream request failed.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
}

/// How a failure is reported.
#[derive(Clone, Copy, Debug)]
struct Report {
    status: StatusCode,
    /// `messageId`.
    code: &'static str,
    message: &'static str,
    /// The error type of RFC 9209 section 2.3; `None` if the client is at fault.
    proxy_error: Option<&'static str>,
    /// The label in the metrics; `None` if the dashboard was not involved.
    kind: Option<UpstreamErrorKind>,
    /// The flag in the access log.
    flag: Option<Flag>,
}

impl ForwardError {
    /// The label in the metrics; `None` if the dashboard was not involved.
    pub fn kind(&self) -> Option<UpstreamErrorKind> {
        self.report().kind
    }

    /// The flag in the access log.
    pub fn flag(&self) -> Option<Flag> {
        self.report().flag
    }

    /// The table of failures.
    fn report(&self) -> Report {
        use UpstreamErrorKind as Kind;
        use upstream::Error;
        let upstream = match self {
            Self::Loop => {
                return Report {
                    status: StatusCode::LOOP_DETECTED,
                    code: "upstream.loop",
                    message: "The request came back to this gate: upstream.url must not lead to the gate itself.",
                    proxy_error: Some("proxy_loop_detected"),
                    kind: None,
                    flag: None,
                };
            }
            Self::Upstream(error) => error,
        };
        if let Some(fault) = upstream.tls_fault() {
            return Report {
                status: StatusCode::BAD_GATEWAY,
                code: "upstream.tls",
                message: "No secure connection to the dashboard could be made. The log says why.",
                proxy_error: Some(match fault {
                    TlsFault::Certificate => "tls_certificate_error",
                    TlsFault::Alert => "tls_alert_received",
                    TlsFault::Protocol => "tls_protocol_error",
                }),
                kind: Some(Kind::Tls),
                flag: Some(Flag::ConnectFailed),
            };
        }
        match upstream {
            Error::Connect { source, .. } => Report {
                status: StatusCode::BAD_GATEWAY,
                code: "upstream.unreachable",
                message: "The dashboard cannot be reached. Check that it runs, and upstream.url.",
                proxy_error: Some(match source.kind() {
                    io::ErrorKind::ConnectionRefused => "connection_refused",
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        "destination_ip_unroutable"
                    }
                    _ => "destination_unavailable",
                }),
                kind: Some(Kind::Connect),
                flag: Some(Flag::ConnectFailed),
            },
            Error::ConnectTimeout { .. } => Report {
                status: StatusCode::GATEWAY_TIMEOUT,
                code: "upstream.connect-timeout",
                message: "The dashboard did not accept a connection in time.",
                proxy_error: Some("connection_timeout"),
                kind: Some(Kind::ConnectTimeout),
                flag: Some(Flag::TimedOut),
            },
            Error::Full => Report {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "gate.full",
                message: "The gate cannot open more connections to the dashboard: try again later.",
                proxy_error: Some("connection_limit_reached"),
                kind: None,
                flag: None,
            },
            // Unreachable: every such error has a TLS fault.
            Error::Tls { .. } => Report {
                status: StatusCode::BAD_GATEWAY,
                code: "upstream.tls",
                message: "No secure connection to the dashboard could be made. The log says why.",
                proxy_error: Some("tls_protocol_error"),
                kind: Some(Kind::Tls),
                flag: Some(Flag::ConnectFailed),
            },
            Error::SendTimeout => Report {
                status: StatusCode::GATEWAY_TIMEOUT,
                code: "upstream.send-timeout",
                message: "The dashboard accepts no more of the request. Check that it reads request bodies.",
                proxy_error: Some("connection_write_timeout"),
                kind: Some(Kind::SendTimeout),
                flag: Some(Flag::TimedOut),
            },
            Error::HeaderTimeout => Report {
                status: StatusCode::GATEWAY_TIMEOUT,
                code: "upstream.timeout",
                message: "The dashboard did not respond in time.",
                proxy_error: Some("http_response_timeout"),
                kind: Some(Kind::HeaderTimeout),
                flag: Some(Flag::TimedOut),
            },
            Error::Closed { unanswered, .. } => Report {
                status: StatusCode::BAD_GATEWAY,
                code: "upstream.closed",
                message: "The dashboard closed the connection before its response was complete.",
                proxy_error: Some(match unanswered {
                    true => "connection_terminated",
                    false => "http_response_incomplete",
                }),
                kind: Some(Kind::Closed),
                flag: Some(Flag::CutByUpstream),
            },
            Error::InvalidResponse(_) | Error::Framing(_) | Error::Protocol(_) => Report {
                status: StatusCode::BAD_GATEWAY,
                code: "upstream.invalid-answer",
                message: "The dashboard's response is not valid HTTP.",
                proxy_error: Some("http_protocol_error"),
                kind: Some(Kind::InvalidResponse),
                flag: Some(Flag::CutByUpstream),
            },
            Error::TooLarge => Report {
                status: StatusCode::BAD_GATEWAY,
                code: "upstream.invalid-answer",
                message: "The dashboard's response is not valid HTTP.",
                proxy_error: Some("http_response_body_size"),
                kind: Some(Kind::TooLarge),
                flag: Some(Flag::CutByUpstream),
            },
            Error::Unsendable(_) => Report {
                status: StatusCode::BAD_REQUEST,
                code: "request.unsendable",
                message: "This request cannot be expressed in HTTP/2, which the dashboard connection uses.",
                proxy_error: None,
                kind: None,
                flag: None,
            },
            Error::RequestBody(source) => {
                let is_late = matches!(source.downcast_ref(), Some(BodyError::Timeout));
                let (status, code, message) = match is_late {
                    true => (
                        StatusCode::REQUEST_TIMEOUT,
                        "request.body-timeout",
                        "The request body did not arrive in time.",
                    ),
                    false => (
                        StatusCode::BAD_REQUEST,
                        "request.body-broken",
                        "The request body broke off or is malformed.",
                    ),
                };
                Report {
                    status,
                    code,
                    message,
                    proxy_error: None,
                    kind: Some(Kind::RequestBody),
                    flag: Some(Flag::ClientLeft),
                }
            }
        }
    }
}

impl From<ForwardError> for Problem {
    fn from(error: ForwardError) -> Self {
        let Report { status, code, message, proxy_error, .. } = error.report();
        let problem = Self::new(status, code, message);
        let problem = match status {
            StatusCode::SERVICE_UNAVAILABLE => problem.retry_after(1),
            _ => problem,
        };
        let problem = match proxy_error {
            Some(named) => problem.proxy_error(named),
            None => problem.header(CONNECTION, HeaderValue::from_static("close")),
        };
        problem.caused_by(error)
    }
}
