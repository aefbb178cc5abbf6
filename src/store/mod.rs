//! The licenses of a gate: in memory for readers, and in a directory or a database for the next start.
//!
//! ```text
//! bytes ── verified ── compared ── persisted ── swapped ── read
//!          license::   state.rs    backend.rs   held.rs    Reader, snapshot.rs
//! ```
//!
//! Every event goes through `Held::perform`: a requested change, the content of `license.file`, other keys, a change by another
//! replica, a revocation list, the start. `state.rs` computes the next state and the effects, as a pure function. `held.rs`
//! performs the effects in the order above. A change is therefore durable before the response is sent. A change that is refused
//! or fails alters nothing, and is recorded too.
//!
//! A [`Writer`] (for `api` and `feed`) and a [`Reader`] (for all others) share one `ArcSwap`. Changes run one at a time, on the
//! control runtime (`turns.rs`). A reader never waits. It sees one whole [`Snapshot`] with the license of `license.file` and
//! the stored one; which of them is in force depends on the time. [`Housekeeping`] stores the clock, documents, leases and the
//! queue of events in the same place.

mod audit;
mod audit_verify;
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "some of it is for replicas"))]
mod backend;
mod config;
mod directory;
mod durable;
mod error;
mod file;
mod folder;
mod guarded;
mod handed_over;
mod held;
mod history;
mod housekeeping;
mod layout;
mod outbox;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod recording;
mod replicas;
mod revoked;
mod snapshot;
mod state;
mod storage;
mod tag;
mod turns;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::Guard;
use tokio::sync::watch;

use crate::license::{Keys, Policy, Rejection, Revocations, Token, kept_jwks, verify};
use crate::text::chain;

pub use audit_verify::{Broken, Flaw, Verified, VerifyError, verify as verify_audit};
pub use backend::{Error, Lease, QueuedEvent, Settled};
pub use config::{Config, Location};
pub use durable::Error as FileError;
pub use error::{ChangeError, Interruption, Offering, RevokeError, StoreFault};
pub use folder::{Refusal, read_kept};
pub use guarded::{Examined, MOST_NAMED, examined};
pub use held::Context;
pub use history::Former;
pub use housekeeping::Housekeeping;
pub use layout::Document;
#[cfg(feature = "postgres")]
pub use postgres::{Database, ImportError, Imported, UrlError, import};
pub use record::{Action, AuditRecord, Brief, By, Outcome};
pub use replicas::Others;
pub use snapshot::{Candidate, InForce, KEY_GRACE, LicenseTrust, Render, Snapshot, Unused};
pub use state::{Origin, Rekeyed};
pub use tag::{Earlier, Expected, Tag};

use backend::Backend;
use directory::Directory;
use held::{Held, Shared};
use state::{ChangeRequest, Content, Effects, Event};
use storage::Storage;
use turns::Turns;

/// The content of `license.file`, or why it cannot be read.
pub type Offered = Result<Vec<u8>, io::Error>;

/// Interval between attempts to write what could not be written.
const KEEP_UP: Duration = Duration::from_secs(2);
/// Attempts to store a revocation list while other replicas change something.
const ATTEMPTS: usize = 3;

impl Held {
    /// Processes an event. `Err`: the change could not be made durable, and nothing has changed.
    fn perform(&mut self, event: Event) -> Result<Effects, Error> {
        let (next, mut effects) = self.state.next(event, self.now());
        self.persist(&mut effects)?;
        self.state = next;
        if effects.publish {
            self.publish();
        }
        self.report(&effects);
        Ok(effects)
    }

    /// As [`perform`](Self::perform), for an event that makes nothing durable and therefore cannot fail.
    fn take(&mut self, event: Event) -> Effects {
        self.perform(event).unwrap_or_default()
    }

