//! Why the database did not do what it was asked, in the terms of the store.

use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::certificate;
use crate::store::backend::Error;

/// Why the database could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("it was not there a moment ago and is not asked again yet")]
    Paused,
    #[error("the connection is closed")]
    Closed,
    #[error("its encoding is {0}: make it with the encoding UTF8")]
    Encoding(String),
    #[error("nothing was ever read of it")]
    Unread,
    #[error("{host} cannot be reached")]
    Unreached { host: String, source: io::Error },
    #[error("{host}")]
    Host { host: String, source: tokio_postgres::Error },
    #[error("{host} does not answer within {}", humantime::format_duration(*after))]
    SilentHost { host: String, after: Duration },
    #[error("{host} is read-only: name the server that takes writes, or wait until one does")]
    ReadOnly { host: String },
    #[error("TLS cannot be set up")]
    Tls(#[from] certificate::Error),
    #[error("it refuses")]
    Refused(#[from] tokio_postgres::Error),
    #[error("the change was not made: it got lost with the connection")]
    NotMade,
}

impl From<DatabaseError> for Error {
    fn from(trouble: DatabaseError) -> Self {
        match trouble.is_read_only() {
            true => Self::ReadOnly(Box::new(trouble)),
            false => Self::Unavailable(Box::new(trouble)),
        }
    }
}

impl DatabaseError {
    /// Whether the server is read-only: it refused a change, or is none that `target_session_attrs` asks for.
    fn is_read_only(&self) -> bool {
        let error = match self {
            Self::ReadOnly { .. } => return true,
            Self::Refused(error) | Self::Host { source: error, .. } => error,
            _ => return false,
        };
        // A standby's answer to `begin read write`, the only switch that is set; its words are in the server's language.
        let in_recovery = || {
            let error = error.as_db_error()?;
            let is_mode = error.routine() == Some("call_bool_check_hook");
            Some(*error.code() == SqlState::FEATURE_NOT_SUPPORTED && is_mode)
        };
        error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) || in_recovery() == Some(true)
    }
}

/// What an error of the database means to the store.
pub(super) fn error(error: tokio_postgres::Error) -> Error {
    match error.code() {
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME) => Error::SchemaLost,
        Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => {
            Error::Conflict
        }
        _ => DatabaseError::Refused(error).into(),
    }
}
