//! The license in a PostgreSQL database that replicas share, and a copy of it for this replica alone.
//!
//! ```text
//! change ── the row is the known one ───── update, with history and audit ── commit ── NOTIFY ── copied
//!           else Conflict, no change       one transaction                   hints.rs            directory.rs
//! ```
//!
//! A change takes two round trips: one reads the state, one makes the change. A third one reads the changes of other replicas.
//! A gate has one connection, on which it also listens.
//!
//! The database is not trusted: the store verifies what it reads. While the database is unavailable, everything but changes
//! works: from memory, or after a restart from the copy. Every call has a deadline. A connection that failed is dropped. The
//! next change opens a new one at once; other calls do so after a pause.
//!
//! [`Postgres`] blocks on a runtime that must run on another thread.

mod connect;
mod error;
mod hints;
mod housekeeping;
mod import;
mod schema;
mod signals;
mod statements;
mod tls;
pub(super) mod url;

#[cfg(test)]
#[cfg(feature = "e2e")]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_postgres::Client;

use super::backend::{Backend, Change, Error, Kept, Lease, QueuedEvent, Settled};
use super::directory::Directory;
use super::layout::Document;
use super::record::{Action, AuditRecord, Brief, By, Outcome};
use crate::backoff::Backoff;
use crate::clock::{Clock, UnixTime};
use crate::license::{Status, Token};
use crate::random;
use crate::text::chain;
use connect::{STATEMENTS, Session};
use error::DatabaseError;
use signals::Signals;
use statements::{Mark, Progress, Replaces};

pub(super) use hints::Hints;
pub use import::{ImportError, Imported, import};
pub use url::{Database, UrlError};

/// Deadline for finding out whether a change was made.
const SETTLING: Duration = Duration::from_secs(2);

/// Between a query that failed and the next one in the background.
const RETRY: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(5) };

/// The slowest link on which a revocation list can be sent, in bytes per second.
const LIST_BYTES_A_SECOND: usize = 64 * 1024;

/// Audit reason of a license that was put back.
const REASON: &str = "the database was empty: put back from this replica's copy";

/// A failure that takes at least this long has delayed the callers that wait.
const HELD_UP: Duration = Duration::from_millis(250);

/// The database, and this replica's copy.
#[derive(Debug)]
pub(super) struct Postgres {
    database: Database,
    runtime: Handle,
    clock: Clock,
    session: Option<Session>,
    signals: Signals,
    pause: Pause,
    /// When the current caller began to wait.
    waiting_since: Option<Instant>,
    /// When the database last failed after a long wait.
    hung_at: Option<Instant>,
    copy: Directory,
    /// The state that the store has read or made last.
    known: Option<Mark>,
    /// The ids of the history in that state.
    ids: BTreeSet<String>,
    adopted: Adopted,
    /// The name under which this replica holds leases.
    holder: String,
    /// Whether the database has no license, as opposed to one that does not verify.
    has_no_license: bool,
    /// Whether the tables existed in this run: then they are not created again.
    seen: bool,
}

/// What the store has verified and put in force in this run.
#[derive(Clone, Default)]
struct Adopted {
    license: Option<String>,
    revocations: Option<Arc<str>>,
}

impl std::fmt::Debug for Adopted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Adopted").finish_non_exhaustive()
    }
}

/// The caller that waits for a query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// A client that requests a change.
    Change,
    /// No client.
    Background,
    /// A client with a change that may have been made.
    Settling,
}

impl Postgres {
    /// Locks the copy, connects to the database, and creates its tables if they are missing. Blocks. A failure with which the
    /// gate can run is returned beside the store, and is tried again later.
    ///
    /// # Errors
    /// [`durable::Error::Locked`], [`Error::SchemaTooNew`]: the gate must not start.
    pub(super) fn open(
        database: Database,
        copy: PathBuf,
        runtime: Handle,
        clock: Clock,
    ) -> Result<(Self, Hints, Option<Error>), Error> {
        let (copy, unwritable) = Directory::open(copy, u64::MAX)?;
        let (signals, hints) = Hints::new(database.clone());
        let mut this = Self {
            database,
            runtime,
            clock,
            session: None,
            signals,
            pause: Pause::default(),
            waiting_since: None,
            hung_at: None,
            copy,
            known: None,
            ids: BTreeSet::new(),
            adopted: Adopted::default(),
            holder: random::name(),
            has_no_license: false,
            seen: false,
        };
        match this.call(Urgency::Change, STATEMENTS, async |_| Ok(())) {
            Err(error @ Error::SchemaTooNew { .. }) => Err(error),
            reached => Ok((this, hints, reached.err().or(unwritable))),
        }
    }