    /// Changes the stored license.
    fn change(
        &mut self,
        ask: ChangeRequest,
        expected: &Expected,
        who: By,
    ) -> Result<Arc<Snapshot>, ChangeError> {
        if self.handed_over.is_some() {
            // What is known here may not hold any more.
            return Err(match ask {
                ChangeRequest::Remove => ChangeError::NotRemoved(Error::HandedOver),
                _ => ChangeError::NotStored(Error::HandedOver),
            });
        }
        let asked = || Event::Requested(ask.clone(), expected.clone(), who.clone());
        // First apply what other replicas changed.
        let mut done = self.follow().and_then(|()| self.perform(asked()));
        // Another replica was faster: the condition shows whether that matters.
        if expected.is_stated() && matches!(done, Err(Error::Conflict)) {
            done = self.follow().and_then(|()| self.perform(asked()));
        }
        let done = match done {
            Ok(effects) => effects,
            Err(error) => self.take(Event::NotStored(ask, who, error)),
        };
        match done.refused {
            Some(error) => Err(error),
            None => Ok(self.shared.current.load_full()),
        }
    }

    /// Takes the content of `license.file`, at the start or after a change.
    fn offer(&mut self, read: Offered, is_first: bool) -> Offering {
        let content = Content::verified(read, &self.state.trust.keys);
        self.take(Event::File { content, is_first }).offering.unwrap_or(Offering::Same)
    }

    /// Trusts other keys. Readers see them together with a revocation list that waited for one of them.
    fn trust_keys(&mut self, keys: Arc<Keys>) -> Rekeyed {
        let shown = self.shared.current.load_full();
        let done = self.take(Event::Keys(keys));
        if let Some(offered) = self.state.lists.without_key().cloned() {
            self.revoke_late(offered);
        }
        self.copy_down();
        // A list that was applied has published the new state already.
        if Arc::ptr_eq(&shown, &self.shared.current.load()) {
            self.publish();
        }
        done.rekeyed
    }

    /// Takes a revocation list. If it cannot be stored now, `catch_up` tries again.
    fn revoke(&mut self, offered: Arc<[u8]>) -> Result<(), RevokeError> {
        let list = Revocations::verify(&offered, &self.state.trust.keys);
        let event = || Event::List(offered.clone(), list.clone());
        let is_news = self.state.next(event(), self.now()).1.persist.is_some();
        let mut done = if is_news { Err(Error::Conflict) } else { self.perform(event()) };
        for _ in 0..ATTEMPTS {
            if !matches!(done, Err(Error::Conflict)) {
                break;
            }
            // The list of the other replicas may be newer: read it first.
            done = self.follow().and_then(|()| self.perform(event()));
        }
        match done {
            Ok(Effects { list_refused: Some(error), .. }) => Err(error),
            Ok(_) => Ok(()),
            Err(error) => {
                self.take(Event::ListNotStored(offered));
                Err(RevokeError::NotStored(error))
            }
        }
    }

    /// Tries again to take a list. Another failure is only a debug line: the first one was logged.
    fn revoke_late(&mut self, offered: Arc<[u8]>) {
        match self.revoke(offered) {
            Ok(()) => tracing::info!("the revocation list that could not be taken before is taken"),
            Err(error) => tracing::debug!(%error, "the revocation list still cannot be taken"),
        }
    }

    /// Restores the list in the database if that has an older one, or none.
    fn put_list_back(&mut self) {
        let Some(list) = self.state.lists.to_be_put_back() else { return };
        let sequence = list.sequence();
        let failed = self.perform(Event::ListLost).err();
        let was_failing = std::mem::replace(&mut self.is_list_failing, failed.is_some());
        match failed {
            None => tracing::warn!(
                event = "revocations.put_back",
                sequence,
                "the database had no revocation list, or an older one: put back"
            ),
            // Another replica may have restored it: the next refresh shows that.
            Some(Error::Conflict) => self.is_list_failing = was_failing,
            Some(error) if !was_failing => tracing::warn!(
                event = "revocations.put_back_failed",
                sequence,
                error = chain(&error),
                "the database has no revocation list, or an older one, and the current one cannot be put back: the gate will try again"
            ),
            Some(_) => {}
        }
    }

