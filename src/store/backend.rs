//! Where a store keeps its content: a directory that belongs to one gate (`directory.rs`), or a database that replicas share
//! (`postgres/`, feature `postgres`).
//!
//! A backend reads and writes text. It verifies nothing: the store verifies what it reads. All calls block. They run off the
//! request threads, one at a time.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::durable;
use super::layout::Document;
use super::record::{Action, AuditRecord, Brief, seconds};
use crate::clock::UnixTime;

/// Keeps what a gate needs after a restart.
pub(super) trait Backend: fmt::Debug + Send {
    /// Whether only this gate writes here: a list that it once verified then counts even if its key is no longer trusted.
    fn is_own(&self) -> bool {
        true
    }

    /// Gives up every lock and lease. Nothing is called before [`retake`](Self::retake).
    fn release(&mut self) {}

    /// Takes the locks again. Another process may have changed the content.
    fn retake(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Reads what another process of this gate has changed since [`release`](Self::release). Writes nothing. `None`: unknown.
    fn look(&mut self) -> Result<Option<Kept>, Error> {
        self.refresh()
    }

    /// Announces that the next caller has been waiting for its turn since then.
    fn waiting_since(&mut self, _at: Instant) {}

    /// Reads everything, at the start, and returns what could not be read as errors.
    fn load(&mut self) -> (Kept, Vec<Error>);

    /// Drops history entries, by id, that a crash left behind. The next start finds again what could not be dropped.
    fn clear(&mut self, _left: &[String]) {}

    /// Reads this gate's own copy of a database, at the start. It has only what the gate once verified.
    fn own_copy(&mut self) -> Kept {
        Kept::default()
    }

    /// What other replicas changed since the last load, refresh or commit. `None`: nothing.
    fn refresh(&mut self) -> Result<Option<Kept>, Error> {
        Ok(None)
    }

    /// Copies what is in force now, for a restart without the database.
    fn adopted(&mut self, _license: Option<&str>, _revocations: Option<&str>) {}

    /// Makes `change` durable, whole or not at all. Fails with [`Error::Conflict`] if another replica was faster. The store
    /// records a failure.
    fn commit(&mut self, change: &Change) -> Result<(), Error>;

    /// Writes an audit line that does not belong to a change of the stored license. A database writes one line for each `id`,
    /// because a line may be sent again.
    fn record(&mut self, record: &AuditRecord, id: &str) -> Result<(), Error>;

    /// The last lines of the audit log, newest first, at most `most`. Lines that other users could have written, or that are
    /// cut, are missing.
    fn last_lines(&mut self, most: usize) -> Result<Vec<String>, Error>;

    /// Renames a stored license that does not verify, and returns its new path. `None`: this backend does not rename.
    fn set_aside(&mut self, _now: UnixTime) -> Result<Option<PathBuf>, Error> {
        Ok(None)
    }

    /// Replaces the revocation list that was last loaded or refreshed. Fails with [`Error::Conflict`] if another replica has
    /// replaced it since.
    fn keep_revocations(&mut self, list: &str, sequence: u64) -> Result<(), Error>;

    /// Keeps the newest time seen. A database ignores an older one.
    fn keep_time(&mut self, newest: UnixTime) -> Result<(), Error>;

    /// Keeps a document for this gate alone. Empty content removes it.
    fn keep_document(&mut self, name: Document, content: &[u8]) -> Result<(), Error>;

    /// The document, if there is one.
    fn document(&mut self, name: Document) -> Result<Option<Vec<u8>>, Error>;

    /// Takes or prolongs `lease` for `span`. Returns whether this gate holds it now; one without replicas always does.
    fn take_lease(&mut self, _lease: Lease, _span: Duration) -> Result<bool, Error> {
        Ok(true)
    }

    /// Gives `lease` back early.
    fn give_lease_back(&mut self, _lease: Lease) -> Result<(), Error> {
        Ok(())
    }

    /// Queues an event unless one with the same key is or was in the queue. Returns whether it was queued.
    fn post(&mut self, event: &QueuedEvent) -> Result<bool, Error>;

    /// Events that are due at `now`, oldest first, at most 16.
    fn due_events(&mut self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error>;

    /// Notes the result of sending an event. Its key is remembered.
    fn settle(&mut self, key: &str, settled: Settled) -> Result<(), Error>;
}

/// The content of a backend. Nothing in it is verified.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The stored license, cut at 256 KiB.
    pub(super) token: Option<Vec<u8>>,
    /// Whether there may be a license that could not be read.
    pub(super) is_unread: bool,
    /// Whether other replicas changed the license, even if they changed it back.
    pub(super) is_changed: bool,
    /// Former licenses, newest first.
    pub(super) history: Vec<Entry>,
    /// `Some`: `history` has only the entries that are new since the last read, and the entries with these ids are gone.
    pub(super) removed: Option<Vec<String>>,
    /// Ids of entries that could not be read. New entries do not get their numbers.
    pub(super) unread: Vec<String>,
    /// The revocation list accepted last.
    pub(super) revocations: Option<String>,
    /// The newest time seen.
    pub(super) newest_time: Option<UnixTime>,
    /// If the last line of the audit log is of a successful change: the action, and the license that it stored. Shows a crash
    /// between the line and the change.
    pub(super) audited: Option<(Action, Option<Brief>)>,
}

/// Whether `moment` can be a time that was seen: one beyond the year 9999 is damage.
pub(super) fn is_a_time(moment: &UnixTime) -> bool {
    moment.as_secs() <= 253_402_300_799
}

/// A former license.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// `NUMBER-SECONDS-DIGEST`, ASCII. Ids sort in the order of replacement; see `history.rs`.
    pub(super) id: String,
    pub(super) replaced_at: UnixTime,
    pub(super) token: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Entry").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A change of the stored license.
pub(super) struct Change {
    /// The token to store. `None`: remove the stored one.
    pub(super) token: Option<String>,
    /// The replaced license, for the history.
    pub(super) former: Option<Entry>,
    /// Ids of history entries to drop.
    pub(super) dropped: Vec<String>,
    /// The audit line of the change.
    pub(super) record: AuditRecord,
}

/// A task that only one replica performs at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Scheduled renewals, and sending events. Held as long as the gate runs.
    Schedule,
    /// One call to the issuer.
    Renewal,
}

