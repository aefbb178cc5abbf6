//! The licenses a gate has: in memory for readers, and on disk or in a database for the next start.
//!
//! ```text
//! bytes ── verified ── compared ── persisted ── swapped ── asked about
//!          license::   state.rs    backend.rs   held.rs    Reader, snapshot.rs
//! ```
//!
//! Every event (a change that somebody asks for, `license.file`, other keys, another replica's change, a revocation list, the
//! start itself) goes this way, in `Held::perform`. What an event makes of the state is a pure function, `state.rs`; what it
//! asks for is made real by `held.rs`, in this order. So an answered change is kept, and one that is refused or fails changes
//! nothing and is recorded too.
//!
//! Two halves around one `ArcSwap`: a [`Writer`] for those that change the license (`api`, `feed`) and a [`Reader`] for
//! everyone else. Changes happen one at a time, on the control runtime (`turns.rs`). Readers never wait and always see one
//! whole [`Snapshot`]: the license of `license.file` and the stored one, of which the better is in force at the moment of the
//! question. The clock, documents, leases and the queue of events are kept in the same place: [`Housekeeping`].

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
mod turns;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::Guard;
use tokio::sync::watch;

use crate::license::{Keys, Rejection, Revocations, Token, kept_jwks, verify};
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
pub use snapshot::{Candidate, InForce, KEY_GRACE, LicenseTrust, Render, Snapshot};
pub use state::{Origin, Rekeyed};

use backend::Backend;
use directory::Directory;
use held::{Held, Shared};
use state::{ChangeRequest, Content, Effects, Event};
use storage::Storage;
use turns::Turns;

/// The content of `license.file`, or why there is none.
pub type Offered = Result<Vec<u8>, io::Error>;

/// How often what could not be written is tried again.
const KEEP_UP: Duration = Duration::from_secs(2);
/// How often a list is offered to others who keep changing theirs at that moment.
const ATTEMPTS: usize = 3;

impl Held {
    /// The way of every event. `Err`: what had to be durable is not, and nothing has changed.
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

    /// As [`perform`](Self::perform), for an event that asks for nothing to be made durable first, and so cannot fail.
    fn take(&mut self, event: Event) -> Effects {
        self.perform(event).unwrap_or_default()
    }

    /// A change of the stored license, from the question to the answer.
    fn change(&mut self, ask: ChangeRequest, who: By) -> Result<Arc<Snapshot>, ChangeError> {
        let asked = Event::Requested(ask.clone(), who.clone());
        // What other replicas changed comes first.
        let done = match self.follow().and_then(|()| self.perform(asked)) {
            Ok(effects) => effects,
            Err(error) => self.take(Event::NotStored(ask, who, error)),
        };
        match done.refused {
            Some(error) => Err(error),
            None => Ok(self.shared.current.load_full()),
        }
    }

    /// `license.file`, at the start or when it has changed.
    fn offer(&mut self, read: Offered, is_first: bool) -> Offering {
        let content = Content::verified(read, &self.state.trust.keys);
        self.take(Event::File { content, is_first }).offering.unwrap_or(Offering::Same)
    }

    /// A change of keys. Readers see it when a list that waited for these keys counts too.
    fn trust_keys(&mut self, keys: Arc<Keys>) -> Rekeyed {
        let shown = self.shared.current.load_full();
        let done = self.take(Event::Keys(keys));
        if let Some(offered) = self.state.lists.without_key().cloned() {
            self.revoke_late(offered);
        }
        self.copy_down();
        // With a list that waited for these keys, the new state was published already.
        if Arc::ptr_eq(&shown, &self.shared.current.load()) {
            self.publish();
        }
        done.rekeyed
    }

