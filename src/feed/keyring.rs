//! Combines the issuer's keys from files (`license.keys`) and from `license.jwks_url`; the store trusts all of them.
//!
//! If a file cannot be parsed as a whole, for example because it is half written, its previous keys stay trusted until it is
//! complete again, or deleted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::license::{FileKeys, KeyFault, KeyFiles, Keys};
use crate::store::{Rekeyed, Writer};

/// Faulty keys that are logged at a time.
const MAX_LOGGED_FAULTS: usize = 8;

/// The trusted keys, by where they come from.
#[derive(Clone, Debug)]
pub struct Keyring {
    sets: Arc<Mutex<KeySets>>,
    writer: Writer,
}

#[derive(Clone, Debug, Default)]
struct KeySets {
    files: FileKeys,
    url: Keys,
}

impl Keyring {
    /// The keys at startup, which the store of `writer` already trusts.
    pub fn new(files: FileKeys, url: Keys, writer: Writer) -> Self {
        Self { sets: Arc::new(Mutex::new(KeySets { files, url })), writer }
    }

    /// Replaces the keys of the files.
    pub async fn files(&self, keys: FileKeys) -> Rekeyed {
        self.change(|sets| sets.files = keys).await
    }

    /// Replaces the keys of the URL.
    pub async fn url(&self, keys: Keys) -> Rekeyed {
        self.change(|sets| sets.url = keys).await
    }

    /// Trusts the keys in `files` of another `license.keys`, but keeps those of a damaged file; `url`: in place of those of
    /// `license.jwks_url`.
    pub async fn reload(&self, files: Option<FileKeys>, url: Option<Keys>) {
        let files = files.map(|files| or_former(files, &self.of_files()));
        let rekeyed = self.change(|sets| {
            if let Some(files) = files {
                sets.files = files;
            }
            if let Some(url) = url {
                sets.url = url;
            }
        });
        log_rekeyed(&rekeyed.await);
    }

    async fn change(&self, change: impl FnOnce(&mut KeySets)) -> Rekeyed {
        let all = {
            let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut sets);
            sets.files.all().merge(sets.url.clone())
        };
        self.writer.trust_keys(Arc::new(all)).await
    }

    fn of_files(&self) -> FileKeys {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner).files.clone()
    }
}

/// `license.keys`, watched for changes.
#[derive(Debug)]
pub struct WatchedKeys {
    path: PathBuf,
    seen: [u8; 32],
}

impl WatchedKeys {
    /// The keys at `path`; `files` is what was read of them already.
    pub fn new(path: PathBuf, files: Option<&KeyFiles>) -> Self {
        let seen = files.map(|files| *files.digest()).unwrap_or_default();
        Self { path, seen }
    }

    /// The files, if they have changed since the last check. Blocks.
    pub(super) fn look(&mut self) -> Option<KeyFiles> {
        let files = KeyFiles::read(&self.path);
        let changed = *files.digest() != self.seen;
        self.seen = *files.digest();
        changed.then_some(files)
    }
}

/// Takes changed key files into use, and logs the result.
pub(super) async fn take(keyring: &Keyring, files: &KeyFiles) {
    let read = match FileKeys::read(files) {
        Ok((keys, faults)) if !keys.is_empty() => {
            log_faults(faults);
            keys
        }
        Ok((_, faults)) => return log_unusable(faults),
        Err(fault) => return log_unusable(vec![fault]),
    };
    let keys = or_former(read, &keyring.of_files());
    let number = keys.all().len();
    let rekeyed = keyring.files(keys).await;
    tracing::info!(keys = number, "the issuer's keys were read again");
    log_rekeyed(&rekeyed);
}

/// `read`, with the `former` keys of its damaged files.
fn or_former(read: FileKeys, former: &FileKeys) -> FileKeys {
    let (keys, kept) = read.or_former(former);
    for path in kept {
        let path = path.display();
        tracing::warn!(event = "keys.file_broken", %path, "a file of issuer keys is damaged; its previous keys stay in use");
    }
    keys
}

fn log_unusable(faults: Vec<KeyFault>) {
    log_faults(faults);
    tracing::warn!(
        event = "keys.none_usable",
        "no usable issuer key is left; the previous ones stay in use"
    );
}

/// Logs faulty keys: the first ones, and the number of the others.
pub fn log_faults(faults: Vec<KeyFault>) {
    let others = faults.len().saturating_sub(MAX_LOGGED_FAULTS);
    for fault in faults.into_iter().take(MAX_LOGGED_FAULTS) {
        let error = format!("{:#}", anyhow::Error::new(fault));
        tracing::warn!(event = "keys.unusable", error, "an issuer key cannot be used");
    }
    if others > 0 {
        tracing::warn!(event = "keys.more_unusable", others, "more issuer keys cannot be used");
    }
}

/// Logs which licenses lost or regained their key. A license that both sources hold is logged once.
pub(super) fn log_rekeyed(rekeyed: &Rekeyed) {
    for lid in BTreeSet::from_iter(&rekeyed.untrusted) {
        tracing::warn!(
            event = "license.key_lost",
            license.id = lid,
            "the key of a license is no longer trusted; unless the key returns, the license becomes invalid in an hour"
        );
    }
    for lid in BTreeSet::from_iter(&rekeyed.trusted) {
        tracing::info!(
            event = "license.key_trusted",
            license.id = lid,
            "the key of a license is trusted again"
        );
    }
    for lid in BTreeSet::from_iter(&rekeyed.verified) {
        tracing::info!(
            event = "license.key_trusted",
            license.id = lid,
            "a stored license verifies now"
        );
    }
}
