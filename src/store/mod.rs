//! What is kept: the license in force, in memory for readers and on disk for the next start.
//!
//! ```text
//! bytes ── verified ── compared ── persisted ── swapped ── asked about
//!          license::    here        file.rs      here       Reader, snapshot.rs
//! ```
//!
//! Two halves around one `ArcSwap`: a [`Writer`] for those that change the license (`api`, `feed`) and a [`Reader`] for
//! everyone else. Changes happen one at a time, on the control runtime, each to its end even if whoever asked for it
//! has left; an answered change is on disk. Readers never wait and always see one whole [`Snapshot`].

#[allow(dead_code, reason = "what writes it follows")]
mod audit;
mod audit_verify;
#[allow(dead_code, reason = "what implements it follows")]
mod backend;
mod config;
#[allow(dead_code, reason = "what uses it follows")]
mod durable;
mod error;
mod file;
#[allow(dead_code, reason = "what uses it follows")]
mod outbox;
mod snapshot;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock::{Clock, UnixTime};
use crate::license::{self, CheckName, Keys, License, Policy, Rejection, Token};

pub use audit_verify::{Broken, Flaw, Verified, VerifyError, verify as verify_audit};
pub use backend::{Brief, Document, Error, Event, Lease, Record, Settled};
pub use config::Config;
pub use error::{Fault, InstallError, RemoveError};
pub use file::Error as FileError;
pub use snapshot::{Render, Snapshot, Source};

use file::FileStore;

/// What a store works with, beside its directory.
#[derive(Clone, Debug)]
pub struct Means {
    /// Whom to believe.
    pub keys: Arc<Keys>,
    /// What a license is held against.
    pub policy: Arc<Policy>,
    /// How a license is written in answers.
    pub render: Render,
    /// When it is.
    pub clock: Clock,
    /// Where changes run, the disk's waiting included. Must outlive every answer that waits for a change.
    pub control: Handle,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// For those who ask.
    pub reader: Reader,
    /// For those who change.
    pub writer: Writer,
    /// What was wrong at the start; the gate runs all the same, and the log should say so.
    pub faults: Vec<Fault>,
}

/// Loads what the last run left. Blocks; called once, before the first request.
///
/// A token that verifies is in force whatever its standing. One that does not is set aside under a name of its own. A
/// directory that is missing or cannot be written is a fault and tried anew at each change.
///
/// # Errors
///
/// [`FileError::Locked`], and nothing else: another gate works on the directory.
pub fn open(config: &Config, means: Means) -> Result<Store, FileError> {
    let mut file = FileStore::new(config.dir.clone());
    let mut faults = Vec::new();
    match file.prepare() {
        Err(error @ FileError::Locked { .. }) => return Err(error),
        Err(error) => faults.push(Fault::NotWritable(error)),
        Ok(()) => {}
    }
    let up = Arc::new(AtomicBool::new(faults.is_empty()));
    let license = load(&file, &means, &mut faults).map(Arc::new);
    let snapshot = Snapshot::new(license, means.policy.clone(), means.render, 0);
    let current = Arc::new(ArcSwap::from_pointee(snapshot));
    let reader = Reader(current.clone());
    let file = Arc::new(Mutex::new(file));
    Ok(Store { reader, writer: Writer { current, up, file, means: Arc::new(means) }, faults })
}

/// The stored license, if it verifies.
fn load(file: &FileStore, means: &Means, faults: &mut Vec<Fault>) -> Option<License> {
    let bytes = match file.read() {
        Ok(bytes) => bytes?,
        Err(error) => {
            faults.push(Fault::NotReadable(error));
            return None;
        }
    };
    // Without keys nothing verifies, and a license must not be lost for that.
    if means.keys.is_empty() {
        faults.push(Fault::NoKeys);
        return None;
    }
    let token = Token::parse(&String::from_utf8_lossy(&bytes));
    match token.and_then(|token| license::verify(&token, &means.keys)) {
        Ok(license) => Some(license),
        // Perhaps it is the keys that are wrong; a good license must not be lost for that.
        Err(reason) if reason.check() == CheckName::Key => {
            faults.push(Fault::NotTrusted { reason });
            None
        }
        Err(reason) => {
            faults.push(set_aside(file, means.clock.now(), reason));
            None
        }
    }
}

fn set_aside(file: &FileStore, now: UnixTime, reason: Rejection) -> Fault {
    match file.set_aside(now) {
        Ok(to) => Fault::SetAside { to, reason },
        Err(source) => Fault::NotSetAside { reason, source },
    }
}