    /// Applies what other replicas changed.
    fn follow(&mut self) -> Result<(), Error> {
        let Some(kept) = self.storage.query(|backend| backend.refresh())? else { return Ok(()) };
        let far_ahead = self.saw_of_others(kept.newest_time);
        let done = self.take(Event::Others(kept.into()));
        self.copy_down();
        self.put_list_back();
        for fault in far_ahead.into_iter().chain(done.faults) {
            tracing::warn!(
                event = "store.change_doubtful",
                error = chain(&fault),
                "a change in the database was not applied as it is"
            );
        }
        Ok(())
    }

    /// Writes what could not be written before. Does nothing while a database is unavailable: `replicas.rs` reconnects to it.
    fn catch_up(&mut self) {
        if !self.shared.health.answers() {
            return;
        }
        self.recorder.catch_up(&mut self.storage);
        if let Some(offered) = self.state.lists.to_be_stored().cloned() {
            self.revoke_late(offered);
        }
        self.put_list_back();
    }

    /// Loads what the last run left.
    fn start(&mut self, faults: &mut Vec<StoreFault>) {
        let (kept, unreadable) = self.storage.backend.load();
        // If the store cannot be written, that is reported already.
        if faults.is_empty() {
            faults.extend(unreadable.into_iter().map(StoreFault::NotReadable));
        }
        let copy = self.storage.backend.own_copy();
        let own = if self.storage.backend.is_own() { kept.newest_time } else { copy.newest_time };
        own.into_iter().for_each(|newest| self.shared.saw(newest));
        if !self.storage.backend.is_own() {
            faults.extend(self.saw_of_others(kept.newest_time));
        }
        self.recorder.load(&mut self.storage, faults);
        let done = self.take(Event::Started { kept: kept.into(), copy: copy.into() });
        faults.extend(done.faults);
        faults.extend(done.set_aside.map(|reason| self.set_aside(reason)));
        self.copy_down();
        self.put_list_back();
    }

    /// Renames the stored file, which is not a license.
    fn set_aside(&mut self, reason: Rejection) -> StoreFault {
        let now = self.now();
        match self.storage.backend.set_aside(now) {
            Ok(Some(to)) => StoreFault::SetAside { to, reason },
            Ok(None) => StoreFault::Forged { reason },
            Err(source) => StoreFault::NotSetAside { reason, source },
        }
    }

    /// Trusts the keys that an earlier run fetched, so that a start does not depend on the issuer.
    fn fetched_keys(&mut self, faults: &mut Vec<StoreFault>) -> Keys {
        let Some(url) = self.context.jwks_url.clone() else { return Keys::empty() };
        let content = self.storage.backend.document(Document::Jwks).unwrap_or_else(|error| {
            faults.push(StoreFault::NotReadable(error));
            None
        });
        // A copy that cannot be parsed, or is of another URL, is ignored: the keys are fetched again.
        let keys = content.and_then(|content| kept_jwks(&url, &content)).unwrap_or_default();
        let trust = &mut self.state.trust;
        trust.keys = Arc::new((*trust.keys).clone().merge(keys.clone()));
        keys
    }
}

/// Changes the licenses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    turns: Turns,
    shared: Arc<Shared>,
    expected: Expected,
}

impl Writer {
    /// A writer that changes the license only on an `expected` revision; otherwise its changes fail with
    /// [`ChangeError::Changed`].
    #[must_use]
    pub fn expecting(&self, expected: Expected) -> Self {
        Self { expected, ..self.clone() }
    }

    /// Verifies `token`, compares it with the license in force, stores it and puts it in force. Returns the new snapshot.
    ///
    /// # Errors
    /// See [`ChangeError`]; memory and store are then as before.
    pub async fn install(
        &self,
        token: Token,
        origin: Origin,
        who: By,
    ) -> Result<Arc<Snapshot>, ChangeError> {
        let request = move |held: &Held| {
            let offered = verify(&token, &held.state.trust.keys).map(Arc::new);
            ChangeRequest::Install { offered, origin }
        };
        self.change(request, who).await
    }

    /// Stores the newest former license with this `jti` again.
    ///
    /// # Errors
    /// See [`ChangeError`]; memory and store are then as before.
    pub async fn roll_back(&self, jti: String, who: By) -> Result<Arc<Snapshot>, ChangeError> {
        self.change(|_| ChangeRequest::RollBack { jti }, who).await
    }

