//! Files with secrets that every user of the machine can read.
//!
//! Modes are looked at, of what a link leads to; group readers are fine (`ssl-cert`). The configuration file counts when a
//! setting in it is a secret: a password in a URL, a password hash. What is not there or cannot be looked at is not named.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::effective::{Config, Loaded};
use super::fault::Origin;
use super::keys;
#[cfg(feature = "postgres")]
use crate::store;

/// Read by all.
const BY_ALL: u32 = 0o004;

/// A file with a secret that every user can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The key that names it; empty for the configuration file.
    pub key: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for Exposed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, mode) = (self.path.display(), self.mode);
        let what = match self.key {
            "" => "the configuration file holds a secret and",
            key => key,
        };
        write!(
            out,
            "{what}: every user can read {path} (mode {mode:04o}): `chmod 640 {path}`, or `defaultMode: 0440` for a volume of Kubernetes"
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
        match &self.store.place {
            store::Place::Postgres(database) => database.key_file(),
            store::Place::File(_) => None,
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
    (mode & BY_ALL != 0).then(|| Exposed { key, path: path.to_owned(), mode })
}
