//! What a start can find wrong, and why a change can fail.

use std::io;
use std::path::PathBuf;

use super::backend::Error;
use super::record::Outcome;
use crate::clock::UnixTime;
use crate::license::{Rejection, RevocationError};

/// What a start can find wrong and live with.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Changes will be answered with an error until it can be.
    #[error("the store cannot be written: licenses can be read, not changed")]
    NotWritable(#[source] Error),
    /// There may be a license, and it is not in force.
    #[error("what is stored cannot be read")]
    NotReadable(#[source] Error),
    /// There is a license, and it is left where it is.
    #[error("no trusted key: the stored license cannot be verified and is left where it is")]
    NoKeys,
    /// There is a license, by a key that is not trusted here; it is left where it is.
    #[error(
        "the stored license is not in force and is left where it is: check license.keys, or install it anew if it was damaged"
    )]
    NotTrusted {
        /// Which key is missing.
        #[source]
        reason: Rejection,
    },
    /// There was something else than a license.
    #[error("the stored license does not verify and was moved to {}", to.display())]
    SetAside {
        /// Its new name.
        to: PathBuf,
        /// What was wrong with it.
        #[source]
        reason: Rejection,
    },
    /// There is something else than a license.
    #[error("the stored license does not verify ({reason}) and could not be moved")]
    NotSetAside {
        /// What was wrong with it.
        reason: Rejection,
        /// Why it could not be moved.
        source: Error,
    },
    /// What another replica, or somebody else, put into the database is no license.
    #[error(
        "the license in the database does not verify and is ignored; the former one stays in force"
    )]
    Forged {
        /// What is wrong with it.
        #[source]
        reason: Rejection,
    },
    /// The revocations accepted last are not known.
    #[error("the stored revocation list does not verify and is ignored")]
    Revocations(#[source] RevocationError),
    /// The newest time that others keep makes no sense here, and no clock is held against it.
    #[error(
        "the database has seen {at}, which is more than a day ahead of this clock: it is not believed; check the clock, or set newest_time to null"
    )]
    FarAhead {
        /// What they say.
        at: UnixTime,
    },
    /// The audit lines that the last run left in its copy cannot be read.
    #[error(
        "unrecorded.json in store.copy cannot be read, and its audit lines are not recorded: read the file before the next change fails"
    )]
    Unrecorded(#[source] serde_json::Error),
    /// The audit log says that a change was made which was not: a crash came between the two.
    #[error("a change in the audit log never took effect: the gate ended before it did")]
    Unfinished,
}

/// Why the stored license was not changed. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The license brought, or put back, is not acceptable here and now.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The license was changed while the issuer was asked.
    #[error("the license was changed while it was being renewed; the renewed one was dropped")]
    Superseded,
    /// The issuer answered another license.
    #[error("the issuer answered license {offered}, license {installed} is in force")]
    OtherLicense {
        /// `lid` in force.
        installed: String,
        /// `lid` answered.
        offered: String,
    },
    /// The issuer answered an older token than the one in force.
    #[error(
        "the issuer answered a token issued {offered}, the one in force was issued {installed}"
    )]
    Older {
        /// `iat` in force.
        installed: UnixTime,
        /// `iat` answered.
        offered: UnixTime,
    },
    /// The license to be put back is not in the history.
    #[error("no former license has this jti")]
    NotFound,
    /// It could not be stored.
    #[error("the license could not be stored; the former one stays in force")]
    NotStored(#[source] Error),
    /// It could not be removed from where it is kept.
    #[error("the stored license could not be removed; it stays in force")]
    NotRemoved(#[source] Error),
    /// How the change ends is not known.
    #[error("the change was interrupted")]
    Interrupted(#[source] Interruption),
}

/// Why nobody knows how a change ends.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// It ended early: the gate is stopping, or a defect.
    #[error("it ended early")]
    Broken(#[source] tokio::task::JoinError),
    /// It goes on, and has taken too long to be waited for.
    #[error("it is still going on after 30 s: the disk does not answer")]
    Late,
}

/// Why a revocation list was not taken. The one accepted last counts.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// It is none, or an older one.
    #[error(transparent)]
    Refused(#[from] RevocationError),
    /// It could not be stored.
    #[error("the revocation list could not be stored; the former one counts")]
    NotStored(#[source] Error),
    /// How the change ends is not known.
    #[error("the change was interrupted")]
    Interrupted(#[source] Interruption),
}

/// What became of the content of `license.file`.
#[derive(Debug)]
pub enum Offering {
    /// It is the token that is held already.
    Same,
    /// It counts from now on.
    Taken,
    /// It verifies and is not valid now, while the file's former license is: that one counts as long as it is.
    Waits(Rejection),
    /// No trusted key signed it: it counts once one did. The former one stays.
    Unverified(Rejection),
    /// It is no license. The former one stays.
    Refused(Rejection),
    /// It cannot be read. The former one stays.
    Unreadable(io::Error),
}

impl ChangeError {
    /// A stable name of the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.code(),
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
            | Self::Superseded
            | Self::OtherLicense { .. }
            | Self::Older { .. }
            | Self::NotFound => Outcome::Refused,
            Self::NotStored(_) | Self::NotRemoved(_) | Self::Interrupted(_) => Outcome::Failed,
        }
    }
}

impl Error {
    /// A stable name of the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::File(_) => "not-stored",
            Self::Conflict => "conflict",
            Self::Unavailable(_)
            | Self::ReadOnly(_)
            | Self::SchemaTooNew { .. }
            | Self::SchemaLost => "store-unavailable",
        }
    }
}
