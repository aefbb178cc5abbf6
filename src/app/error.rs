//! Errors that prevent a start, and their exit codes.

use std::io;

use crate::downstream::{self, ListenAddress};
use crate::license::{KeyFault, RootUrlError};
use crate::{auth, certificate, notify, outgoing, rules, store};

/// An error that prevents a start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `server.root_url` is not a URL.
    #[error("server.root_url cannot be used")]
    RootUrl(#[from] RootUrlError),
    /// `license.keys` is set, but cannot be read.
    #[error("license.keys cannot be used")]
    Keys(#[from] KeyFault),
    /// `[server.tls]`
    #[error("server.tls cannot be used")]
    Tls(#[source] certificate::Error),
    /// `[upstream.tls]`
    #[error("upstream.tls cannot be used")]
    UpstreamTls(#[source] certificate::Error),
    /// `[renewal]`, `license.jwks_url` or `license.revocations`.
    #[error("the issuer cannot be called")]
    Renewal(#[from] outgoing::SetupError),
    /// `[notify]`
    #[error("notify cannot be set up")]
    Notify(#[from] notify::SetupError),
    /// `[[auth.users]]`
    #[error("auth.users cannot be used")]
    Users(#[from] auth::SetupError),
    /// `[[gate.rules]]`
    #[error("gate.rules cannot be used")]
    Rules(#[from] rules::RuleError),
    /// The store is in use by another gate, or cannot be read.
    #[error("the store cannot be opened")]
    Store(#[from] store::Error),
    /// An address is in use, or does not belong to this machine.
    #[error("cannot listen on {place}{}", downstream::bind_remedy(place, source))]
    Bind {
        /// The address.
        place: ListenAddress,
        /// The error of the system.
        source: io::Error,
    },
    /// systemd passed something that is not a listening socket.
    #[error("the sockets that systemd passed cannot be used")]
    Inherited(#[source] io::Error),
    /// The former process of an upgrade has ended, or does not follow the protocol.
    #[error("the former process continues without an upgrade, or has ended")]
    Predecessor(#[source] io::Error),
    /// The thread or runtime of a worker could not be created.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
}

impl Error {
    /// Exit code of `serve`: 1 bad configuration, 2 cannot bind or start.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::RootUrl(_)
            | Self::Keys(_)
            | Self::Tls(_)
            | Self::UpstreamTls(_)
            | Self::Renewal(_)
            | Self::Rules(_)
            | Self::Notify(_)
            | Self::Users(_) => 1,
            Self::Store(_)
            | Self::Bind { .. }
            | Self::Inherited(_)
            | Self::Predecessor(_)
            | Self::Worker(_) => 2,
        }
    }
}
