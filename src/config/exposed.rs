//! Files with secrets that every user of the machine can read.
//!
//! A file counts if its mode lets all users read it (links are followed) and all users can enter the directories above it.
//! Access for a group is fine (`ssl-cert`). The configuration file counts if it contains a password in a URL or a password
//! hash. Files that do not exist or cannot be examined are left out.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::effective::{Config, Loaded};
use super::fault::Origin;
use super::keys;
#[cfg(feature = "postgres")]
use crate::store;

/// Mode bit: all users may read the file.
const READ_BY_ALL: u32 = 0o004;
/// Mode bit: all users may enter the directory.
const ENTERED_BY_ALL: u32 = 0o001;

/// A file with a secret that every user can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The key that names it; empty for the configuration file.
    pub key: &'static str,
    /// Its path.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for Exposed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, mode) = (self.path.display(), self.mode);
        match self.key {
            "" => write!(out, "the configuration file {path} contains a secret")?,
            key => write!(out, "{key}: {path} is a secret")?,
        }
        write!(
            out,
            ", and every user can read it (mode {mode:04o}): run `chgrp GROUP {path} && chmod 640 {path}` with a group of the gate's user; in Kubernetes, set `defaultMode: 0440` for the volume and `securityContext.fsGroup` for the pod"
        )
    }
}

impl Config {
    /// Files with secrets that every user can read.
    pub fn exposed(&self) -> Vec<Exposed> {
        let downstream = self.downstream.tls.as_ref().map(|tls| tls.key_file.as_path());
        let named = [
            ("", self.secrets_in.as_deref()),
            ("server.tls.key_file", downstream),
            ("upstream.tls.key_file", self.upstream.tls.key_file.as_deref()),
            ("notify.secret_file", self.notify.secret_file.as_deref()),
            ("store.url (sslkey)", self.database_key()),
        ];
        named.into_iter().filter_map(|(key, path)| exposed(key, path?)).collect()
    }

    #[cfg(feature = "postgres")]
    fn database_key(&self) -> Option<&Path> {
        match &self.store.location {
            store::Location::Postgres(database) => database.key_file(),
            store::Location::File(_) => None,
        }
    }

    #[cfg(not(feature = "postgres"))]
    fn database_key(&self) -> Option<&Path> {
        None
    }
}

impl Loaded {
    /// The configuration file, if it holds a password in a URL or a password hash.
    pub(super) fn file_with_secrets(&self) -> Option<PathBuf> {
        let in_file = |key: &str| match self.origin(key) {
            Origin::File(path, _) => Some(path.to_path_buf()),
            Origin::Environment(_) | Origin::Flag(_) | Origin::Default => None,
        };
        let is_secret = |value: &toml::Value| value.as_str().is_some_and(|it| it.contains("***@"));
        let secrets = keys::shown(&self.config).filter(|(_, value)| is_secret(value));
        let users = (!self.config.auth.users.is_empty()).then_some("auth.users");
        secrets.map(|(key, _)| key).chain(users).find_map(in_file)
    }
}

fn exposed(key: &'static str, path: &Path) -> Option<Exposed> {
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mode = found.mode() & 0o7777;
    let is_read = mode & READ_BY_ALL != 0 && is_reached_by_all(path);
    is_read.then(|| Exposed { key, path: path.to_owned(), mode })
}

/// Whether all users may enter each directory above `path`, with links resolved.
fn is_reached_by_all(path: &Path) -> bool {
    let Ok(path) = std::fs::canonicalize(path) else { return false };
    let is_entered =
        |dir: &Path| std::fs::metadata(dir).is_ok_and(|found| found.mode() & ENTERED_BY_ALL != 0);
    path.ancestors().skip(1).all(is_entered)
}