    /// A revocation list. One that cannot be kept now is tried again.
    fn revoke(&mut self, offered: Arc<[u8]>) -> Result<(), RevokeError> {
        let list = Revocations::verify(&offered, &self.state.trust.keys);
        let event = || Event::List(offered.clone(), list.clone());
        let is_news = self.state.next(event(), self.now()).1.persist.is_some();
        let mut done = if is_news { Err(Error::Conflict) } else { self.perform(event()) };
        for _ in 0..ATTEMPTS {
            if !matches!(done, Err(Error::Conflict)) {
                break;
            }
            // What others keep is looked at first: theirs may be newer.
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

    /// That a list still cannot be taken is nothing new.
    fn revoke_late(&mut self, offered: Arc<[u8]>) {
        match self.revoke(offered) {
            Ok(()) => tracing::info!("the revocation list that could not be taken before is taken"),
            Err(error) => tracing::debug!(%error, "the revocation list still cannot be taken"),
        }
    }

    /// Others have an older list than the one that counts, or none.
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
            // Perhaps others put theirs back: the next look shows it.
            Some(Error::Conflict) => self.is_list_failing = was_failing,
            Some(error) if !was_failing => tracing::warn!(
                event = "revocations.put_back_failed",
                sequence,
                error = chain(&error),
                "the database has no revocation list, or an older one, and it cannot be put back; that is tried again"
            ),
            Some(_) => {}
        }
    }

    /// What other replicas changed.
    fn follow(&mut self) -> Result<(), Error> {
        let Some(kept) = self.storage.ask(|backend| backend.refresh())? else { return Ok(()) };
        let far_ahead = self.saw_of_others(kept.newest_time);
        let done = self.take(Event::Others(kept.into()));
        self.copy_down();
        self.put_list_back();
        for fault in far_ahead.into_iter().chain(done.faults) {
            tracing::warn!(
                event = "store.change_doubtful",
                error = chain(&fault),
                "another replica's change is doubtful"
            );
        }
        Ok(())
    }

    /// What could not be written before. A database that is away is looked for by those who follow it.
    fn catch_up(&mut self) {
        if !self.shared.health.answers() {
            return;
        }
        self.recorder.catch_up(&mut self.storage);
        if let Some(offered) = self.state.lists.to_be_kept().cloned() {
            self.revoke_late(offered);
        }
        self.put_list_back();
    }

    /// The start: what the last run left.
    fn start(&mut self, faults: &mut Vec<StoreFault>) {
        let (kept, unreadable) = self.storage.backend.load();
        // Where nothing can be written, that it cannot be read is no news.
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

    /// Moves what is stored, and is no license, out of the way.
    fn set_aside(&mut self, reason: Rejection) -> StoreFault {
        let now = self.now();
        match self.storage.backend.set_aside(now) {
            Ok(Some(to)) => StoreFault::SetAside { to, reason },
            Ok(None) => StoreFault::Forged { reason },
            Err(source) => StoreFault::NotSetAside { reason, source },
        }
    }

    /// Trusts the keys that were fetched last, so that a start does not depend on the issuer.
    fn fetched_keys(&mut self, faults: &mut Vec<StoreFault>) -> Keys {
        let Some(url) = self.context.jwks_url.clone() else { return Keys::empty() };
        let content = self.storage.backend.document(Document::Jwks).unwrap_or_else(|error| {
            faults.push(StoreFault::NotReadable(error));
            None
        });
        // What does not read, or came from elsewhere, is fetched again.
        let keys = content.and_then(|content| kept_jwks(&url, &content)).unwrap_or_default();
        let trust = &mut self.state.trust;
        trust.keys = Arc::new((*trust.keys).clone().merge(keys.clone()));
        keys
    }
}

/// The changing half. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    turns: Turns,
    shared: Arc<Shared>,
}

impl Writer {
    /// Verifies `token`, compares it with the license in force, stores it and puts it in force: the snapshot with it.
    ///
    /// # Errors
    /// See [`ChangeError`]; memory and what is kept are then as before.
    pub async fn install(
        &self,
        token: Token,
        origin: Origin,
        who: By,
    ) -> Result<Arc<Snapshot>, ChangeError> {
        let install = move |held: &mut Held| {
            let offered = verify(&token, &held.state.trust.keys).map(Arc::new);
            held.change(ChangeRequest::Install { offered, origin }, who)
        };
        self.turns.take(install).await.map_err(ChangeError::Interrupted)?
    }

    /// Puts the former license called `jti` back, the newest if there are several.
    ///
    /// # Errors
    /// See [`ChangeError`]; memory and what is kept are then as before.
    pub async fn roll_back(&self, jti: String, who: By) -> Result<Arc<Snapshot>, ChangeError> {
        let roll_back = move |held: &mut Held| held.change(ChangeRequest::RollBack { jti }, who);
        self.turns.take(roll_back).await.map_err(ChangeError::Interrupted)?
    }

