//! License bytes that nobody posted: mounted files, the issuer's renewal; and what only time brings.
//!
//! `mounted.rs` looks at files, `fetch/` at documents behind URLs, `keyring.rs` puts the issuer's keys together, `monitor.rs`
//! says what time brings, and has it told when it is new (`news.rs`, `telling.rs`, `events.rs`). `client/` makes the gate's own calls; `issuer.rs` is the one of a renewal, `schedule.rs` says
//! when, `renew.rs` is the story around it; `notify/` tells others. Nothing is called when no URL is set.

mod backoff;
mod client;
mod config;
mod events;
mod fetch;
mod install;
mod issuer;
mod joined;
mod keyring;
mod monitor;
mod mounted;
mod news;
mod notify;
mod remote;
mod renew;
mod schedule;
mod secret;
mod telling;
mod watch;

pub use client::{
    Answer, Call, Client, Endpoint, Error as CallError, Fault, Proxies, ProxyError, SetupError,
};
pub use config::{Config, NotifyConfig};
pub use events::Events;
pub use fetch::{Early, Fetch, MAX_DOCUMENT_BYTES, Recipient};
pub use install::Installer;
pub use issuer::{Error as IssuerError, Issuer, Reply};
pub use keyring::{Keyring, WatchedKeys, tell_faults};
pub use monitor::Monitor;
pub use mounted::{Mounted, tell};
pub use notify::{Notice, Notifier, NotifySetupError, Occasion, Queue, Wake};
pub use remote::{RemoteKeys, RemoteRevocations};
pub use renew::{Means, RenewError, Renewal};
pub use schedule::Schedule;
pub use secret::{Secret, SecretError};
pub use watch::WatchedFile;

#[cfg(test)]
mod tests;
