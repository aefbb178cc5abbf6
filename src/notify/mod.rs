//! The webhook: what becomes of the license in force, sent to `notify.url`.
//!
//! `monitor.rs` watches the license, `news.rs` decides what is new about it (pure), `events.rs` writes each piece of news as
//! an event and queues it in the store, `sender.rs` posts what is queued until the receiver takes it, signed by `secret.rs`.
//! The monitor also logs, with or without a receiver. Renewal queues its failures itself, through [`Events`].

mod events;
mod monitor;
mod news;
mod secret;
mod sender;

use std::path::PathBuf;

pub use events::{Events, Notice, Occasion, Wake};
pub use monitor::Monitor;
pub use news::name;
pub use secret::{Secret, SecretError};
pub use sender::{Notifier, Queue, SetupError};

/// The receiver of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// A webhook, `http://` or `https://`; `None`, the default: no events are sent.
    pub url: Option<http::Uri>,
    /// The file with the secret that events are signed with; required when `url` is set. See [`Secret`].
    pub secret_file: Option<PathBuf>,
}
