//! Whether what is kept could be written: `license_gate_store_up`, and two lines of the log.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::backend::{Backend, Error};
use super::held::Held;

/// What is written separately. On a full disk, a line of the audit log may fit where a license does not.
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
    pub(super) const fn bit(self) -> u8 {
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

impl Held {
    /// Records whether the database answered. For a directory, only writes count.
    pub(super) fn answered<T>(&self, outcome: &Result<T, Error>) {
        // That others were faster says nothing against the store.
        let answered = matches!(outcome, Ok(_) | Err(Error::Conflict));
        if !self.backend.is_own() {
            self.shared.answers.store(answered, Ordering::Relaxed);
        }
    }

    /// Records whether `part` could be written. Logs the first failure, and when all parts can be written again.
    pub(super) fn written<T>(&self, part: Part, outcome: &Result<T, Error>) {
        let is_local = self.backend.is_own() || part == Part::Document;
        if !is_local {
            self.answered(outcome);
        }
        let before = self.shared.unwritten.load(Ordering::Relaxed);
        let after = match outcome {
            // A change writes the most. The clock is written soon after it. A database accepts all parts or none.
            Ok(_) if part == Part::License && is_local => before & Part::Time.bit(),
            Ok(_) if !is_local => before & Part::Document.bit(),
            Ok(_) => before & !(part.bit() | Part::Opening.bit()),
            Err(Error::Conflict) => before,
            Err(_) => before | part.bit(),
        };
        self.shared.unwritten.store(after, Ordering::Relaxed);
        match outcome {
            Err(error) if before == 0 && after != 0 => {
                self.unwritable_since.set(Some(Instant::now()));
                tracing::warn!(
                    event = "store.unwritable",
                    what = part.as_str(),
                    error = super::chain(error),
                    "the store cannot be written"
                );
            }
            Ok(_) if before != 0 && after == 0 => {
                let since = self.unwritable_since.take();
                let duration_ms = since.map(|since| since.elapsed().as_millis());
                tracing::info!(
                    event = "store.writable",
                    duration_ms,
                    "the store can be written again"
                );
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Runs `write`, and records its outcome for `part`.
    pub(super) fn keep<T>(
        &mut self,
        part: Part,
        write: impl FnOnce(&mut dyn Backend) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = write(&mut *self.backend);
        self.written(part, &done);
        done
    }
}
