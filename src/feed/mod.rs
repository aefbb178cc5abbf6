//! Licenses, keys and revocation lists that do not come through the API: from files, from URLs, from the issuer's renewal.
//!
//! `watch.rs` detects a changed file and `mounted.rs` passes its content on; `remote.rs` does the same for documents that
//! `outgoing` fetches. `keyring.rs` combines the keys of files and URL. `issuer.rs` makes the renewal call, `schedule.rs`
//! computes when it is due, `renew.rs` ties them together. Everything ends in the store's [`Writer`](crate::store::Writer).

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
pub use keyring::{Keyring, WatchedKeys, log_faults};
pub use mounted::{Mounted, log_offering};
pub use remote::{RemoteKeys, RemoteRevocations};
pub use renew::{Context, Failures, Progress, RenewError, Renewal};
pub use schedule::Schedule;
pub use watch::WatchedFile;

#[cfg(test)]
mod tests;
