//! What the audit log is told beside the changes of the stored license: what was refused or failed, and what came from
//! `license.file`.
//!
//! That it cannot be written is no reason to do something or not. Lines wait then, with their own times, until it can. Lines
//! for a database also wait in the gate's own copy, over restarts.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::backend::{Brief, Document, Record};
use super::error::Fault;
use super::held::{By, Held};
use super::written::Part;
use crate::clock::UnixTime;
use crate::license::{Claims, License, Standing, Status};
use crate::random;
use crate::telemetry::Episode;
use crate::telemetry::metrics::{Action, Outcome};

/// More lines do not wait: the oldest is lost then.
const MOST_WAITING: usize = 64;

/// Lines that wait.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    lines: VecDeque<Line>,
    is_told: bool,
    lost: Episode,
    /// Their form in the gate's own copy.
    copied: Vec<u8>,
    is_copy_told: bool,
}

#[derive(Debug)]
struct Line {
    /// A line of the same id is written once, even if it is sent again.
    id: String,
    record: Record,
    /// The digest of the token of `license.file` that is told of.
    seen: Option<Vec<u8>>,
}

/// A line in the copy.
#[derive(Serialize, Deserialize)]
struct Waiting {
    id: String,
    time: u64,
    actor: String,
    address: Option<IpAddr>,
    action: String,
    outcome: String,
    reason: String,
    old: Option<Brief>,
    new: Option<Brief>,
    request_id: String,
    seen: Option<Vec<u8>>,
}

impl Line {
    fn new(record: Record, seen: Option<Vec<u8>>) -> Self {
        Self { id: random::name() + &random::name(), record, seen }
    }

    fn waiting(&self) -> Waiting {
        let Record { time, actor, address, action, outcome, reason, old, new, request_id } =
            self.record.clone();
        Waiting {
            id: self.id.clone(),
            time: time.as_secs(),
            actor,
            address,
            action: action.as_str().to_owned(),
            outcome: outcome.as_str().to_owned(),
            reason,
            old,
            new,
            request_id,
            seen: self.seen.clone(),
        }
    }

    /// `None` for an unknown action or outcome.
    fn of(waiting: Waiting) -> Option<Self> {
        let Waiting { id, time, actor, address, action, outcome, reason, .. } = waiting;
        let Waiting { old, new, request_id, seen, .. } = waiting;
        let action = Action::ALL.iter().copied().find(|it| it.as_str() == action)?;
        let outcome = Outcome::ALL.iter().copied().find(|it| it.as_str() == outcome)?;
        let time = UnixTime::from_secs(time);
        let record = Record { time, actor, address, action, outcome, reason, old, new, request_id };
        Some(Self { id, record, seen })
    }

    /// Whether the line is as true later. That nothing was stored is true at its moment only.
    fn may_wait(&self) -> bool {
        self.record.outcome != Outcome::Ok || self.record.action == Action::File
    }
}

impl Held {
    /// Records what changed nothing in the store, and counts it.
    pub(super) fn note(
        &mut self,
        action: Action,
        outcome: Outcome,
        reason: &str,
        new: Option<Brief>,
        who: &By,
    ) {
        self.means.metrics.license_change(action, outcome);
        let record = self.line(action, outcome, reason, new, who);
        self.record(Line::new(record, None));
    }

    /// Records that `license` was taken from `license.file`; once, however often the gate is started.
    pub(super) fn note_file(&mut self, license: &License, seen: &[u8], who: &By) {
        self.means.metrics.license_change(Action::File, Outcome::Ok);
        let record = self.line(Action::File, Outcome::Ok, "", Some(self.brief(license)), who);
        self.record(Line::new(record, Some(seen.to_vec())));
    }

    fn record(&mut self, line: Line) {
        self.unrecorded.lines.push_back(line);
        self.write_waiting();
        self.unrecorded.lines.retain(Line::may_wait);
        if self.unrecorded.lines.len() > MOST_WAITING {
            self.unrecorded.lines.pop_front();
            if let Some(report) = self.unrecorded.lost.failed(Instant::now()) {
                tracing::warn!(
                    event = "audit.line_lost",
                    lines = report.failures,
                    "lines of the audit log are lost: too many wait"
                );
            }
        }
        self.copy_waiting();
    }

