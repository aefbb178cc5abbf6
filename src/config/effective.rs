//! The configuration in force: one [`Config`] for all modules, and where each setting came from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::fault::{Fault, Origin};
use crate::{
    admin, auth, downstream, feed, license, notify, outgoing, rules, shutdown, store, telemetry,
    upstream,
};

/// All settings of `license-gate serve`.
#[derive(Clone, Debug)]
pub struct Config {
    /// URL that users type to reach this instance; its path is the base path. Default `http://127.0.0.1:8080/`.
    pub root_url: String,
    /// `[server]`, `[server.tls]`, `[timeouts]`, `[limits]`.
    pub downstream: downstream::Config,
    /// `[upstream]`.
    pub upstream: upstream::Config,
    /// `[license]`.
    pub license: license::Config,
    /// `[store]`.
    pub store: store::Config,
    /// `[renewal]`.
    pub feed: feed::Config,
    /// `renewal.ca_file` and `renewal.timeout`, which all outgoing calls use.
    pub outgoing: outgoing::Config,
    /// `[notify]`.
    pub notify: notify::Config,
    /// `[auth]`, and the limits per client address of `[limits]`.
    pub auth: auth::Config,
    /// `[gate]` and `[[gate.rules]]`.
    pub gate: rules::Config,
    /// `[admin]`.
    pub admin: admin::Config,
    /// `[shutdown]`.
    pub shutdown: shutdown::Config,
    /// `[log]`.
    pub telemetry: telemetry::Config,
    /// Where each of `[[auth.users]]` is written, in their order.
    pub users_at: Vec<Origin>,
    /// Where each of `[[gate.rules]]` is written, in their order.
    pub rules_at: Vec<Origin>,
    /// The tables of the file that contain no setting, and where each is written.
    pub empty_tables: BTreeMap<String, Origin>,
    /// Whether a source sets `server.tls.cert_file` to an empty string, so that there is no TLS.
    pub tls_is_off: bool,
    /// Warnings about environment variables that look like settings but are not.
    pub misnamed: Vec<String>,
    /// The configuration file, if it contains a secret.
    pub secrets_in: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root_url: "http://127.0.0.1:8080/".into(),
            downstream: downstream::Config::default(),
            upstream: upstream::Config::default(),
            license: license::Config::default(),
            store: store::Config::default(),
            feed: feed::Config::default(),
            outgoing: outgoing::Config::default(),
            notify: notify::Config::default(),
            auth: auth::Config::default(),
            gate: rules::Config::default(),
            admin: admin::Config::default(),
            shutdown: shutdown::Config::default(),
            telemetry: telemetry::Config::default(),
            users_at: Vec::new(),
            rules_at: Vec::new(),
            empty_tables: BTreeMap::new(),
            tls_is_off: false,
            misnamed: Vec::new(),
            secrets_in: None,
        }
    }
}

/// A configuration, and where each setting of it came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The settings in force.
    pub config: Config,
    pub(super) origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// The source that sets `key`.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        Fault::new(self.origin(key), key, message)
    }
}
