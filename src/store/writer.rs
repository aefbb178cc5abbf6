//! The changing half: one change at a time, each to its end even if whoever asked for it has left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::backend::{Document, Error, Event, Lease, Settled};
use super::error::{InstallError, Interruption, Offering, RemoveError, RevokeError, RollbackError};
use super::held::{By, Held, Origin, Shared};
use super::outside::{Offered, Rekeyed};
use super::snapshot::Snapshot;
use super::written::Part;
use crate::clock::UnixTime;
use crate::license::{Keys, Token};
use crate::telemetry::metrics::{Action, Outcome};

/// A clock may be corrected by so much, and clocks of several machines may differ by it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);
/// How long whoever asked for a change waits for its turn and for what keeps it. A database gives up earlier; a disk that
/// hangs never does.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often what could not be written is tried again.
const KEEP_UP: Duration = Duration::from_secs(2);

/// The changing half. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Whoever holds it is the one who changes.
    held: Arc<Mutex<Held>>,
    shared: Arc<Shared>,
    control: Handle,
}

impl Writer {
    pub(super) fn new(held: Held, control: Handle) -> Self {
        let shared = held.shared.clone();
        Self { held: Arc::new(Mutex::new(held)), shared, control }
    }

    /// Verifies `token`, compares it with the license in force, stores it and puts it in force: the snapshot with it.
    ///
    /// # Errors
    /// See [`InstallError`]; memory and what is kept are then as before.
    pub async fn install(
        &self,
        token: Token,
        by: Origin,
        who: By,
    ) -> Result<Arc<Snapshot>, InstallError> {
        let done = self.in_turn(move |held| held.install(&token, &by, &who)).await;
        done.map_err(InstallError::Interrupted)?
    }

    /// Puts the former license called `jti` back, the newest if there are several.
    ///
    /// # Errors
    /// See [`RollbackError`]; memory and what is kept are then as before.
    pub async fn roll_back(&self, jti: String, who: By) -> Result<Arc<Snapshot>, RollbackError> {
        let done = self.in_turn(move |held| held.roll_back(&jti, &who)).await;
        done.map_err(RollbackError::Interrupted)?
    }

    /// Removes the stored license; that there is none is fine too. One of `license.file` stays.
    ///
    /// # Errors
    /// See [`RemoveError`]; memory and what is kept are then as before.
    pub async fn remove(&self, who: By) -> Result<Arc<Snapshot>, RemoveError> {
        let done = self.in_turn(move |held| held.remove(&who)).await;
        done.map_err(RemoveError::Interrupted)?
    }

    /// Records a change that ended before it came here. Waited for, the record outlives the gate as the answer does.
    pub async fn note(&self, action: Action, outcome: Outcome, reason: &'static str, who: By) {
        // That it cannot be recorded is told where it is tried.
        let _ = self.in_turn(move |held| held.note(action, outcome, reason, None, &who)).await;
    }

    /// Takes the content of `license.file`; `None`: the gate is stopping.
    pub async fn offer(&self, offered: Offered) -> Option<Offering> {
        self.in_turn(move |held| held.offer(offered)).await.ok()
    }

    /// Takes a token of `license.file` that waits for its time, once that has come: whether it did.
    pub async fn reconsider(&self) -> bool {
        self.in_turn(Held::reconsider).await.unwrap_or(false)
    }

    /// Believes `keys` from now on.
    pub async fn believe(&self, keys: Arc<Keys>) -> Rekeyed {
        self.in_turn(move |held| held.believe(keys)).await.unwrap_or_default()
    }

    /// Takes a revocation list.
    ///
    /// # Errors
    /// See [`RevokeError`]; what was revoked before stays so.
    pub async fn revoke(&self, list: Vec<u8>) -> Result<(), RevokeError> {
        let done = self.in_turn(move |held| held.revoke(&list)).await;
        done.map_err(RevokeError::Interrupted)?
    }

    /// Writes what could not be written before, if there is anything.
    pub async fn catch_up(&self) {
        if self.shared.behind.load(Ordering::Relaxed) {
            let _ = self.in_turn(Held::catch_up).await;
        }
    }

    /// [Catches up](Self::catch_up) again and again, until dropped.
    pub async fn keep_up(self) {
        loop {
            tokio::time::sleep(KEEP_UP).await;
            self.catch_up().await;
        }
    }

    /// Takes over what other replicas changed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and its kin: what is in memory stays.
    pub async fn follow(&self) -> Result<(), Error> {
        self.kept(Held::follow).await
    }