    /// Removes the stored license; that there is none is fine too. One of `license.file` stays.
    ///
    /// # Errors
    /// See [`ChangeError`]; memory and what is kept are then as before.
    pub async fn remove(&self, who: By) -> Result<Arc<Snapshot>, ChangeError> {
        let remove = move |held: &mut Held| held.change(ChangeRequest::Remove, who);
        self.turns.take(remove).await.map_err(ChangeError::Interrupted)?
    }

    /// Records a change that ended before it came here. Waited for, the record outlives the gate as the answer does.
    pub async fn note(&self, action: Action, outcome: Outcome, reason: &'static str, who: By) {
        let event = Event::Refused(action, outcome, reason, who);
        // That it cannot be recorded is logged where it is tried.
        let _ = self.turns.take(move |held| held.take(event)).await;
    }

    /// Takes the content of `license.file`; `None`: the gate is stopping.
    pub async fn offer(&self, read: Offered) -> Option<Offering> {
        self.turns.take(move |held| held.offer(read, false)).await.ok()
    }

    /// Takes a token of `license.file` that waits for its time, once that has come: whether it did.
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
    /// See [`RevokeError`]; what was revoked before stays so.
    pub async fn revoke(&self, list: Vec<u8>) -> Result<(), RevokeError> {
        let done = self.turns.take(move |held| held.revoke(list.into())).await;
        done.map_err(RevokeError::Interrupted)?
    }

    /// Takes over what other replicas changed.
    ///
    /// # Errors
    /// The store cannot be asked: what is in memory stays.
    pub async fn follow(&self) -> Result<(), Error> {
        self.turns.attempt(Held::follow).await
    }

    /// Writes what could not be written before, if there is anything.
    pub async fn catch_up(&self) {
        if self.shared.behind.load(Ordering::Relaxed) {
            let _ = self.turns.take(Held::catch_up).await;
        }
    }

    /// [Catches up](Self::catch_up) again and again, until dropped.
    pub async fn keep_up(self) {
        loop {
            tokio::time::sleep(KEEP_UP).await;
            self.catch_up().await;
        }
    }

    /// Returns when a token has come and its key is not known.
    pub async fn key_wanted(&self) {
        self.shared.key_wanted.notified().await;
    }
}

/// The asking half. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader(Arc<Shared>);

impl Reader {
    /// The licenses there are. Wait-free; the guard is not to be held across an `.await`.
    pub fn current(&self) -> Guard<Arc<Snapshot>> {
        self.0.current.load()
    }

    /// The licenses there are, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Announces each change from here on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// For those who ask.
    pub reader: Reader,
    /// For those who change.
    pub writer: Writer,
    /// For what is kept beside licenses.
    pub housekeeping: Housekeeping,
    /// What was wrong at the start; the gate runs all the same, and the log should say so.
    pub faults: Vec<StoreFault>,
    /// What became of `license.file`, if there is one.
    pub offering: Option<Offering>,
    /// Keys that were fetched in an earlier run; they are trusted already.
    pub fetched_keys: Keys,
    /// Hints that other replicas have changed something.
    pub others: Others,
}

/// Loads what the last run left, and takes what `license.file` holds. Blocks; called once, before the first request.
///
/// A token that verifies counts whatever its standing. One that does not is set aside under a name of its own. A
/// directory that is missing or cannot be written is a fault and tried again at each change.
///
/// A database is queried on the control runtime, which must be running elsewhere meanwhile.
///
/// # Errors
/// Another gate works on the directory, or a newer one on the database.
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
        writer: Writer { turns: turns.clone(), shared: shared.clone() },
        housekeeping: Housekeeping::new(turns, shared),
        faults,
        offering,
        fetched_keys,
        others,
    })
}

/// A backend, hints of others who use it, and why nothing can be written there at the moment.
type Opened = (Box<dyn Backend>, Others, Option<Error>);

/// Where `config` says that licenses are kept, and why nothing can be written there at the moment.
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

/// Takes over what other replicas change, soon after they did, until dropped. Returns at once where there are no others. To
/// be run on the control runtime.
pub async fn follow_others(others: Others, writer: Writer) {
    others.follow(|| writer.follow()).await;
}

#[cfg(test)]
mod tests;
