//! What a start can find wrong, and why a change can fail.

use std::path::PathBuf;

use super::file::Error as FileError;
use crate::clock::UnixTime;
use crate::license::Rejection;

/// What a start can find wrong and live with.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Changes will be answered with an error until it can be.
    #[error("the store cannot be written: licenses can be read, not changed")]
    NotWritable(#[source] FileError),
    /// There may be a license, and it is not in force.
    #[error("the stored license cannot be read")]
    NotReadable(#[source] FileError),
    /// There is a license, and it is left where it is.
    #[error("no trusted key: the stored license cannot be verified and is left where it is")]
    NoKeys,
    /// There is a license, by a key that is not trusted here; it is left where it is.
    #[error("the stored license is not in force and is left where it is: check license.keys")]
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
        source: FileError,
    },
}

/// Why a license was not installed. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is not acceptable here and now.
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
    /// It could not be stored.
    #[error("the license could not be stored; the former one stays in force")]
    NotStored(#[source] FileError),
    /// The change ended early: the gate is stopping, or a defect.
    #[error("the change was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// Why a license was not removed. It stays in force.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It could not be removed from the disk.
    #[error("the stored license could not be removed; it stays in force")]
    NotStored(#[source] FileError),
    /// The change ended early: the gate is stopping, or a defect.
    #[error("the change was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}
