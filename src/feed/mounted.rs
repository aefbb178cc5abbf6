//! Watched files: a loop per file reads it periodically, and passes changed content on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::keyring::{self, Keyring, WatchedKeys};
use super::watch::{INTERVAL, WatchedFile};
use crate::store::{Offering, RevokeError, Writer};

/// The files that are watched while the gate runs.
#[derive(Debug)]
pub struct Mounted {
    /// `license.keys`.
    pub keys: WatchedKeys,
    /// `license.file`.
    pub license: Option<WatchedFile>,
    /// `license.revocations`, if it is a file.
    pub revocations: Option<WatchedFile>,
}

impl Mounted {
    /// Watches the files for ever and passes changed content on.
    pub async fn watch(self, keyring: Keyring, writer: Writer) {
        let Self { keys, license, revocations } = self;
        tokio::join!(
            watch_keys(keys, &keyring),
            watch_license(license, &writer),
            watch_revocations(revocations, &writer),
        );
    }

    /// Reads the revocation list at startup, before the gate listens. Blocks on the file.
    pub async fn begin(&mut self, writer: &Writer) {
        if let Some(file) = &mut self.revocations
            && let Some(content) = file.look()
        {
            take_revocations(writer, content, file.path()).await;
        }
    }
}

/// How long a reload waits for a file system.
const RELOAD: Duration = Duration::from_secs(5);

impl Mounted {
    /// Reads license and revocation list after a reload. If a file system hangs, [`watch`](Self::watch) reads them later.
    pub async fn reload(&mut self, writer: &Writer) {
        if let Some((content, path)) = look(&mut self.license).await
            && let Some(offering) = writer.offer(content).await
        {
            log_offering(&offering, &path);
        }
        if let Some((content, path)) = look(&mut self.revocations).await {
            take_revocations(writer, content, &path).await;
        }
    }
}

async fn look(watched: &mut Option<WatchedFile>) -> Option<(io::Result<Vec<u8>>, PathBuf)> {
    let mut file = watched.clone()?;
    let looking = tokio::task::spawn_blocking(move || {
        let content = file.look();
        (file, content)
    });
    let (file, content) = tokio::time::timeout(RELOAD, looking).await.ok()?.ok()?;
    let path = file.path().to_owned();
    *watched = Some(file);
    Some((content?, path))
}

async fn watch_keys(keys: WatchedKeys, keyring: &Keyring) {
    let mut watched = Watched::new(keys);
    while let Some(files) = watched.next(WatchedKeys::look).await {
        keyring::take(keyring, &files).await;
    }
}

async fn watch_license(file: Option<WatchedFile>, writer: &Writer) {
    let Some(file) = file else { return };
    let path = file.path().to_owned();
    let mut watched = Watched::new(file);
    while let Some(content) = watched.next(WatchedFile::look).await {
        if let Some(offering) = writer.offer(content).await {
            log_offering(&offering, &path);
        }
    }
}

async fn watch_revocations(file: Option<WatchedFile>, writer: &Writer) {
    let Some(file) = file else { return };
    let path = file.path().to_owned();
    let mut watched = Watched::new(file);
    while let Some(content) = watched.next(WatchedFile::look).await {
        take_revocations(writer, content, &path).await;
    }
}

/// Reads something at intervals, on a blocking thread.
struct Watched<W> {
    /// `None` during a read.
    idle: Option<W>,
    looks: Interval,
}

impl<W: Send + 'static> Watched<W> {
    fn new(watched: W) -> Self {
        let mut looks = tokio::time::interval(INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { idle: Some(watched), looks }
    }

    /// The next change that `look` finds. A file system that hangs delays nothing else.
    async fn next<C: Send + 'static>(&mut self, look: fn(&mut W) -> Option<C>) -> Option<C> {
        loop {
            self.looks.tick().await;
            let mut watched = self.idle.take()?;
            let looking = tokio::task::spawn_blocking(move || {
                let found = look(&mut watched);
                (watched, found)
            });
            let (watched, found) = looking.await.ok()?;
            self.idle = Some(watched);
            if found.is_some() {
                return found;
            }
        }
    }
}

/// Logs what was done with the content of `license.file`.
pub fn log_offering(offering: &Offering, path: &Path) {
    let path = path.display();
    match offering {
        Offering::Same => {}
        Offering::Taken => tracing::info!(%path, "the license in license.file was read"),
        Offering::Waits(reason) => {
            tracing::warn!(event = "license_file.not_valid", %path, %reason, "the new license in license.file is not valid now; the previous one is used as long as it is valid");
        }
        Offering::Unverified(reason) => {
            tracing::warn!(event = "license_file.not_verified", %path, %reason, "the license in license.file cannot be verified with the present keys; the previous one, if any, is used");
        }
        Offering::Refused(reason) => {
            tracing::warn!(event = "license_file.refused", %path, %reason, "license.file contains no license that verifies; the previous one, if any, is used");
        }
        Offering::Unreadable(error) => {
            tracing::warn!(event = "license_file.unreadable", %path, %error, "license.file cannot be read; the previous license, if any, is used");
        }
    }
}

async fn take_revocations(writer: &Writer, content: io::Result<Vec<u8>>, path: &Path) {
    let path = path.display();
    let done = match content {
        Err(error) => {
            return tracing::warn!(event = "revocations.unreadable", %path, %error, "the revocation list cannot be read; what was revoked stays revoked");
        }
        Ok(content) => writer.revoke(content).await,
    };
    log_revocations(done, &path);
}

/// Logs what was done with a revocation list.
pub(super) fn log_revocations(done: Result<(), RevokeError>, origin: &dyn std::fmt::Display) {
    match done {
        Ok(()) => tracing::info!(%origin, "the revocation list was read"),
        Err(error @ RevokeError::NotStored(_)) => {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(event = "revocations.not_stored", %origin, error, "the revocation list could not be stored and is not used yet; storing it is tried again");
        }
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(event = "revocations.refused", %origin, error, "the revocation list was refused; what was revoked stays revoked");
        }
    }
}