    /// Runs `work` over the open connection, or a new one. The database may be silent for `limit`.
    fn call<T>(
        &mut self,
        urgency: Urgency,
        limit: Duration,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (runtime, began) = (self.runtime.clone(), Instant::now());
        let outcome = runtime.block_on(async {
            if let Some(session) = self.session.as_ref().filter(|it| it.is_idle(self.database.idle))
                && session
                    .unless_silent(session.alive_within(), is_alive(&session.client))
                    .await
                    .is_err()
            {
                self.session = None;
            }
            let session = self.connected(urgency).await?;
            session.unless_silent(limit, work(&session.client)).await
        });
        self.done(began, &outcome);
        outcome
    }

    /// Runs a query that may be repeated. The query itself shows whether the connection is alive, which saves a round trip. On
    /// a dead connection it is repeated over a new one.
    fn query<T>(
        &mut self,
        urgency: Urgency,
        query: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (runtime, began) = (self.runtime.clone(), Instant::now());
        let outcome = runtime.block_on(async {
            if let Some(session) = &self.session {
                let is_idle = session.is_idle(self.database.idle);
                let limit = if is_idle { session.alive_within() } else { STATEMENTS };
                match session.unless_silent(limit, query(&session.client)).await {
                    Err(Error::Unavailable(_)) if is_idle || session.is_closed() => {
                        self.session = None;
                    }
                    answered => return answered,
                }
            }
            let session = self.connected(urgency).await?;
            session.unless_silent(STATEMENTS, query(&session.client)).await
        });
        self.done(began, &outcome);
        outcome
    }

    /// Records the result of a call.
    fn done<T>(&mut self, began: Instant, outcome: &Result<T, Error>) {
        match outcome {
            Ok(_) | Err(Error::Conflict) => self.pause = Pause::default(),
            Err(_) => {
                self.session = None;
                self.pause.lengthen();
                if began.elapsed() >= HELD_UP {
                    self.hung_at = Some(Instant::now());
                }
            }
        }
    }

