//! What a store keeps beside licenses: the clock, documents, leases, and the queue of events. None of it changes a license.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Error, Lease, QueuedEvent, Settled};
use super::held::Shared;
use super::layout::Document;
use super::storage::Part;
use super::turns::Turns;
use crate::clock::UnixTime;

/// A clock may be corrected by so much, and clocks of several machines may differ by it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

/// The way to all of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Housekeeping {
    turns: Turns,
    shared: Arc<Shared>,
}

impl Housekeeping {
    pub(super) const fn new(turns: Turns, shared: Arc<Shared>) -> Self {
        Self { turns, shared }
    }

    /// Whether the last write of everything succeeded, and the database answers.
    pub fn is_up(&self) -> bool {
        self.shared.health.is_up()
    }

    /// A moment that has certainly come: a date of the issuer's, say.
    pub fn saw(&self, moment: UnixTime) {
        self.shared.saw(moment);
    }

    /// The newest moment that has certainly come, in any run and on any replica.
    pub fn newest_time(&self) -> UnixTime {
        self.shared.newest_time()
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
        self.turns
            .attempt(move |held| held.storage.write(Part::Time, |it| it.keep_time(newest)))
            .await
    }

    /// Keeps a copy of something fetched.
    ///
    /// # Errors
    /// It could not be kept.
    pub async fn keep_document(&self, name: Document, content: Vec<u8>) -> Result<(), Error> {
        self.turns
            .attempt(move |held| {
                held.storage.write(Part::Document, |it| it.keep_document(name, &content))
            })
            .await
    }

    /// The copy kept last.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn document(&self, name: Document) -> Result<Option<Vec<u8>>, Error> {
        self.turns.attempt(move |held| held.storage.backend.document(name)).await
    }

    /// Takes `lease` for `span`: whether this gate has it now. Nobody has, while the store cannot be asked.
    pub async fn take_lease(&self, lease: Lease, span: Duration) -> bool {
        self.lease(lease, span).await.unwrap_or(false)
    }

    /// As [`take_lease`](Self::take_lease), where it matters that the store cannot be asked.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn lease(&self, lease: Lease, span: Duration) -> Result<bool, Error> {
        self.turns.attempt(move |held| held.storage.backend.take_lease(lease, span)).await
    }

    /// Gives `lease` back.
    pub async fn give_lease_back(&self, lease: Lease) {
        // Not given back, it runs out.
        let _ = self.turns.attempt(move |held| held.storage.backend.give_lease_back(lease)).await;
    }

    /// Queues an event unless it was queued before: whether it is new.
    ///
    /// # Errors
    /// It could not be kept.
    pub async fn post(&self, event: QueuedEvent) -> Result<bool, Error> {
        self.turns
            .attempt(move |held| held.storage.write_if_new(Part::Events, |it| it.post(&event)))
            .await
    }

    /// Events that are due, oldest first, a few at a time.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn due_events(&self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
        self.turns.attempt(move |held| held.storage.backend.due_events(now)).await
    }

    /// Notes how the sending of an event ended.
    ///
    /// # Errors
    /// It could not be kept: the event may be sent again.
    pub async fn settle(&self, key: String, settled: Settled) -> Result<(), Error> {
        self.turns
            .attempt(move |held| held.storage.write(Part::Events, |it| it.settle(&key, settled)))
            .await
    }
}