/// An event to be sent to `notify.url`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedEvent {
    /// Identifies the event: it is sent once.
    pub key: String,
    /// JSON, as it is sent.
    pub body: String,
    /// Failed attempts.
    pub attempts: u32,
    /// The earliest time of the next attempt.
    #[serde(with = "seconds")]
    pub due: UnixTime,
}

/// The result of sending an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was delivered or dropped.
    Done,
    /// It is to be sent again.
    Again {
        /// The earliest time of the next attempt.
        due: UnixTime,
    },
}

/// Why a backend could not read or write. Nothing of the content appears.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be read or written.
    #[error(transparent)]
    File(#[from] durable::Error),
    /// Another replica changed the license at the same time. This one changed nothing.
    #[error(
        "another replica changed the license at the same time: check the license, and try again"
    )]
    Conflict,
    /// The database cannot be reached, or does not respond in time. Whether the change was made is known after a reconnect.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database accepts no changes: it is a standby, or is set to read-only.
    #[error("the database is read-only")]
    ReadOnly(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database was migrated by a newer gate.
    #[error(
        "the database has schema version {found}, this gate knows {known}: run the newer license-gate"
    )]
    SchemaTooNew {
        /// In the database.
        found: i32,
        /// Known here.
        known: i32,
    },
    /// Another process of this gate has the store.
    #[error("another process of this gate has taken the store over")]
    HandedOver,
    /// The tables are gone.
    #[error(
        "the database has lost the gate's tables: restore them, or restart a gate to create them"
    )]
    SchemaLost,
}