    /// Loads the lines that the last run could not write.
    pub(super) fn load_waiting(&mut self, faults: &mut Vec<Fault>) {
        if self.backend.is_own() {
            return;
        }
        let read = self.backend.document(Document::Unrecorded).unwrap_or_else(|error| {
            faults.push(Fault::NotReadable(error));
            None
        });
        let Some(content) = read else { return };
        match serde_json::from_slice::<Vec<Waiting>>(&content) {
            Ok(waiting) => {
                let lines = waiting.into_iter().filter_map(Line::of);
                // Before lines of this run.
                let noted = std::mem::take(&mut self.unrecorded.lines);
                self.unrecorded.lines = lines.chain(noted).collect();
            }
            Err(error) => faults.push(Fault::Unrecorded(error)),
        }
        self.unrecorded.copied = content;
    }

    /// Writes the waiting lines to the copy, or removes them there.
    fn copy_waiting(&mut self) {
        if self.backend.is_own() {
            return;
        }
        let waiting: Vec<_> = self.unrecorded.lines.iter().map(Line::waiting).collect();
        let content = match waiting[..] {
            [] => Vec::new(),
            _ => serde_json::to_vec(&waiting).unwrap_or_default(),
        };
        if content == self.unrecorded.copied {
            return;
        }
        let kept = self
            .keep(Part::Document, |backend| backend.keep_document(Document::Unrecorded, &content));
        let was_told = std::mem::replace(&mut self.unrecorded.is_copy_told, kept.is_err());
        match kept {
            Ok(()) => self.unrecorded.copied = content,
            Err(error) if !was_told => tracing::warn!(
                event = "audit.copy_failed",
                error = super::chain(&error),
                "lines of the audit log that wait could not be kept for the next start"
            ),
            Err(_) => {}
        }
    }

    /// Writes the lines that wait, the oldest first, as far as that can be done.
    pub(super) fn record_waiting(&mut self) {
        if !self.unrecorded.lines.is_empty() {
            self.write_waiting();
            self.unrecorded.lines.retain(Line::may_wait);
            self.copy_waiting();
        }
    }

    fn write_waiting(&mut self) {
        while let Some(line) = self.unrecorded.lines.front() {
            let done = self.backend.record(&line.record, &line.id);
            self.written(Part::Audit, &done);
            if let Err(error) = done {
                if !std::mem::replace(&mut self.unrecorded.is_told, true) {
                    let error = super::chain(&error);
                    tracing::warn!(
                        event = "audit.unwritable",
                        error,
                        "the audit log cannot be written: its lines wait"
                    );
                }
                return;
            }
            let line = self.unrecorded.lines.pop_front();
            if let Some(seen) = line.and_then(|line| line.seen) {
                // Should it not be kept, the next start records the same license again.
                let _ = self.keep(Part::Document, |backend| {
                    backend.keep_document(Document::LicenseFile, &seen)
                });
            }
        }
        if std::mem::take(&mut self.unrecorded.is_told) {
            let lost = self.unrecorded.lost.ended(Instant::now());
            let lost_lines = lost.map_or(0, |report| report.failures);
            tracing::info!(lost_lines, "the audit log is written again");
        }
    }

    /// Whether something is still to be written that could not be.
    pub(super) fn is_behind(&self) -> bool {
        !self.unrecorded.lines.is_empty() || self.lists.are_behind()
    }

    /// Writes what could not be written before. A database that is away is looked for by those who follow it.
    pub(super) fn catch_up(&mut self) {
        let may_work = || self.backend.is_own() || self.shared.answers.load(Ordering::Relaxed);
        if may_work() {
            self.record_waiting();
            self.catch_up_revocations();
        }
    }

    pub(super) fn line(
        &self,
        action: Action,
        outcome: Outcome,
        reason: &str,
        new: Option<Brief>,
        who: &By,
    ) -> Record {
        let slot = if action == Action::File { &self.file } else { &self.store };
        Record {
            time: self.now(),
            actor: who.actor.clone(),
            address: who.address,
            action,
            outcome,
            reason: reason.to_owned(),
            old: slot.license().map(|license| self.brief(license)),
            new,
            request_id: who.request_id.clone(),
        }
    }

    /// `license` in a few words.
    pub(super) fn brief(&self, license: &License) -> Brief {
        let standing = Standing::of(Some(license), &self.trust.policy, self.now());
        Brief::of(license.claims(), standing.status())
    }
}

impl Brief {
    pub(super) fn of(claims: &Claims, status: Status) -> Self {
        Self {
            jti: claims.jti.clone().unwrap_or_default(),
            lid: claims.lid.clone(),
            status: status.code(),
        }
    }
}
