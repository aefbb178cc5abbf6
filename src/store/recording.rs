//! Lines of the audit log that come with no change of the stored license: what was refused or failed, and what came from
//! `license.file`.
//!
//! That the log cannot be written is no reason to do something or not. Lines wait then, with their own times, until it can.
//! Lines for a database also wait in the gate's own copy, over restarts.

use std::collections::VecDeque;
use std::time::Instant;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::error::StoreFault;
use super::layout::Document;
use super::record::{Action, AuditRecord, Outcome};
use super::state;
use super::storage::{Part, Storage};
use crate::random;
use crate::telemetry::Episode;
use crate::text::chain;

/// More lines do not wait: the oldest is lost then.
const MOST_WAITING: usize = 64;

/// Lines that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    lines: VecDeque<Line>,
    is_logged: bool,
    lost: Episode,
    /// Their form in the gate's own copy.
    copied: Vec<u8>,
    is_copy_logged: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// A line of the same id is written once, even if it is sent again.
    id: String,
    #[serde(flatten)]
    record: AuditRecord,
    /// The digest of the token of `license.file` that the line is about.
    seen: Option<Vec<u8>>,
}

impl Line {
    /// Whether the line is as true later. That nothing was stored is true at its moment only.
    fn may_wait(&self) -> bool {
        self.record.outcome != Outcome::Ok || self.record.action == Action::File
    }
}

impl Recorder {
    /// Writes `line`, behind those that wait: whether it is one to be recorded. A token of `license.file` that was in force in
    /// the last run too is not.
    pub(super) fn record(&mut self, line: state::Line, storage: &mut Storage) -> bool {
        let state::Line { record, taken } = line;
        let seen = taken.map(|token| {
            digest::digest(&digest::SHA256, token.as_str().as_bytes()).as_ref().to_vec()
        });
        if seen.is_some() && storage.backend.document(Document::LicenseFile).ok().flatten() == seen
        {
            return false;
        }
        self.lines.push_back(Line { id: random::name() + &random::name(), record, seen });
        self.write(storage);
        self.lines.retain(Line::may_wait);
        if self.lines.len() > MOST_WAITING {
            self.lines.pop_front();
            if let Some(report) = self.lost.failed(Instant::now()) {
                tracing::warn!(
                    event = "audit.line_lost",
                    lines = report.failures,
                    "lines of the audit log are lost: too many wait"
                );
            }
        }
        self.copy(storage);
        true
    }

    /// Loads the lines that the last run could not write.
    pub(super) fn load(&mut self, storage: &mut Storage, faults: &mut Vec<StoreFault>) {
        if storage.backend.is_own() {
            return;
        }
        let read = storage.backend.document(Document::Unrecorded).unwrap_or_else(|error| {
            faults.push(StoreFault::NotReadable(error));
            None
        });
        let Some(content) = read else { return };
        match serde_json::from_slice(&content) {
            Ok(lines) => self.lines = lines,
            Err(error) => faults.push(StoreFault::Unrecorded(error)),
        }
        self.copied = content;
    }

    /// Whether lines wait.
    pub(super) fn is_behind(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Writes the lines that wait, the oldest first, as far as that can be done.
    pub(super) fn catch_up(&mut self, storage: &mut Storage) {
        if self.is_behind() {
            self.write(storage);
            self.lines.retain(Line::may_wait);
            self.copy(storage);
        }
    }

    fn write(&mut self, storage: &mut Storage) {
        while let Some(line) = self.lines.front() {
            let done = storage.write(Part::Audit, |it| it.record(&line.record, &line.id));
            if let Err(error) = done {
                if !std::mem::replace(&mut self.is_logged, true) {
                    let error = chain(&error);
                    tracing::warn!(
                        event = "audit.unwritable",
                        error,
                        "the audit log cannot be written: its lines wait"
                    );
                }
                return;
            }
            let line = self.lines.pop_front();
            if let Some(seen) = line.and_then(|line| line.seen) {
                // Should it not be kept, the next start records the same license again.
                let _ = storage
                    .write(Part::Document, |it| it.keep_document(Document::LicenseFile, &seen));
            }
        }
        if std::mem::take(&mut self.is_logged) {
            let lost = self.lost.ended(Instant::now());
            let lost_lines = lost.map_or(0, |report| report.failures);
            tracing::info!(lost_lines, "the audit log is written again");
        }
    }

    /// Writes the waiting lines to the copy, or removes them there.
    fn copy(&mut self, storage: &mut Storage) {
        if storage.backend.is_own() {
            return;
        }
        let content = match self.lines.is_empty() {
            true => Vec::new(),
            false => serde_json::to_vec(&self.lines).unwrap_or_default(),
        };
        if content == self.copied {
            return;
        }
        let kept =
            storage.write(Part::Document, |it| it.keep_document(Document::Unrecorded, &content));
        let was_told = std::mem::replace(&mut self.is_copy_logged, kept.is_err());
        match kept {
            Ok(()) => self.copied = content,
            Err(error) if !was_told => tracing::warn!(
                event = "audit.copy_failed",
                error = chain(&error),
                "lines of the audit log that wait could not be kept for the next start"
            ),
            Err(_) => {}
        }
    }
}
