//! Hand-over: during an upgrade another process of the same gate takes the store over.
//!
//! The lock is released between two changes. From then on nothing is written here, until [`Held::take_back`]: the other process
//! may have failed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::StoreFault;
use super::backend::{Backend, Change, Error, Kept, Lease, QueuedEvent, Settled};
use super::held::Held;
use super::layout::Document;
use super::record::AuditRecord;
use super::state::Event;
use crate::clock::UnixTime;
use crate::text::chain;

/// In place of a backend that was given up: nothing can be written, and nothing changes.
#[derive(Debug)]
struct HandedOver {
    is_own: bool,
}

impl Held {
    /// Releases the store.
    pub(super) fn hand_over(&mut self) {
        if self.handed_over.is_some() {
            // It could not be taken back.
            return;
        }
        self.catch_up();
        let is_own = self.storage.backend.is_own();
        let placeholder = Box::new(HandedOver { is_own });
        let mut backend = std::mem::replace(&mut self.storage.backend, placeholder);
        backend.release();
        self.handed_over = Some(backend);
        self.shared.handed_over.store(true, Ordering::Relaxed);
    }

    /// Reads the license that the other process has stored meanwhile, so that no client gets an older one here.
    pub(super) fn look(&mut self) {
        let Some(backend) = &mut self.handed_over else { return };
        match backend.look() {
            Ok(Some(kept)) => drop(self.take(Event::Others(kept.into()))),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(
                    error = chain(&error),
                    "the store of the new process cannot be read"
                );
            }
        }
    }

    /// Takes the store back, with its present content.
    pub(super) fn take_back(&mut self) -> Result<Vec<StoreFault>, Error> {
        let mut faults = Vec::new();
        if let Some(mut backend) = self.handed_over.take() {
            if let Err(error) = backend.retake() {
                self.handed_over = Some(backend);
                return Err(error);
            }
            let unreadable = backend.look().err();
            self.storage.backend = backend;
            if let Some(error) = unreadable {
                // The license in memory is better than none.
                return Ok(vec![StoreFault::NotReadable(error)]);
            }
            let before = self.state.store.license().map(|license| license.token().clone());
            // The other process may have stored or removed a license.
            self.start(&mut faults);
            if self.state.store.license().map(|license| license.token()) != before.as_ref() {
                self.state.revision += 1;
            }
            self.publish();
        }
        Ok(faults)
    }

    /// Accepts changes again, unless the store is still handed over.
    pub(super) fn accept_changes(&mut self) {
        self.shared.handed_over.store(self.handed_over.is_some(), Ordering::Relaxed);
    }
}

impl Backend for HandedOver {
    fn is_own(&self) -> bool {
        self.is_own
    }

    fn load(&mut self) -> (Kept, Vec<Error>) {
        (Kept::default(), vec![Error::HandedOver])
    }

    fn commit(&mut self, _: &Change) -> Result<(), Error> {
        Err(Error::HandedOver)
    }

    fn record(&mut self, _: &AuditRecord, _: &str) -> Result<(), Error> {
        Err(Error::HandedOver)
    }

    fn keep_revocations(&mut self, _: &str, _: u64) -> Result<(), Error> {
        Err(Error::HandedOver)
    }

    fn keep_time(&mut self, _: UnixTime) -> Result<(), Error> {
        Err(Error::HandedOver)
    }

    fn keep_document(&mut self, _: Document, _: &[u8]) -> Result<(), Error> {
        Err(Error::HandedOver)
    }

    fn document(&mut self, _: Document) -> Result<Option<Vec<u8>>, Error> {
        Err(Error::HandedOver)
    }

    fn last_lines(&mut self, _: usize) -> Result<Vec<String>, Error> {
        Err(Error::HandedOver)
    }

    fn take_lease(&mut self, _: Lease, _: Duration) -> Result<bool, Error> {
        Err(Error::HandedOver)
    }

    fn post(&mut self, _: &QueuedEvent) -> Result<bool, Error> {
        Err(Error::HandedOver)
    }

    fn due_events(&mut self, _: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
        Err(Error::HandedOver)
    }

    fn settle(&mut self, _: &str, _: Settled) -> Result<(), Error> {
        Err(Error::HandedOver)
    }
}
