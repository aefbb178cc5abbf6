//! Settings of renewal, and of telling others.

use std::path::PathBuf;
use std::time::Duration;

/// Where and how a license is renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The issuer's renewal endpoint, `http://` or `https://`; `None`, the default: renewal is off and no call is ever made.
    pub url: Option<http::Uri>,
    /// Trust anchors for `https://`, PEM; `None`: the platform's.
    pub ca_file: Option<PathBuf>,
    /// For the whole call. Default 30 s.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { url: None, ca_file: None, timeout: Duration::from_secs(30) }
    }
}

/// Whom the gate tells what becomes of its license.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyConfig {
    /// A webhook, `http://` or `https://`; `None`, the default: nobody.
    pub url: Option<http::Uri>,
    /// The file with the secret that the webhook knows the gate by; there when `url` is. See [`super::Secret`].
    pub secret_file: Option<PathBuf>,
}
