//! The backend, and its health: whether everything can be written. Source of `license_gate_store_up` and of the log events
//! `store.unwritable` and `store.writable`.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::backend::{Backend, Error};
use crate::text::chain;

/// A part of the store that is written separately. On a full disk, an audit line may still fit where a license does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The store could not be opened for writing at the start. Any later write clears it.
    Opening,
    /// The license, its history and its line of the audit log.
    License,
    /// A line of the audit log alone.
    Audit,
    Revocations,
    Time,
    /// A local copy of a fetched document.
    Document,
    Events,
}

impl Part {
    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Value of the log field `what`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "store",
            Self::License => "license",
            Self::Audit => "audit",
            Self::Revocations => "revocations",
            Self::Time => "clock",
            Self::Document => "document",
            Self::Events => "events",
        }
    }
}

/// The backend. All writes go through [`write`](Self::write), which records failures.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) backend: Box<dyn Backend>,
    pub(super) health: Arc<Health>,
}

/// Whether the backend works.
#[derive(Debug)]
pub(super) struct Health {
    /// Whether the database responded to the last query. Always true for a directory.
    answers: AtomicBool,
    /// The [parts](Part) that could not be written last time, one bit each.
    unwritten: AtomicU8,
    /// Time of the first failed write, while a part cannot be written.
    since: Mutex<Option<Instant>>,
}

impl Health {
    /// Whether the database responded to the last query. Always true for a directory.
    pub(super) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether the last write of every part succeeded, and the database responds.
    pub(super) fn is_up(&self) -> bool {
        self.answers() && self.unwritten.load(Ordering::Relaxed) == 0
    }
}

impl Storage {
    /// `is_up`: whether the backend could be opened for writing.
    pub(super) fn new(backend: Box<dyn Backend>, is_up: bool) -> Self {
        let is_own = backend.is_own();
        let health = Health {
            answers: AtomicBool::new(is_up || is_own),
            unwritten: AtomicU8::new(if is_up || !is_own { 0 } else { Part::Opening.bit() }),
            since: Mutex::new((!is_up).then(Instant::now)),
        };
        Self { backend, health: health.into() }
    }

    /// Runs a query, and records whether the database responded. For a directory, only writes count.
    pub(super) fn query<T>(
        &mut self,
        query: impl FnOnce(&mut dyn Backend) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = query(&mut *self.backend);
        self.answered(&outcome);
        outcome
    }

    /// Runs `write`, and records its outcome for `part`. Logs the first failure, and when all parts can be written again.
    pub(super) fn write<T>(
        &mut self,
        part: Part,
        write: impl FnOnce(&mut dyn Backend) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = write(&mut *self.backend);
        self.written(part, &outcome);
        outcome
    }

    /// As [`write`](Self::write), for a write that returns false if there was nothing to write.
    pub(super) fn write_if_new(
        &mut self,
        part: Part,
        write: impl FnOnce(&mut dyn Backend) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let outcome = write(&mut *self.backend);
        if !matches!(outcome, Ok(false)) {
            self.written(part, &outcome);
        }
        outcome
    }

    fn answered<T>(&self, outcome: &Result<T, Error>) {
        // A conflict is a response too.
        let answered = matches!(outcome, Ok(_) | Err(Error::Conflict | Error::HandedOver));
        if !self.backend.is_own() {
            self.health.answers.store(answered, Ordering::Relaxed);
        }
    }

    fn written<T>(&self, part: Part, outcome: &Result<T, Error>) {
        let is_local = self.backend.is_own() || part == Part::Document;
        if !is_local {
            self.answered(outcome);
        }
        let unwritten = &self.health.unwritten;
        let before = unwritten.load(Ordering::Relaxed);
        let after = match outcome {
            // A change writes the most. The clock is written soon after it. A database accepts all parts or none.
            Ok(_) if part == Part::License && is_local => before & Part::Time.bit(),
            Ok(_) if !is_local => before & Part::Document.bit(),
            Ok(_) => before & !(part.bit() | Part::Opening.bit()),
            Err(Error::Conflict | Error::HandedOver) => before,
            Err(_) => before | part.bit(),
        };
        unwritten.store(after, Ordering::Relaxed);
        let mut since = self.health.since.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Err(error) if before == 0 && after != 0 => {
                *since = Some(Instant::now());
                tracing::warn!(
                    event = "store.unwritable",
                    what = part.as_str(),
                    error = chain(error),
                    "the store cannot be written"
                );
            }
            Ok(_) if before != 0 && after == 0 => {
                let duration_ms = since.take().map(|since| since.elapsed().as_millis());
                tracing::info!(
                    event = "store.writable",
                    duration_ms,
                    "the store can be written again"
                );
            }
            Ok(_) | Err(_) => {}
        }
    }
}