    /// Removes the stored license, if there is one. A license of `license.file` stays.
    ///
    /// # Errors
    /// See [`ChangeError`]; memory and store are then as before.
    pub async fn remove(&self, who: By) -> Result<Arc<Snapshot>, ChangeError> {
        self.change(|_| ChangeRequest::Remove, who).await
    }

    async fn change(
        &self,
        request: impl FnOnce(&Held) -> ChangeRequest + Send + 'static,
        who: By,
    ) -> Result<Arc<Snapshot>, ChangeError> {
        let expected = self.expected.clone();
        let change = move |held: &mut Held| {
            let request = request(held);
            held.change(request, &expected, who)
        };
        self.turns.take(change).await.map_err(ChangeError::Interrupted)?
    }

    /// Records a change that was refused before it reached the store. The line is written when this returns.
    pub async fn note(&self, action: Action, outcome: Outcome, reason: &'static str, who: By) {
        let event = Event::Refused(action, outcome, reason, who);
        // A failure is logged where the line is written.
        let _ = self.turns.take(move |held| held.take(event)).await;
    }

    /// Takes the content of `license.file`. `None`: the gate is stopping.
    pub async fn offer(&self, read: Offered) -> Option<Offering> {
        self.turns.take(move |held| held.offer(read, false)).await.ok()
    }

    /// Forgets the license of `license.file`, because the setting is gone.
    pub async fn withdraw_file(&self) {
        // A failure to write the audit line is logged where it is written.
        let _ = self.turns.take(|held| held.take(Event::NoFile)).await;
    }

    /// Checks licenses against `policy` from now on. What was revoked stays revoked.
    pub async fn set_policy(&self, policy: Policy) {
        let _ = self.turns.take(|held| held.take(Event::Policy(policy))).await;
    }

    /// Puts the waiting token of `license.file` in force if it is valid now. Returns whether it did.
    pub async fn reconsider(&self) -> bool {
        let done = self.turns.take(|held| held.take(Event::TimePassed).offering).await;
        matches!(done, Ok(Some(Offering::Taken)))
    }

    /// Trusts `keys` from now on.
    pub async fn trust_keys(&self, keys: Arc<Keys>) -> Rekeyed {
        self.turns.take(move |held| held.trust_keys(keys)).await.unwrap_or_default()
    }

    /// Takes a revocation list.
    ///
    /// # Errors
    /// See [`RevokeError`]; what was revoked before stays revoked.
    pub async fn revoke(&self, list: Vec<u8>) -> Result<(), RevokeError> {
        let done = self.turns.take(move |held| held.revoke(list.into())).await;
        done.map_err(RevokeError::Interrupted)?
    }

    /// Applies what other replicas changed.
    ///
    /// # Errors
    /// The database cannot be read; memory stays as it is.
    pub async fn follow(&self) -> Result<(), Error> {
        self.turns.attempt(Held::follow).await
    }

    /// Writes what could not be written before.
    pub async fn catch_up(&self) {
        if self.shared.behind.load(Ordering::Relaxed) {
            let _ = self.turns.take(Held::catch_up).await;
        }
    }

    /// [Catches up](Self::catch_up) every 2 s, until dropped.
    pub async fn keep_up(self) {
        loop {
            tokio::time::sleep(KEEP_UP).await;
            self.catch_up().await;
        }
    }

    /// Hands the store over to another process of this gate, after the changes that have begun. Later ones fail with
    /// [`Error::HandedOver`].
    ///
    /// # Errors
    /// A change takes longer than 30 s; the store is then given up after it.
    pub async fn hand_over(&self) -> Result<(), Interruption> {
        self.turns.take(Held::hand_over).await
    }

    /// Whether the store was handed over.
    pub fn is_handed_over(&self) -> bool {
        self.shared.handed_over.load(Ordering::Relaxed)
    }

    /// While the store is handed over: reads what the other process has changed.
    pub async fn look(&self) {
        // On a failure the former license is shown.
        let _ = self.turns.take(Held::look).await;
    }