    /// The open connection, or a new one.
    async fn connected(&mut self, urgency: Urgency) -> Result<&Session, Error> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.connect(urgency).await?,
        };
        Ok(self.session.insert(session))
    }

    async fn connect(&mut self, urgency: Urgency) -> Result<Session, Error> {
        let is_skipped = match urgency {
            Urgency::Background => self.pause.lasts(),
            // If another caller has just waited for the database and failed, this one fails at once.
            Urgency::Change => self.waiting_since.is_some_and(|since| self.hung_at >= Some(since)),
            Urgency::Settling => false,
        };
        if is_skipped {
            return Err(DatabaseError::Paused.into());
        }
        let within = match urgency {
            Urgency::Settling => SETTLING,
            Urgency::Change | Urgency::Background => self.database.connect_timeout,
        };
        let session = Session::open(&self.database, within, Some(&self.signals)).await?;
        let ready = schema::ready(&session.client, &session.about, !self.seen);
        session.unless_silent(STATEMENTS, ready).await?;
        self.seen = true;
        self.signals.begin();
        Ok(session)
    }

    /// Reads the changes, and records the state as known. `is_later`: the state follows the known one.
    fn read(&mut self, urgency: Urgency, is_later: bool) -> Result<Kept, Error> {
        let ids = std::mem::take(&mut self.ids);
        let known = is_later.then_some(&ids);
        let read = self.query(urgency, async |on| statements::load(on, known).await);
        self.ids = ids;
        let (mark, kept) = read?;
        match &kept.removed {
            Some(removed) => self.forget(removed),
            None => self.ids.clear(),
        }
        self.ids.extend(kept.history.iter().map(|entry| entry.id.clone()));
        let kept = if mark.is_unset() { self.beside_copy(kept) } else { kept };
        let is_changed = self.known.as_ref().is_some_and(|known| known.change_id != mark.change_id);
        let kept = Kept { is_changed, ..kept };
        self.has_no_license = kept.token.is_none();
        self.known = Some(mark);
        Ok(kept)
    }

    fn forget(&mut self, ids: &[String]) {
        self.ids.retain(|id| !ids.contains(id));
    }

    /// If no license was ever installed or removed in the database, the license of the copy is used.
    fn beside_copy(&mut self, kept: Kept) -> Kept {
        let (copy, _) = self.copy.load_copy();
        Kept { token: kept.token.or(copy.token), ..kept }
    }

    /// Finds out whether a change was made when the connection was lost during its commit. `Ok`: it was.
    fn settle_change(&mut self, change_id: &str, lost: Error) -> Result<i64, Error> {
        let query = async |on: &Client| {
            statements::mark_after(on, change_id)
                .await?
                .ok_or_else(|| DatabaseError::NotMade.into())
        };
        match self.query(Urgency::Settling, query) {
            Ok(mark) if mark.change_id == change_id => Ok(mark.revision),
            // It was made, and another one after it, which the next refresh reads.
            Ok(_) => Ok(0),
            Err(error) => {
                tracing::debug!(%error, "cannot find out whether the change was made");
                Err(lost)
            }
        }
    }

    /// Updates the known state after a change by this gate. Other changes are still to be read.
    fn advance(&mut self, revision: i64, change_id: Option<String>) {
        let Some(known) = &mut self.known else { return };
        if revision == known.revision + 1 {
            known.revision = revision;
        }
        if let Some(change_id) = change_id {
            known.change_id = change_id;
        }
    }

    /// Stores the license in force in a database that never had one: losing a database must not lose the license. Returns
    /// whether this gate stored it.
    fn put_back(&mut self) -> bool {
        let Adopted { license: Some(token), revocations } = self.adopted.clone() else {
            return false;
        };
        let By { actor, address, request_id } = By::itself("license-gate");
        // The status in the record is unknown: each gate checks the license itself.
        let claims = Token::parse(&token).ok().and_then(|token| token.unproven_claims());
        let new = claims.map(|it| Brief::of_claims(&it, Status::NotLoaded));
        let record = AuditRecord {
            time: self.clock.now(),
            actor,
            address,
            action: Action::Install,
            outcome: Outcome::Ok,
            reason: REASON.to_owned(),
            old: None,
            new,
            request_id,
        };
        let change = Change { token: Some(token), former: None, dropped: Vec::new(), record };
        let list = revocations.as_deref();
        let put = async |on: &Client| statements::put_back(on, &change, list).await;
        match self.call(Urgency::Background, STATEMENTS, put) {
            Ok(mark) => {
                tracing::warn!(event = "database.license_put_back", "{REASON}");
                self.known = Some(mark);
                true
            }
            // Another replica was faster.
            Err(Error::Conflict) => false,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    event = "database.put_back_failed",
                    error,
                    "the license could not be put back into the empty database"
                );
                false
            }
        }
    }

    fn copied(&self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            let error = chain(&error);
            tracing::warn!(
                event = "database.copy_failed",
                error,
                "the replica's own copy could not be written: a start without the database would use an older one"
            );
        }
    }
}

impl Backend for Postgres {
    fn release(&mut self) {
        for lease in [Lease::Schedule, Lease::Renewal] {
            // If this fails, the lease runs out.
            let _ = self.give_lease_back(lease);
        }
        self.copy.release();
    }

    fn retake(&mut self) -> Result<(), Error> {
        self.copy.retake()
    }

    fn is_own(&self) -> bool {
        false
    }

    fn load(&mut self) -> (Kept, Vec<Error>) {
        let (copy, mut faults) = self.copy.load_copy();
        // `open` has just tried to connect: if that failed, this fails at once.
        match self.read(Urgency::Background, false) {
            Ok(kept) => (kept, faults),
            Err(error) => {
                faults.push(error);
                (copy, faults)
            }
        }
    }

    fn waiting_since(&mut self, at: Instant) {
        self.waiting_since = Some(at);
    }

    fn own_copy(&mut self) -> Kept {
        self.copy.load_copy().0
    }

    fn refresh(&mut self) -> Result<Option<Kept>, Error> {
        let found = self.query(Urgency::Change, async |on| statements::mark(on).await)?;
        let put_back = found.is_unset() && self.put_back();
        if self.known.as_ref() == Some(&found) && !put_back {
            return Ok(None);
        }
        let lower = self.known.as_ref().filter(|known| found.revision < known.revision);
        if let Some(known) = lower {
            let (found, known) = (found.revision, known.revision);
            tracing::warn!(
                event = "database.went_back",
                "the database went back from revision {known} to {found}: it was restored, or created again"
            );
        }
        let is_later = self.known.as_ref().is_some_and(|known| found.revision > known.revision);
        self.read(Urgency::Change, is_later).map(Some)
    }

