//! What is mounted for the gate to read: a loop looks at each of it.

use std::io;
use std::path::Path;

use tokio::time::{Interval, MissedTickBehavior};

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

impl Mounted {
    /// Looks for ever, and hands on what changed.
    pub async fn watch(self, keyring: Keyring, writer: Writer) {
        let Self { keys, license, revocations } = self;
        tokio::join!(
            watch_keys(keys, &keyring),
            watch_license(license, &writer),
            watch_revocations(revocations, &writer),
        );
    }

    /// Takes what is revoked at the start, before anybody asks. Blocks on the file.
    pub async fn begin(&mut self, writer: &Writer) {
        if let Some(file) = &mut self.revocations
            && let Some(content) = file.look()
        {
            take_revocations(writer, content, file.path()).await;
        }
    }
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
            tell(&offering, &path);
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

/// Something that is looked at again and again.
struct Watched<W> {
    /// `None` while it is being looked at.
    at_rest: Option<W>,
    looks: Interval,
}

impl<W: Send + 'static> Watched<W> {
    fn new(watched: W) -> Self {
        let mut looks = tokio::time::interval(INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { at_rest: Some(watched), looks }
    }

    /// What a `look` finds to be new, as soon as there is something. A file system that hangs holds up nothing else.
    async fn next<C: Send + 'static>(&mut self, look: fn(&mut W) -> Option<C>) -> Option<C> {
        loop {
            self.looks.tick().await;
            let mut watched = self.at_rest.take()?;
            let looking = tokio::task::spawn_blocking(move || {
                let found = look(&mut watched);
                (watched, found)
            });
            let (watched, found) = looking.await.ok()?;
            self.at_rest = Some(watched);
            if found.is_some() {
                return found;
            }
        }
    }
}

/// Says what became of the content of `license.file`.
pub fn tell(offering: &Offering, path: &Path) {
    let path = path.display();
    match offering {
        Offering::Same => {}
        Offering::Taken => tracing::info!(%path, "the license of license.file was read"),
        Offering::Waits(reason) => {
            tracing::warn!(event = "license_file.not_valid", %path, %reason, "the new license of license.file is not valid now: the former one counts as long as it is");
        }
        Offering::Unverified(reason) => {
            tracing::warn!(event = "license_file.not_verified", %path, %reason, "the license of license.file cannot be verified yet; the former one, if any, stays");
        }
        Offering::Refused(reason) => {
            tracing::warn!(event = "license_file.refused", %path, %reason, "license.file holds no license that verifies; the former one, if any, stays");
        }
        Offering::Unreadable(error) => {
            tracing::warn!(event = "license_file.unreadable", %path, %error, "license.file cannot be read; the former license, if any, stays");
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
    tell_revoked(done, &path);
}

/// Says what became of a revocation list.
pub(super) fn tell_revoked(done: Result<(), RevokeError>, origin: &dyn std::fmt::Display) {
    match done {
        Ok(()) => tracing::info!(%origin, "the revocation list was read"),
        Err(error @ RevokeError::NotStored(_)) => {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(event = "revocations.not_stored", %origin, error, "the revocation list is not taken yet: it is tried again until it can be stored");
        }
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(event = "revocations.refused", %origin, error, "the revocation list is not taken; what was revoked stays revoked");
        }
    }
}