    /// Takes the store back from a process that failed. Changes are refused until [`resume`](Self::resume).
    ///
    /// # Errors
    /// Another process holds its lock.
    pub async fn take_back(&self) -> Result<(), Error> {
        for fault in self.turns.attempt(Held::take_back).await? {
            let error = chain(&fault);
            tracing::warn!(event = "store.attention", error, "the store needs attention");
        }
        Ok(())
    }

    /// Accepts changes again, unless the store is still handed over.
    pub async fn resume(&self) {
        let _ = self.turns.take(|held| held.accept_changes()).await;
    }

    /// Returns after a token with an unknown key was offered.
    pub async fn key_wanted(&self) {
        self.shared.key_wanted.notified().await;
    }
}

/// Reads the licenses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader(Arc<Shared>);

impl Reader {
    /// The current licenses. Wait-free. Do not hold the guard across an `.await`.
    pub fn current(&self) -> Guard<Arc<Snapshot>> {
        self.0.current.load()
    }

    /// The current licenses, to hold across an `.await`.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Announces each change from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// Reads the licenses.
    pub reader: Reader,
    /// Changes the licenses.
    pub writer: Writer,
    /// Stores everything except licenses.
    pub housekeeping: Housekeeping,
    /// Faults found at the start, to be logged. The gate runs with them.
    pub faults: Vec<StoreFault>,
    /// The result of reading `license.file`, if there is one.
    pub offering: Option<Offering>,
    /// Keys that an earlier run fetched. They are trusted already.
    pub fetched_keys: Keys,
    /// Hints that another replica changed something.
    pub others: Others,
}

/// Loads the state of the last run and the content of `license.file`. Blocks; called once, before the first request.
///
/// A stored token that verifies is loaded, even if it has expired. A file that is not a license is renamed. A directory that
/// is missing or cannot be written is a fault; each change tries again.
///
/// A database is queried on the control runtime, which must run on another thread.
///
/// # Errors
/// Another gate has locked the directory, or the database is of a newer version.
pub fn open(config: &Config, file: Option<Offered>, context: Context) -> Result<Store, Error> {
    let (backend, others, unwritable) = open_backend(config, &context)?;
    let storage = Storage::new(backend, unwritable.is_none());
    let mut faults: Vec<_> = unwritable.into_iter().map(StoreFault::NotWritable).collect();
    let mut held = Held::new(storage, context);
    let fetched_keys = held.fetched_keys(&mut faults);
    held.start(&mut faults);
    let offering = file.map(|read| held.offer(read, true));
    let shared = held.shared.clone();
    let turns = Turns::new(held);
    Ok(Store {
        reader: Reader(shared.clone()),
        writer: Writer { turns: turns.clone(), shared: shared.clone(), expected: Expected::any() },
        housekeeping: Housekeeping::new(turns, shared),
        faults,
        offering,
        fetched_keys,
        others,
    })
}

/// A backend, hints about changes by other replicas, and why it cannot be written at the moment.
type Opened = (Box<dyn Backend>, Others, Option<Error>);

/// Opens the backend that `config` names.
#[cfg_attr(not(feature = "postgres"), allow(unused_variables, reason = "a directory needs none"))]
fn open_backend(config: &Config, context: &Context) -> Result<Opened, Error> {
    match &config.location {
        Location::File(dir) => {
            let (directory, unwritable) = Directory::open(dir.clone(), config.audit_max_bytes)?;
            Ok((Box::new(directory), Others::default(), unwritable))
        }
        #[cfg(feature = "postgres")]
        Location::Postgres(database) => {
            let (control, clock) = (context.control.clone(), context.clock.clone());
            let database = (**database).clone();
            let (database, hints, unavailable) =
                postgres::Postgres::open(database, config.copy.clone(), control, clock)?;
            Ok((Box::new(database), Others(Some(hints)), unavailable))
        }
    }
}

/// Applies changes by other replicas within a second, until dropped. Returns at once if there are no replicas. Runs
/// on the control runtime.
pub async fn follow_others(others: Others, writer: Writer) {
    others.follow(|| writer.follow()).await;
}

#[cfg(test)]
mod tests;