/// The asking half.
#[derive(Clone, Debug)]
pub struct Reader(Arc<ArcSwap<Snapshot>>);

impl Reader {
    /// The license in force. Wait-free; the guard is not to be held across an `.await`.
    pub fn current(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The license in force, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}

/// Who brings a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody who may install any acceptable license, an older one too.
    Hand,
    /// The issuer, asked to renew the license in force at that revision.
    Renewal {
        /// [`Snapshot::revision`] when the issuer was asked.
        started_at_revision: u64,
    },
}

/// The changing half.
#[derive(Clone, Debug)]
pub struct Writer {
    current: Arc<ArcSwap<Snapshot>>,
    /// Whether the last attempt to write went well.
    up: Arc<AtomicBool>,
    /// Whoever holds the directory is the one who changes.
    file: Arc<Mutex<FileStore>>,
    means: Arc<Means>,
}

impl Writer {
    /// Verifies `token`, compares it with the license in force, stores it and puts it in force: the snapshot with it.
    ///
    /// # Errors
    ///
    /// See [`InstallError`]; memory and disk are then as before.
    pub async fn install(&self, token: Token, by: Origin) -> Result<Arc<Snapshot>, InstallError> {
        let done = self.in_turn(move |writer, file| writer.install_now(file, &token, by)).await;
        done.map_err(InstallError::Interrupted)?
    }

    /// Removes the license from disk and memory; that there is none is fine too.
    ///
    /// # Errors
    ///
    /// See [`RemoveError`]; memory and disk are then as before.
    pub async fn remove(&self) -> Result<Arc<Snapshot>, RemoveError> {
        self.in_turn(Self::remove_now).await.map_err(RemoveError::Interrupted)?
    }

    fn install_now(
        &self,
        file: &mut FileStore,
        token: &Token,
        by: Origin,
    ) -> Result<Arc<Snapshot>, InstallError> {
        let Means { keys, policy, clock, .. } = &*self.means;
        let license = license::admit(token, keys, policy, clock.now())?;
        compare(&self.current.load(), &license, by)?;
        self.written(file.replace(token.as_str().as_bytes())).map_err(InstallError::NotStored)?;
        Ok(self.swap(Some(license)))
    }

    fn remove_now(&self, file: &mut FileStore) -> Result<Arc<Snapshot>, RemoveError> {
        self.written(file.remove()).map_err(RemoveError::NotStored)?;
        let current = self.current.load_full();
        Ok(if current.license().is_some() { self.swap(None) } else { current })
    }

    fn written<T>(&self, outcome: Result<T, FileError>) -> Result<T, FileError> {
        self.up.store(outcome.is_ok(), Ordering::Relaxed);
        outcome
    }

    /// Whether the store could be written when that was last tried.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    fn swap(&self, license: Option<License>) -> Arc<Snapshot> {
        let Means { policy, render, .. } = &*self.means;
        let revision = self.current.load().revision() + 1;
        let license = license.map(Arc::new);
        let snapshot = Arc::new(Snapshot::new(license, policy.clone(), *render, revision));
        self.current.store(snapshot.clone());
        snapshot
    }

    /// Runs `change` when its turn comes, to its end, on a thread that may wait for the disk.
    async fn in_turn<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Self, &mut FileStore) -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        let writer = self.clone();
        let control = self.means.control.clone();
        // The task is what makes a change independent of its client: dropping a handle does not stop it.
        let task = self.means.control.spawn(async move {
            let mut file: OwnedMutexGuard<_> = writer.file.clone().lock_owned().await;
            control.spawn_blocking(move || change(&writer, &mut file)).await
        });
        task.await?
    }
}

/// Whether `offered` may take the place of what is in force.
fn compare(current: &Snapshot, offered: &License, by: Origin) -> Result<(), InstallError> {
    let Origin::Renewal { started_at_revision } = by else { return Ok(()) };
    let Some(installed) = current.license() else { return Err(InstallError::Superseded) };
    if current.revision() != started_at_revision {
        return Err(InstallError::Superseded);
    }
    let (installed, offered) = (installed.claims(), offered.claims());
    if installed.lid != offered.lid {
        let (installed, offered) = (installed.lid.clone(), offered.lid.clone());
        return Err(InstallError::OtherLicense { installed, offered });
    }
    let (installed, offered) = (installed.iat.unwrap_or_default(), offered.iat.unwrap_or_default());
    if offered < installed {
        return Err(InstallError::Older { installed, offered });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
