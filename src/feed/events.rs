//! What happens to a license, put into the queue for `notify.url`. Nothing is queued when nobody is to be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::license::{License, Status};
use crate::store::{Document, Error, Housekeeping, Lease, Reader};

use super::notify::{Notice, Occasion, Wake};

/// How long this gate has the telling to itself without saying so again.
const LEASE: Duration = Duration::from_secs(60);

/// The way into the queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Option<(Housekeeping, Wake)>,
    reader: Reader,
    clock: Clock,
    /// That the queue cannot be written was logged.
    said: Arc<AtomicBool>,
}

/// What is to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) occasion: Occasion,
    /// What makes it happen once.
    pub(super) about: &'a str,
    pub(super) license: Option<(&'a License, Status)>,
    pub(super) message: &'a str,
}

impl Events {
    /// Into `queue`, with the name of the instance from `reader`; `None`: nobody is told.
    pub fn new(queue: Option<(Housekeeping, Wake)>, reader: Reader, clock: Clock) -> Self {
        Self { queue, reader, clock, said: Arc::default() }
    }

    /// Whether anybody is told anything.
    pub(super) const fn are_told(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether it is for this gate to tell what all replicas see.
    ///
    /// # Errors
    /// That cannot be said now, and nothing can be queued either.
    pub(super) async fn are_ours(&self) -> Result<bool, Error> {
        match &self.queue {
            Some((store, _)) => store.lease(Lease::Schedule, LEASE).await,
            None => Ok(false),
        }
    }

    /// Queues it, unless it was told before: whether it is new.
    ///
    /// # Errors
    /// It could not be kept, which is logged, and is to be tried again.
    pub(super) async fn tell(&self, told: Told<'_>) -> Result<bool, Error> {
        let Some((store, wake)) = &self.queue else { return Ok(false) };
        let snapshot = self.reader.snapshot();
        let Told { occasion, about, license, message } = told;
        let instance = &snapshot.policy().root_url;
        let time = self.clock.now();
        let notice = Notice { occasion, about, time, instance, license, message };
        let posted = store.post(notice.event()).await;
        match &posted {
            Ok(is_new) => {
                self.said.store(false, Ordering::Relaxed);
                if *is_new {
                    wake.wake();
                }
            }
            Err(error) if !self.said.swap(true, Ordering::Relaxed) => {
                let error = error as &(dyn std::error::Error + 'static);
                let occasion = occasion.as_str();
                tracing::warn!(
                    event = "notify.not_queued",
                    occasion,
                    error,
                    "an event cannot be queued now; that is tried again"
                );
            }
            Err(_) => {}
        }
        posted
    }

    /// What [`keep`](Self::keep) kept last, in this run or an earlier one.
    pub(super) async fn kept(&self) -> Option<Vec<u8>> {
        let (store, _) = self.queue.as_ref()?;
        store.document(Document::Told).await.ok().flatten()
    }

    /// Keeps what was told last, for the next start. Should it not be kept, something may be told twice.
    pub(super) async fn keep(&self, told: Vec<u8>) {
        if let Some((store, _)) = &self.queue {
            let _ = store.keep_document(Document::Told, told).await;
        }
    }
}
