//! Why a caller may not, or could not be checked.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::grants::Action;
use crate::upstream;

/// For one answer of the dashboard, and for a password to wait for its check.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Why a caller may not. Says nothing of the credentials it was given.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Denied {
    /// No credentials at all.
    #[error("no credentials")]
    NoCredentials,
    /// An `Authorization` field nobody can read.
    #[error("the Authorization field is malformed or sent twice")]
    Malformed,
    /// A Bearer token, or Basic user `api_key`.
    #[error("service account tokens cannot be used here")]
    ServiceAccount,
    /// Whoever knows the callers does not know this one.
    #[error("{message}")]
    Refused {
        /// Stable code, the dashboard's own if it gave one.
        code: String,
        /// The dashboard's own message if it gave one.
        message: String,
    },
    /// A page of another origin made the browser ask.
    #[error("origin not allowed")]
    Origin,
    /// Too many failed sign-ins from the client's address.
    #[error("too many failed sign-ins")]
    TooManyFailures {
        /// When to come again.
        retry_after: Duration,
    },
    /// Too many questions about callers are in flight.
    #[error("too many sign-ins are being checked")]
    Busy,
    /// The caller is known and lacks the permission.
    #[error("{name} lacks {}", .action.permission())]
    Forbidden {
        /// What the caller asked for.
        action: Action,
        /// The caller's name.
        name: String,
    },
    /// Nobody could be asked, or the answer made no sense.
    #[error("the caller could not be checked")]
    Unavailable(#[source] Arc<LookupError>),
}

impl From<LookupError> for Denied {
    fn from(error: LookupError) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

/// Why there are no statistics for a caller.
#[derive(Debug, thiserror::Error)]
pub enum StatisticsError {
    /// Callers are not the dashboard's, and their credentials mean nothing to it.
    #[error("there are no statistics in local mode")]
    Local,
    /// The dashboard does not know the caller after all.
    #[error(transparent)]
    Denied(Denied),
    /// The dashboard does not show them to the caller.
    #[error("the dashboard does not show its statistics to the caller")]
    Forbidden,
    /// It gave no usable answer.
    #[error("the dashboard gave no statistics")]
    Unavailable(#[from] LookupError),
}

/// Why the dashboard gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It could not be reached, or broke off.
    #[error("the dashboard could not be asked for {path}")]
    Upstream {
        /// What was asked for.
        path: String,
        /// Why not.
        source: upstream::Error,
    },
    /// It took longer than 10 s.
    #[error("the dashboard did not answer {path} within {} s", DEADLINE.as_secs())]
    Timeout {
        /// What was asked for.
        path: String,
    },
    /// It answered with a status that is no answer to the question.
    #[error("the dashboard answered {path} with status {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// Its answer.
        status: StatusCode,
    },
    /// It answered something else than JSON of the right shape.
    #[error("the dashboard's answer to {path} is not the JSON it should be")]
    NotJson {
        /// What was asked for.
        path: String,
    },
    /// The configured path cannot be asked for.
    #[error("{path} cannot be asked for")]
    Path {
        /// The path.
        path: String,
        /// Why not.
        source: http::Error,
    },
    /// The caller could not be checked: the gate is stopping, or a defect.
    #[error("the check of a caller was interrupted")]
    Interrupted(#[source] Option<tokio::task::JoinError>),
}
