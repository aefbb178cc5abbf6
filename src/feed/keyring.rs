//! The issuer's keys from both places they come from, put together: files (`license.keys`) and `license.jwks_url`.
//!
//! The store believes the whole of them. A file that is broken as a whole, half written perhaps, takes none away: its former
//! ones stay until it is whole again, or gone.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::license::{FileKeys, KeyFault, KeyFiles, Keys};
use crate::store::{Rekeyed, Writer};

/// Broken keys told of at once.
const MOST_TOLD: usize = 8;

/// The keys of each place.
#[derive(Clone, Debug)]
pub struct Keyring {
    places: Arc<Mutex<Places>>,
    writer: Writer,
}

#[derive(Clone, Debug, Default)]
struct Places {
    files: FileKeys,
    url: Keys,
}

impl Keyring {
    /// The keys a gate starts with, which the store of `writer` believes already.
    pub fn new(files: FileKeys, url: Keys, writer: Writer) -> Self {
        Self { places: Arc::new(Mutex::new(Places { files, url })), writer }
    }

    /// Takes the keys of the files.
    pub async fn files(&self, keys: FileKeys) -> Rekeyed {
        self.change(|places| places.files = keys).await
    }

    /// Takes the keys of the URL.
    pub async fn url(&self, keys: Keys) -> Rekeyed {
        self.change(|places| places.url = keys).await
    }

    async fn change(&self, change: impl FnOnce(&mut Places)) -> Rekeyed {
        let all = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut places);
            places.files.all().merge(places.url.clone())
        };
        self.writer.trust_keys(Arc::new(all)).await
    }

    fn of_files(&self) -> FileKeys {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).files.clone()
    }
}

/// `license.keys`, looked at again and again.
#[derive(Debug)]
pub struct WatchedKeys {
    path: PathBuf,
    seen: [u8; 32],
}

impl WatchedKeys {
    /// The keys at `path`, of which `files` were seen.
    pub fn new(path: PathBuf, files: &KeyFiles) -> Self {
        Self { path, seen: *files.digest() }
    }

    /// What is there, when it is not what was there at the last look. Blocks.
    pub(super) fn look(&mut self) -> Option<KeyFiles> {
        let files = KeyFiles::read(&self.path);
        let changed = *files.digest() != self.seen;
        self.seen = *files.digest();
        changed.then_some(files)
    }
}

/// Takes changed key files into use, and says so.
pub(super) async fn take(keyring: &Keyring, files: &KeyFiles) {
    let read = match FileKeys::read(files) {
        Ok((keys, faults)) if !keys.is_empty() => {
            tell_faults(faults);
            keys
        }
        Ok((_, faults)) => return tell_unusable(faults),
        Err(fault) => return tell_unusable(vec![fault]),
    };
    let (keys, kept) = read.or_former(&keyring.of_files());
    for path in kept {
        let path = path.display();
        tracing::warn!(event = "keys.file_broken", %path, "a file of issuer keys is broken: its former keys stay in use");
    }
    let number = keys.all().len();
    let rekeyed = keyring.files(keys).await;
    tracing::info!(keys = number, "the issuer's keys were read again");
    tell(&rekeyed);
}

fn tell_unusable(faults: Vec<KeyFault>) {
    tell_faults(faults);
    tracing::warn!(
        event = "keys.none_usable",
        "no issuer key can be used any more: the former ones stay in use"
    );
}

/// Says what is wrong with keys; of very many, with the first ones.
pub fn tell_faults(faults: Vec<KeyFault>) {
    let others = faults.len().saturating_sub(MOST_TOLD);
    for fault in faults.into_iter().take(MOST_TOLD) {
        let error = format!("{:#}", anyhow::Error::new(fault));
        tracing::warn!(event = "keys.unusable", error, "an issuer key cannot be used");
    }
    if others > 0 {
        tracing::warn!(event = "keys.more_unusable", others, "more issuer keys cannot be used");
    }
}

/// Says what became of licenses whose keys changed.
pub(super) fn tell(rekeyed: &Rekeyed) {
    for lid in &rekeyed.untrusted {
        tracing::warn!(
            event = "license.key_lost",
            license.id = lid,
            "the key of a license is no longer trusted: the license counts for an hour more, unless the key comes back"
        );
    }
    for lid in &rekeyed.verified {
        tracing::info!(license.id = lid, "a license that was kept verifies now");
    }
}
