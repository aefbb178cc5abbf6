//! Why a caller is not authorized, or could not be checked.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::grants::Action;
use crate::upstream;

/// Deadline for one response of the dashboard, and for the wait until a password can be checked.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Why a caller is not authorized. Credentials are not shown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Denied {
    /// The request has no credentials.
    #[error("no credentials")]
    NoCredentials,
    /// The `Authorization` field cannot be parsed.
    #[error("the Authorization field is malformed or sent twice")]
    Malformed,
    /// A Bearer token, or the Basic user `api_key`.
    #[error("service account tokens cannot be used here")]
    ServiceAccount,
    /// The dashboard, or the list of local users, refused the credentials.
    #[error("{message}")]
    Refused {
        /// Stable code; that of the dashboard if it sent one.
        code: String,
        /// Message; that of the dashboard if it sent one.
        message: String,
    },
    /// The request was sent by a page of another origin.
    #[error("origin not allowed")]
    Origin,
    /// Too many failed sign-ins from the client's address.
    #[error("too many failed sign-ins")]
    TooManyFailures {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many checks are in flight.
    #[error("too many sign-ins are being checked")]
    Busy,
    /// The caller is known but lacks the permission.
    #[error("{name} lacks {}", .action.permission())]
    Forbidden {
        /// The requested action.
        action: Action,
        /// The caller's name.
        name: String,
    },
    /// The check failed.
    #[error("the caller could not be checked")]
    Unavailable(#[source] Arc<LookupError>),
}

impl From<LookupError> for Denied {
    fn from(error: LookupError) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

/// Why the statistics could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StatisticsError {
    /// With `mode = "local"`, the caller's credentials are not those of the dashboard.
    #[error("there are no statistics in local mode")]
    Local,
    /// The dashboard refused the caller's credentials.
    #[error(transparent)]
    Denied(Denied),
    /// The caller may not read the statistics.
    #[error("the dashboard refused its statistics to the caller")]
    Forbidden,
    /// The dashboard's response is not that of its statistics.
    #[error("the dashboard sent something else than statistics")]
    NotStatistics,
    /// The dashboard sent no usable response.
    #[error("the dashboard sent no statistics")]
    Unavailable(#[from] LookupError),
}

/// Why the dashboard sent no usable response.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The request failed.
    #[error("the request to the dashboard for {path} failed")]
    Upstream {
        /// The requested path.
        path: String,
        /// The cause.
        source: upstream::Error,
    },
    /// No response within 10 s.
    #[error("no response of the dashboard to {path} within {} s", DEADLINE.as_secs())]
    Timeout {
        /// The requested path.
        path: String,
    },
    /// An unexpected status.
    #[error("the dashboard's response to {path} has status {status}{}", advice(*status))]
    Status {
        /// The requested path.
        path: String,
        /// The status.
        status: StatusCode,
    },
    /// The response is not JSON of the expected shape.
    #[error("the dashboard's response to {path} is not the expected JSON")]
    NotJson {
        /// The requested path.
        path: String,
    },
    /// The configured path cannot be requested.
    #[error("{path} cannot be requested")]
    Path {
        /// The path.
        path: String,
        /// The cause.
        source: http::Error,
    },
    /// The check ended early: the gate stops, or the check panicked.
    #[error("the check of a caller was interrupted")]
    Interrupted(#[source] Option<tokio::task::JoinError>),
}

impl LookupError {
    /// Whether the dashboard responded, but not as Grafana's user API does.
    pub const fn is_response(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::NotJson { .. })
    }
}

fn advice(status: StatusCode) -> &'static str {
    if status == StatusCode::NOT_FOUND {
        ": a dashboard without Grafana's user API needs auth.mode = \"local\" and [[auth.users]]"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_without_user_api_leads_to_local_users() {
        let error = |status| LookupError::Status { path: "/api/user".to_owned(), status };
        assert!(error(StatusCode::NOT_FOUND).to_string().contains(r#"auth.mode = "local""#));
        assert!(!error(StatusCode::BAD_GATEWAY).to_string().contains("auth.mode"));
    }
}
