//! Data that a store keeps in addition to licenses: the newest time seen, documents, leases, and the queue of events.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Error, Lease, QueuedEvent, Settled};
use super::held::Shared;
use super::layout::Document;
use super::storage::Part;
use super::turns::Turns;
use crate::clock::UnixTime;

/// How far a clock may be set back, or differ from another machine's, without being wrong.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

/// Access to everything beside licenses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Housekeeping {
    turns: Turns,
    shared: Arc<Shared>,
}

impl Housekeeping {
    pub(super) const fn new(turns: Turns, shared: Arc<Shared>) -> Self {
        Self { turns, shared }
    }

    /// Whether the last write of every part succeeded, and the database responds.
    pub fn is_up(&self) -> bool {
        self.shared.health.is_up()
    }

    /// Whether the database responded to the last query. Always true for a directory.
    pub fn answers(&self) -> bool {
        self.shared.health.answers()
    }

    /// The last lines of the audit log, newest first, at most `most`.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn last_lines(&self, most: usize) -> Result<Vec<String>, Error> {
        self.turns.attempt(move |held| held.storage.query(|it| it.last_lines(most))).await
    }

    /// Notes a moment that is certainly in the past, such as the `Date` of the issuer's response.
    pub fn saw(&self, moment: UnixTime) {
        self.shared.saw(moment);
    }

    /// The newest moment that is certainly in the past, noted in any run and by any replica.
    pub fn newest_time(&self) -> UnixTime {
        self.shared.newest_time()
    }

    /// Whether the clock went backwards: `now` is more than an hour before the newest moment noted.
    pub fn is_behind(&self, now: UnixTime) -> bool {
        now.saturating_add(CLOCK_TOLERANCE) < self.newest_time()
    }

    /// Stores [`newest_time`](Self::newest_time) for the next start.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn keep_time(&self) -> Result<(), Error> {
        let newest = self.newest_time();
        self.turns
            .attempt(move |held| held.storage.write(Part::Time, |it| it.keep_time(newest)))
            .await
    }

    /// Stores a document. Empty content removes it.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn keep_document(&self, name: Document, content: Vec<u8>) -> Result<(), Error> {
        self.turns
            .attempt(move |held| {
                held.storage.write(Part::Document, |it| it.keep_document(name, &content))
            })
            .await
    }

    /// The document, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn document(&self, name: Document) -> Result<Option<Vec<u8>>, Error> {
        self.turns.attempt(move |held| held.storage.backend.document(name)).await
    }

    /// Takes or prolongs `lease` for `span`. Returns whether this gate holds it now; false if the database is not available.
    pub async fn take_lease(&self, lease: Lease, span: Duration) -> bool {
        self.lease(lease, span).await.unwrap_or(false)
    }

    /// As [`take_lease`](Self::take_lease), with the error.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn lease(&self, lease: Lease, span: Duration) -> Result<bool, Error> {
        self.turns.attempt(move |held| held.storage.backend.take_lease(lease, span)).await
    }

    /// Gives `lease` back.
    pub async fn give_lease_back(&self, lease: Lease) {
        // If this fails, the lease runs out.
        let _ = self.turns.attempt(move |held| held.storage.backend.give_lease_back(lease)).await;
    }

    /// Queues an event unless one with the same key is or was in the queue. Returns whether it was queued.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn post(&self, event: QueuedEvent) -> Result<bool, Error> {
        self.turns
            .attempt(move |held| held.storage.write_if_new(Part::Events, |it| it.post(&event)))
            .await
    }

    /// Events that are due, oldest first, at most 16.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn due_events(&self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
        self.turns.attempt(move |held| held.storage.backend.due_events(now)).await
    }

    /// Records the result of sending an event.
    ///
    /// # Errors
    /// It could not be stored: the event may be sent again.
    pub async fn settle(&self, key: String, settled: Settled) -> Result<(), Error> {
        self.turns
            .attempt(move |held| held.storage.write(Part::Events, |it| it.settle(&key, settled)))
            .await
    }
}
