//! Faults that the gate can run with, and the reasons why a change fails.

use std::io;
use std::path::PathBuf;

use super::backend::Error;
use super::record::Outcome;
use crate::clock::UnixTime;
use crate::license::{Rejection, RevocationError};

/// A fault of the store that the gate can run with.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Changes fail until it can be written.
    #[error("the store cannot be written: licenses can be read, not changed")]
    NotWritable(#[source] Error),
    /// There may be a license; it is not in force.
    #[error("the content of the store cannot be read")]
    NotReadable(#[source] Error),
    /// There may be a license; it is not in force.
    #[error(
        "no trusted key: the stored license cannot be verified; it is kept, and is not in force: check license.keys"
    )]
    NoKeys,
    /// The stored token does not verify with the trusted keys; it is not in force.
    #[error(
        "the stored license does not verify with the trusted keys; it is kept, and is not in force: \
         check license.keys, or install the license again if the file is damaged"
    )]
    NotTrusted {
        /// Why it does not verify.
        #[source]
        reason: Rejection,
    },
    /// The stored file is not a license.
    #[error("the stored license does not verify and was moved to {}", to.display())]
    SetAside {
        /// Its new path.
        to: PathBuf,
        /// Why it does not verify.
        #[source]
        reason: Rejection,
    },
    /// The stored file is not a license, and stays.
    #[error("the stored license does not verify ({reason}) and could not be moved")]
    NotSetAside {
        /// Why it does not verify.
        reason: Rejection,
        /// Why it could not be moved.
        source: Error,
    },
    /// The token in the database is not a license.
    #[error(
        "the license in the database does not verify and is ignored; the former one stays in force"
    )]
    Forged {
        /// Why it does not verify.
        #[source]
        reason: Rejection,
    },
    /// The stored revocation list is not used.
    #[error("the stored revocation list does not verify and is ignored")]
    Revocations(#[source] RevocationError),
    /// The newest time in the database is far ahead of this clock, and is not used.
    #[error(
        "the newest time in the database is {at}, more than a day ahead of this clock; it is not used: \
         check the clock, or set newest_time to null"
    )]
    FarAhead {
        /// The time in the database.
        at: UnixTime,
    },
    /// The audit lines that the last run left in `store.copy` cannot be read.
    #[error(
        "unrecorded.json in store.copy cannot be parsed, and its audit lines are not recorded: \
         save the file before a failed change overwrites it"
    )]
    Unrecorded(#[source] serde_json::Error),
    /// A crash came between an audit line and its change.
    #[error(
        "the last change in the audit log never took effect: the gate ended before it was made"
    )]
    Unfinished,
}

/// Why the stored license was not changed. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The license is not acceptable.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The license is not at the revision that the change is for.
    #[error("the license was changed since then")]
    Changed,
    /// The license was changed during its renewal.
    #[error("the license was changed while it was being renewed; the renewed one was discarded")]
    Superseded,
    /// The issuer returned another license.
    #[error("the issuer returned license {offered}, but license {installed} is in force")]
    OtherLicense {
        /// `lid` in force.
        installed: String,
        /// `lid` returned.
        offered: String,
    },
    /// The issuer returned an older token than the one in force.
    #[error(
        "the issuer returned a token issued at {offered}, but the one in force was issued at {installed}"
    )]
    Older {
        /// `iat` in force.
        installed: UnixTime,
        /// `iat` returned.
        offered: UnixTime,
    },
    /// The license to roll back to is not in the history.
    #[error("no former license has this jti")]
    NotFound,
    /// The license could not be stored.
    #[error("the license could not be stored; the former one stays in force")]
    NotStored(#[source] Error),
    /// The stored license could not be removed.
    #[error("the stored license could not be removed; it stays in force")]
    NotRemoved(#[source] Error),
    /// Whether the change is made is not known.
    #[error("the change was interrupted")]
    Interrupted(#[source] Interruption),
}

/// Why the result of a change is not known.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// The task ended early: the gate is stopping, or has a defect.
    #[error("it ended early")]
    Broken(#[source] tokio::task::JoinError),
    /// The task still runs after the longest wait.
    #[error("it is still running after 30 s: the disk does not respond")]
    Late,
}

/// Why a revocation list was not taken. The one accepted last stays in effect.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// It does not verify, or is older.
    #[error(transparent)]
    Refused(#[from] RevocationError),
    /// It could not be stored.
    #[error("the revocation list could not be stored; the former one stays in effect")]
    NotStored(#[source] Error),
    /// Whether the change is made is not known.
    #[error("the change was interrupted")]
    Interrupted(#[source] Interruption),
}

/// The result of reading `license.file`.
#[derive(Debug)]
pub enum Offering {
    /// The token has not changed.
    Same,
    /// The token is the license of the file from now on.
    Taken,
    /// The token verifies and is not valid now. The former one is, and stays until it has ended or this one is valid.
    Waits(Rejection),
    /// The key of the token is not trusted. The former one stays until it is.
    Unverified(Rejection),
    /// The content is not an acceptable license. The former one stays.
    Refused(Rejection),
    /// The file cannot be read. The former one stays.
    Unreadable(io::Error),
}

impl ChangeError {
    /// A stable code of the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.code(),
            Self::Changed => "changed",
            Self::Superseded => "superseded",
            Self::OtherLicense { .. } => "other-license",
            Self::Older { .. } => "older",
            Self::NotFound => "not-found",
            Self::NotStored(error) | Self::NotRemoved(error) => error.reason(),
            Self::Interrupted(_) => "interrupted",
        }
    }

    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Self::NotStored(Error::Conflict)
            | Self::NotRemoved(Error::Conflict)
            | Self::Rejected(_)
            | Self::Changed
            | Self::Superseded
            | Self::OtherLicense { .. }
            | Self::Older { .. }
            | Self::NotFound => Outcome::Refused,
            Self::NotStored(_) | Self::NotRemoved(_) | Self::Interrupted(_) => Outcome::Failed,
        }
    }
}

impl Error {
    /// A stable code of the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::File(_) => "not-stored",
            Self::Conflict => "conflict",
            Self::HandedOver => "handed-over",
            Self::Unavailable(_)
            | Self::ReadOnly(_)
            | Self::SchemaTooNew { .. }
            | Self::SchemaLost => "store-unavailable",
        }
    }
}
