//! What a store is kept in: a directory of one gate's own (`file.rs`), or a database that replicas share (`postgres/`,
//! feature `postgres`).
//!
//! Texts in and out, verified by nobody here: the store verifies what it reads, wherever it was kept. Everything blocks;
//! the store calls it off the request threads, one call at a time.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::durable;
use super::layout::Document;
use super::record::{Action, AuditRecord, Brief};
use crate::clock::UnixTime;

/// Keeps what a gate must know after a restart.
pub(super) trait Backend: fmt::Debug + Send {
    /// Whether nobody but this gate writes here, so that what it once verified needs no key any more.
    fn is_own(&self) -> bool {
        true
    }

    /// Since when the next caller has been waiting for its turn.
    fn waiting_since(&mut self, _at: Instant) {}

    /// What is kept now, at the start. What could not be read is returned beside it.
    fn load(&mut self) -> (Kept, Vec<Error>);

    /// Drops entries of the history, by id, that a crash left behind. What cannot be dropped is found again.
    fn clear(&mut self, _left: &[String]) {}

    /// This gate's own copy of what others keep, at the start: only what it once verified is in it.
    fn own_copy(&mut self) -> Kept {
        Kept::default()
    }

    /// What others changed since this was last loaded, refreshed or committed; `None`: nothing. A directory has no others.
    fn refresh(&mut self) -> Result<Option<Kept>, Error> {
        Ok(None)
    }

    /// What is in force now: worth a copy for a restart without the others.
    fn adopted(&mut self, _license: Option<&str>, _revocations: Option<&str>) {}

    /// Makes `change` durable, whole or not at all; fails with [`Error::Conflict`] when others were faster. The store
    /// records the failure of one that fails.
    fn commit(&mut self, change: &Change) -> Result<(), Error>;

    /// Writes a line of audit for what is no change of the stored license: refused, failed, or of another source. A store whose
    /// lines wait over restarts writes one line for each `id`.
    fn record(&mut self, record: &AuditRecord, id: &str) -> Result<(), Error>;

    /// Renames a stored license that does not verify out of the way, where that can be done: its new name.
    fn set_aside(&mut self, _now: UnixTime) -> Result<Option<PathBuf>, Error> {
        Ok(None)
    }

    /// Keeps an accepted revocation list in place of the one last loaded or refreshed; fails with [`Error::Conflict`] when
    /// that is no longer the one kept.
    fn keep_revocations(&mut self, list: &str, sequence: u64) -> Result<(), Error>;

    /// Keeps the newest time seen; an older one is left out.
    fn keep_time(&mut self, newest: UnixTime) -> Result<(), Error>;

    /// Keeps a copy of something fetched, for this gate alone. Empty content removes it.
    fn keep_document(&mut self, name: Document, content: &[u8]) -> Result<(), Error>;

    /// The copy kept last.
    fn document(&mut self, name: Document) -> Result<Option<Vec<u8>>, Error>;

    /// Takes `lease` for `span`, or prolongs it: whether this gate has it now. A gate without others always has.
    fn take_lease(&mut self, _lease: Lease, _span: Duration) -> Result<bool, Error> {
        Ok(true)
    }

    /// Gives `lease` back early.
    fn give_lease_back(&mut self, _lease: Lease) -> Result<(), Error> {
        Ok(())
    }

    /// Puts an event into the queue unless one of the same key is or was in it: whether it is new.
    fn post(&mut self, event: &QueuedEvent) -> Result<bool, Error>;

    /// Events that are due at `now`, oldest first, a few at a time.
    fn due_events(&mut self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error>;

    /// What became of an event. Its key is remembered.
    fn settle(&mut self, key: &str, settled: Settled) -> Result<(), Error>;
}

/// What is kept. Nothing in it is verified.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The stored license, cut at 256 KiB.
    pub(super) token: Option<Vec<u8>>,
    /// There may be a license, and it could not be read.
    pub(super) is_unread: bool,
    /// Others changed the license, if only to change it back.
    pub(super) is_changed: bool,
    /// Former licenses, newest first.
    pub(super) history: Vec<Entry>,
    /// `Some`: `history` has only the entries that are new since the last look, and the entries with these ids are gone.
    pub(super) removed: Option<Vec<String>>,
    /// Ids of entries that could not be read: no other gets their numbers.
    pub(super) unread: Vec<String>,
    /// The revocation list accepted last.
    pub(super) revocations: Option<String>,
    /// The newest time seen.
    pub(super) newest_time: Option<UnixTime>,
    /// What the audit log's last line says was done and is stored, if anything, when it is of a change that went well: a
    /// crash between the line and the change is recognised by it.
    pub(super) audited: Option<(Action, Option<Brief>)>,
}

/// Whether `moment` may have been seen: what is beyond the year 9999 is no time but damage.
pub(super) fn is_a_time(moment: &UnixTime) -> bool {
    moment.as_secs() <= 253_402_300_799
}

/// A former license.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name: ASCII digits and `-`, made by the store, of a width by which names sort in the order of replacement.
    pub(super) id: String,
    /// When it was replaced.
    pub(super) replaced_at: UnixTime,
    /// The token.
    pub(super) token: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Entry").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A change of the stored license.
pub(super) struct Change {
    /// The token to be stored; `None`: none is.
    pub(super) token: Option<String>,
    /// What it replaces, for the history.
    pub(super) former: Option<Entry>,
    /// Entries of the history to be dropped, by id.
    pub(super) dropped: Vec<String>,
    /// The line of audit that goes with it.
    pub(super) record: AuditRecord,
}

/// What only one replica does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Renew by schedule, and send events: held for as long as its holder lives.
    Schedule,
    /// ChangeRequest the issuer: held for one call.
    Renewal,
}

/// An event to be sent to `notify.url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedEvent {
    /// What makes it the same event: it is sent once.
    pub key: String,
    /// JSON, as it will be sent.
    pub body: String,
    /// How often it has been tried.
    pub attempts: u32,
    /// Not before.
    pub due: UnixTime,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was delivered, or given up.
    Done,
    /// It is to be tried again.
    Again {
        /// Not before.
        due: UnixTime,
    },
}

/// Why something was not kept or read. Nothing of its content appears.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory.
    #[error(transparent)]
    File(#[from] durable::Error),
    /// Another replica changed the license at the same time; nothing was changed by this one.
    #[error("another replica changed the license at the same moment: look at it, and try again")]
    Conflict,
    /// The database cannot be reached, or does not answer in time. Whether a change got through is seen when it is back.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answers and takes no changes: a standby, or set so.
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
    /// The tables are gone.
    #[error(
        "the database has lost the gate's tables: restore them, or restart a gate to make them anew"
    )]
    SchemaLost,
}
