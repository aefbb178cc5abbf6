//! License bytes that nobody posted: mounted files, the issuer's renewal; and what only time brings.
//!
//! `mounted.rs` looks at files, `keyring.rs` puts the issuer's keys together, `monitor.rs` says what time brings.
//! `issuer.rs` makes the one call of a renewal, `schedule.rs` says when, `renew.rs` is the story around it. Nothing is called
//! when `renewal.url` is not set.

mod config;
mod issuer;
mod keyring;
mod monitor;
mod mounted;
mod renew;
mod schedule;
mod watch;

pub use config::Config;
pub use issuer::{Error as IssuerError, Issuer, SetupError as IssuerSetupError};
pub use keyring::{Keyring, WatchedKeys};
pub use monitor::Monitor;
pub use mounted::{Mounted, tell};
pub use renew::{Means, RenewError, Renewal};
pub use watch::WatchedFile;

#[cfg(test)]
mod tests;