    fn adopted(&mut self, license: Option<&str>, revocations: Option<&str>) {
        if license.is_some() || self.has_no_license {
            let kept = self.copy.copy_license(license);
            self.copied(kept);
        }
        if let Some(list) = revocations {
            let kept = self.copy.copy_revocations(list);
            self.copied(kept);
            self.adopted.revocations = Some(list.into());
        }
        self.adopted.license = license.map(str::to_owned);
        if self.known.as_ref().is_some_and(Mark::is_unset) {
            self.put_back();
        }
    }

    fn commit(&mut self, change: &Change) -> Result<(), Error> {
        let expected = self.known.clone().ok_or(DatabaseError::Unread)?;
        let change_id = random::name() + &random::name();
        let mut progress = Progress::default();
        let made = self.call(Urgency::Change, STATEMENTS, async |on| {
            statements::commit(on, change, &expected, &change_id, &mut progress).await
        });
        let revision = match made {
            Err(lost @ Error::Unavailable(_)) if progress == Progress::Committing => {
                self.settle_change(&change_id, lost)?
            }
            made => made?,
        };
        self.advance(revision, Some(change_id));
        self.ids.extend(change.former.as_ref().map(|former| former.id.clone()));
        self.forget(&change.dropped);
        self.adopted.license.clone_from(&change.token);
        let kept = self.copy.copy_license(change.token.as_deref());
        self.copied(kept);
        Ok(())
    }

    fn record(&mut self, record: &AuditRecord, id: &str) -> Result<(), Error> {
        self.query(Urgency::Background, async |on| statements::record(on, record, id).await)
    }

    fn last_lines(&mut self, most: usize) -> Result<Vec<String>, Error> {
        self.query(Urgency::Background, async |on| statements::last_lines(on, most).await)
    }

    fn keep_revocations(&mut self, list: &str, sequence: u64) -> Result<(), Error> {
        let expected =
            Replaces::TheOneAt(self.known.as_ref().ok_or(DatabaseError::Unread)?.revision);
        let seconds = u64::try_from(list.len() / LIST_BYTES_A_SECOND).unwrap_or_default();
        let limit = STATEMENTS + Duration::from_secs(seconds);
        let revision = self.call(Urgency::Change, limit, async |on| {
            statements::keep_revocations(on, list, sequence, expected).await
        })?;
        self.advance(revision, None);
        self.adopted.revocations = Some(list.into());
        let kept = self.copy.copy_revocations(list);
        self.copied(kept);
        Ok(())
    }

    fn keep_time(&mut self, newest: UnixTime) -> Result<(), Error> {
        let copied = self.copy.keep_time(newest);
        self.query(Urgency::Background, async |on| statements::keep_time(on, newest).await)?;
        copied
    }

    fn keep_document(&mut self, name: Document, content: &[u8]) -> Result<(), Error> {
        self.copy.keep_document(name, content)
    }

    fn document(&mut self, name: Document) -> Result<Option<Vec<u8>>, Error> {
        self.copy.document(name)
    }

    fn take_lease(&mut self, lease: Lease, span: Duration) -> Result<bool, Error> {
        let holder = self.holder.clone();
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.query(Urgency::Background, async |on| {
            housekeeping::take_lease(on, lease, &holder, millis).await
        })
    }

    fn give_lease_back(&mut self, lease: Lease) -> Result<(), Error> {
        let holder = self.holder.clone();
        self.query(Urgency::Background, async |on| {
            housekeeping::give_lease_back(on, lease, &holder).await
        })
    }

    fn post(&mut self, event: &QueuedEvent) -> Result<bool, Error> {
        self.call(Urgency::Background, STATEMENTS, async |on| housekeeping::post(on, event).await)
    }

    fn due_events(&mut self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
        self.query(Urgency::Background, async |on| housekeeping::due_events(on, now).await)
    }

    fn settle(&mut self, key: &str, settled: Settled) -> Result<(), Error> {
        self.call(Urgency::Background, STATEMENTS, async |on| {
            housekeeping::settle(on, key, settled).await
        })
    }
}

/// Fails if the connection is dead.
async fn is_alive(client: &Client) -> Result<(), Error> {
    client.batch_execute("").await.map_err(error::error)
}

/// How long no background query is sent after failures.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    fn lengthen(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.until = Some(Instant::now() + RETRY.after(self.failures, None, 0.0));
    }

    fn lasts(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}
