//! What is mounted for the gate to read: one loop looks at all of it.

use std::path::Path;

use super::keyring::{self, Keyring, WatchedKeys};
use super::watch::{INTERVAL, WatchedFile};
use crate::store::{Offering, RevokeError, Writer};

/// The files that are looked at while the gate runs.
#[derive(Debug)]
pub struct Mounted {
    /// `license.keys`.
    pub keys: WatchedKeys,
    /// `license.file`.
    pub license: Option<WatchedFile>,
    /// `license.revocations`, when it is a file.
    pub revocations: Option<WatchedFile>,
}

/// What one look found to have changed.
struct Found {
    mounted: Mounted,
    keys: Option<crate::license::KeyFiles>,
    license: Option<std::io::Result<Vec<u8>>>,
    revocations: Option<std::io::Result<Vec<u8>>>,
}

impl Mounted {
    /// Looks for ever, and hands on what changed.
    pub async fn watch(self, keyring: Keyring, writer: Writer) {
        let mut mounted = self;
        loop {
            // A file system that hangs must not hang the rest.
            let Ok(found) = tokio::task::spawn_blocking(move || mounted.look()).await else {
                return;
            };
            mounted = found.mounted;
            if let Some(files) = &found.keys {
                keyring::take(&keyring, files).await;
            }
            if let (Some(content), Some(file)) = (found.license, &mounted.license)
                && let Some(offering) = writer.offer(content).await
            {
                tell(&offering, file.path());
            }
            if let (Some(content), Some(file)) = (found.revocations, &mounted.revocations) {
                take_revocations(&writer, content, file.path()).await;
            }
            writer.catch_up().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Takes what is revoked at the start, before anybody asks. Blocks on the file.
    pub async fn begin(&mut self, writer: &Writer) {
        if let Some(file) = &mut self.revocations
            && let Some(content) = file.look()
        {
            take_revocations(writer, content, file.path()).await;
        }
    }

    fn look(mut self) -> Found {
        let keys = self.keys.look();
        let license = self.license.as_mut().and_then(WatchedFile::look);
        let revocations = self.revocations.as_mut().and_then(WatchedFile::look);
        Found { mounted: self, keys, license, revocations }
    }
}

/// Says what became of the content of `license.file`.
pub fn tell(offering: &Offering, path: &Path) {
    let path = path.display();
    match offering {
        Offering::Same => {}
        Offering::Taken => tracing::info!(%path, "the license of license.file was read"),
        Offering::Waits(reason) => {
            tracing::warn!(%path, %reason, "the new license of license.file is not valid now: the former one counts as long as it is");
        }
        Offering::Unproven(reason) => {
            tracing::warn!(%path, %reason, "the license of license.file cannot be verified yet; the former one, if any, stays");
        }
        Offering::Refused(reason) => {
            tracing::warn!(%path, %reason, "license.file holds no license that verifies; the former one, if any, stays");
        }
        Offering::Unreadable(error) => {
            tracing::warn!(%path, %error, "license.file cannot be read; the former license, if any, stays");
        }
    }
}

async fn take_revocations(writer: &Writer, content: std::io::Result<Vec<u8>>, path: &Path) {
    let path = path.display();
    let done = match content {
        Err(error) => {
            return tracing::warn!(%path, %error, "the revocation list cannot be read; what was revoked stays revoked");
        }
        Ok(content) => writer.revoke(content).await,
    };
    tell_revoked(done, &path);
}

/// Says what became of a revocation list.
pub(super) fn tell_revoked(done: Result<(), RevokeError>, origin: &dyn std::fmt::Display) {
    match done {
        Ok(()) => tracing::info!(%origin, "the revocation list was read"),
        Err(error @ RevokeError::NotStored(_)) => {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(%origin, error, "the revocation list is not taken yet: it is tried again until it can be stored");
        }
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(%origin, error, "the revocation list is not taken; what was revoked stays revoked");
        }
    }
}
