//! The webhook: changes of the license in force are sent to `notify.url` as events.
//!
//! `monitor.rs` watches the license, `news.rs` decides what to announce (pure functions), `events.rs` builds the events and
//! queues them in the store, `sender.rs` posts queued events until the receiver accepts them, signed by `secret.rs`. The
//! monitor also logs, with or without a webhook. Renewal queues its failures itself, through [`Events`].

mod events;
mod monitor;
mod news;
mod secret;
mod sender;

use std::path::PathBuf;

pub use events::{EventKind, Events, Notice, Wake};
pub use monitor::Monitor;
pub use news::license_digest;
pub use secret::{Secret, SecretError};
pub use sender::{Notifier, Queue, Receiver, Receivers, SetupError};

/// Settings of the webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// URL of the webhook, `http://` or `https://`. Default `None`: no events are sent.
    pub url: Option<http::Uri>,
    /// File with the secret that signs events; required if `url` is set. See [`Secret`].
    pub secret_file: Option<PathBuf>,
}
