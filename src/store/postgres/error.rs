//! Errors of the database, and the store's error for each.

use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::certificate;
use crate::store::backend::Error;

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("no response within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("it failed a moment ago; the next attempt follows soon")]
    Paused,
    #[error("the connection is closed")]
    Closed,
    #[error("its encoding is {0}: create the database with the encoding UTF8")]
    Encoding(String),
    #[error("it has not been read since the start")]
    Unread,
    #[error("{host} cannot be reached")]
    Unreached { host: String, source: io::Error },
    #[error("{host}")]
    Host { host: String, source: tokio_postgres::Error },
    #[error("{host} does not respond within {}", humantime::format_duration(*after))]
    SilentHost { host: String, after: Duration },
    #[error(
        "{host} is read-only: name the server that accepts writes in store.url, or wait until one does"
    )]
    ReadOnly { host: String },
    #[error("TLS cannot be set up")]
    Tls(#[from] certificate::Error),
    #[error("the query failed")]
    Refused(#[from] tokio_postgres::Error),
    #[error("the change was lost with the connection, and was not made")]
    NotMade,
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        match error.is_read_only() {
            true => Self::ReadOnly(Box::new(error)),
            false => Self::Unavailable(Box::new(error)),
        }
    }
}

impl DatabaseError {
    /// Whether the server is read-only: it refused a change, or does not meet `target_session_attrs`.
    fn is_read_only(&self) -> bool {
        let error = match self {
            Self::ReadOnly { .. } => return true,
            Self::Refused(error) | Self::Host { source: error, .. } => error,
            _ => return false,
        };
        // A standby refuses `begin read write` with this code; the message depends on the server's language.
        let in_recovery = || {
            let error = error.as_db_error()?;
            let is_mode = error.routine() == Some("call_bool_check_hook");
            Some(*error.code() == SqlState::FEATURE_NOT_SUPPORTED && is_mode)
        };
        error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) || in_recovery() == Some(true)
    }
}

/// Converts an error of the database.
pub(super) fn error(error: tokio_postgres::Error) -> Error {
    match error.code() {
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME) => Error::SchemaLost,
        Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => {
            Error::Conflict
        }
        _ => DatabaseError::Refused(error).into(),
    }
}