    /// A moment that has certainly come: a date of the issuer's, say.
    pub fn saw(&self, moment: UnixTime) {
        self.shared.newest_time.fetch_max(moment.as_secs(), Ordering::Relaxed);
    }

    /// The newest moment that has certainly come, as far as anybody told.
    pub fn newest_time(&self) -> UnixTime {
        UnixTime::from_secs(self.shared.newest_time.load(Ordering::Relaxed))
    }

    /// Whether `now`, and an hour of tolerance, is before a moment that has come already: the clock went backwards.
    pub fn is_behind(&self, now: UnixTime) -> bool {
        now.saturating_add(CLOCK_TOLERANCE) < self.newest_time()
    }

    /// Keeps [`newest_time`](Self::newest_time) for the next start.
    ///
    /// # Errors
    /// It could not be kept.
    pub async fn keep_time(&self) -> Result<(), Error> {
        let newest = self.newest_time();
        self.kept(move |held| held.keep(Part::Time, |backend| backend.keep_time(newest))).await
    }

    /// Keeps a copy of something fetched.
    ///
    /// # Errors
    /// It could not be kept.
    pub async fn keep_document(&self, name: Document, content: Vec<u8>) -> Result<(), Error> {
        let keep = move |held: &mut Held| {
            held.keep(Part::Document, |backend| backend.keep_document(name, &content))
        };
        self.kept(keep).await
    }

    /// The copy kept last.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn document(&self, name: Document) -> Result<Option<Vec<u8>>, Error> {
        self.kept(move |held| held.backend.document(name)).await
    }

    /// Takes `lease` for `span`: whether this gate has it now. Nobody has, while that cannot be told.
    pub async fn take_lease(&self, lease: Lease, span: Duration) -> bool {
        self.lease(lease, span).await.unwrap_or(false)
    }

    /// The same, where it matters that it cannot be told.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn lease(&self, lease: Lease, span: Duration) -> Result<bool, Error> {
        self.kept(move |held| held.backend.take_lease(lease, span)).await
    }

    /// Gives `lease` back.
    pub async fn give_lease_back(&self, lease: Lease) {
        // Not given back, it runs out.
        let _ = self.kept(move |held| held.backend.give_lease_back(lease)).await;
    }

    /// Queues an event unless it was queued before: whether it is new.
    ///
    /// # Errors
    /// It could not be kept.
    pub async fn post(&self, event: Event) -> Result<bool, Error> {
        let post = move |held: &mut Held| {
            let posted = held.backend.post(&event);
            // A known event causes no write.
            if !matches!(posted, Ok(false)) {
                held.written(Part::Events, &posted);
            }
            posted
        };
        self.kept(post).await
    }

    /// Events that are due, oldest first, a few at a time.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn due_events(&self, now: UnixTime) -> Result<Vec<Event>, Error> {
        self.kept(move |held| held.backend.due_events(now)).await
    }

    /// What became of an event.
    ///
    /// # Errors
    /// It could not be kept: the event may be told again.
    pub async fn settle(&self, key: String, settled: Settled) -> Result<(), Error> {
        let settle =
            move |held: &mut Held| held.keep(Part::Events, |backend| backend.settle(&key, settled));
        self.kept(settle).await
    }

    /// Returns when a token has come whose key is not known.
    pub async fn key_wanted(&self) {
        self.shared.key_wanted.notified().await;
    }

    /// Whether the last write of every part succeeded, and the database answers.
    pub fn is_up(&self) -> bool {
        self.shared.answers.load(Ordering::Relaxed)
            && self.shared.unwritten.load(Ordering::Relaxed) == 0
    }

    async fn kept<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Held) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.in_turn(work).await.unwrap_or_else(|error| Err(Error::Unavailable(error.into())))
    }

    /// Runs `change` when its turn comes, to its end, on a thread that may wait for the disk. Who asked waits for a while
    /// only; the change goes on without it.
    async fn in_turn<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Held) -> T + Send + 'static,
    ) -> Result<T, Interruption> {
        let (held, control) = (self.held.clone(), self.control.clone());
        let asked = Instant::now();
        let turn = async move {
            let mut held: OwnedMutexGuard<_> = held.lock_owned().await;
            let work = move || {
                held.backend.asked(asked);
                let done = change(&mut held);
                held.shared.behind.store(held.is_behind(), Ordering::Relaxed);
                done
            };
            control.spawn_blocking(work).await
        };
        // The task is what makes a change independent of its client: dropping a handle does not stop it.
        let turn = timeout(PATIENCE, self.control.spawn(turn)).await;
        let turn = turn.map_err(|_| Interruption::Late)?;
        turn.flatten().map_err(Interruption::Broken)
    }
}
