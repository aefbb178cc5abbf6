//! Why a gate cannot start, and the exit code of that.

use std::io;

use crate::downstream::{self, ListenAddress};
use crate::license::{KeyFault, RootUrlError};
use crate::{auth, certificate, notify, outgoing, store};

/// Why the gate cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `server.root_url` is not a URL.
    #[error("server.root_url cannot be used")]
    RootUrl(#[from] RootUrlError),
    /// `license.keys` was named and is not there.
    #[error("license.keys cannot be used")]
    Keys(#[from] KeyFault),
    /// `[server.tls]`
    #[error("server.tls cannot be used")]
    Tls(#[source] certificate::Error),
    /// `[upstream.tls]`
    #[error("upstream.tls cannot be used")]
    UpstreamTls(#[source] certificate::Error),
    /// `[renewal]`, or another place of the issuer's.
    #[error("the issuer cannot be called")]
    Renewal(#[from] outgoing::SetupError),
    /// `[notify]`
    #[error("notify cannot be set up")]
    Notify(#[from] notify::SetupError),
    /// `[[auth.users]]`
    #[error("auth.users cannot be used")]
    Users(#[from] auth::SetupError),
    /// Another gate works on the store.
    #[error("the store cannot be opened")]
    Store(#[from] store::Error),
    /// An address is taken, or not this machine's.
    #[error("cannot listen on {place}{}", downstream::bind_remedy(place, source))]
    Bind {
        /// Which.
        place: ListenAddress,
        /// The system's reason.
        source: io::Error,
    },
    /// What systemd passed is no listening socket.
    #[error("the sockets that systemd passed cannot be used")]
    Inherited(#[source] io::Error),
    /// A worker's thread or runtime could not be made.
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
            | Self::Notify(_)
            | Self::Users(_) => 1,
            Self::Store(_) | Self::Bind { .. } | Self::Inherited(_) | Self::Worker(_) => 2,
        }
    }
}
