//! License bytes that no API call brought: mounted files, documents behind URLs, the issuer's renewal.
//!
//! `watch.rs` sees that a file changed and `mounted.rs` hands its content on; `remote.rs` does so for what `outgoing`
//! fetches. Keys of both kinds meet in `keyring.rs`. `issuer.rs` makes the call that renews a license, `schedule.rs`
//! computes when, `renew.rs` is the story around it. Everything ends in the store's [`Writer`](crate::store::Writer).

mod install;
mod issuer;
mod joined;
mod keyring;
mod mounted;
mod remote;
mod renew;
mod schedule;
mod watch;

pub use install::Installer;
pub use issuer::{Config, Error as IssuerError, Issuer, Reply};
pub use keyring::{Keyring, WatchedKeys, tell_faults};
pub use mounted::{Mounted, tell};
pub use remote::{RemoteKeys, RemoteRevocations};
pub use renew::{Context, RenewError, Renewal};
pub use schedule::Schedule;
pub use watch::WatchedFile;

#[cfg(test)]
mod tests;
