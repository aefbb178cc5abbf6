//! Audit lines that do not belong to a change of the stored license: refused and failed changes, and changes of `license.file`.
//!
//! If the log cannot be written, these lines wait, with their original times, and block nothing. Lines for a database are also
//! kept in `unrecorded.json` of the gate's own copy, for the next start.

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

/// Most lines that wait. Beyond, the oldest one is lost.
const MOST_WAITING: usize = 64;

/// Lines that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    lines: VecDeque<Line>,
    is_logged: bool,
    lost: Episode,
    /// The content of `unrecorded.json`.
    copied: Vec<u8>,
    is_copy_logged: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// A line with the same id is written once, even if it is sent again.
    id: String,
    #[serde(flatten)]
    record: AuditRecord,
    /// The digest of the token of `license.file` that the line is about.
    seen: Option<Vec<u8>>,
}

impl Line {
    /// Whether the line may be written later. A removal that found nothing is true only at its moment.
    fn may_wait(&self) -> bool {
        self.record.outcome != Outcome::Ok || self.record.action == Action::File
    }
}

impl Recorder {
    /// Writes `line` after those that wait. Returns false, and writes nothing, for a token of `license.file` that was already
    /// recorded, for example in an earlier run.
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

    /// Loads the lines that an earlier run could not write.
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

    /// Writes the waiting lines, the oldest first, until one fails.
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
                        "the audit log cannot be written: lines wait until it can"
                    );
                }
                return;
            }
            let line = self.lines.pop_front();
            if let Some(seen) = line.and_then(|line| line.seen) {
                // If this fails, the next start records the same license again.
                let _ = storage
                    .write(Part::Document, |it| it.keep_document(Document::LicenseFile, &seen));
            }
        }
        if std::mem::take(&mut self.is_logged) {
            let lost = self.lost.ended(Instant::now());
            let lost_lines = lost.map_or(0, |report| report.failures);
            tracing::info!(lost_lines, "the audit log can be written again");
        }
    }

    /// Writes the waiting lines to `unrecorded.json`, or removes it.
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
        let was_logged = std::mem::replace(&mut self.is_copy_logged, kept.is_err());
        match kept {
            Ok(()) => self.copied = content,
            Err(error) if !was_logged => tracing::warn!(
                event = "audit.copy_failed",
                error = chain(&error),
                "waiting lines of the audit log could not be saved: a restart loses them"
            ),
            Err(_) => {}
        }
    }
}
