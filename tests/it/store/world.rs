//! The model of a gate: the stored license, that of `license.file`, the history, the audit log.

use super::kept::{Former, Kept};
use super::papers::{PAPERS, Paper, paper};
use super::trail::Line;
use crate::support::timed::NOW;

/// A request to a store. Licenses are identified by their index.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Install(usize),
    InstallForged,
    /// Renews the license in force. `late`: it has changed since the issuer was called.
    Renew {
        with: usize,
        late: bool,
    },
    Remove,
    /// To the license with this index; beyond the last, to an unknown one.
    RollBack(usize),
    Offer(Content),
    Reconsider,
}

/// The content of `license.file`.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Paper(usize),
    Forged,
    Garbage,
    Missing,
}

/// An obstacle on the disk during a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Nothing,
    License,
    Audit,
    History,
}

/// Why a change was not made.
pub(super) type Refused = &'static str;

/// The expected state.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) kept: Kept,
    /// Former licenses that were dropped and are still on the disk.
    pub(super) left: Vec<Former>,
    pub(super) content: Content,
    pub(super) file: Option<Paper>,
    waiting: Option<Paper>,
    /// The license of the file that was last recorded.
    pub(super) noted: Option<Paper>,
    pub(super) lines: Vec<Line>,
    /// Number of license changes since the start.
    pub(super) revision: u64,
}

impl World {
    /// An empty store with `store.history` = `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            now: NOW,
            kept: Kept::new(most),
            left: Vec::new(),
            content: Content::Missing,
            file: None,
            waiting: None,
            noted: None,
            lines: Vec::new(),
            revision: 0,
        }
    }

    /// Makes a change, if it is allowed.
    pub(super) fn make(&mut self, change: &Change, obstacle: Obstacle) -> Result<(), Refused> {
        let (action, new, done) = match change {
            Change::Install(place) => {
                let paper = paper(*place);
                let done = objection(&paper, self.now);
                let done = done.and_then(|()| self.put("install", Some(&paper), obstacle));
                ("install", Some(paper), done)
            }
            Change::InstallForged => ("install", None, Err("key-unknown")),
            Change::Renew { with, late } => {
                let paper = paper(*with);
                let done = self.renewable(&paper, *late);
                let done = done.and_then(|()| self.put("renew", Some(&paper), obstacle));
                ("renew", Some(paper), done)
            }
            Change::Remove if self.kept.stored.is_none() => {
                self.note("remove", "ok", "there was none", None, obstacle);
                ("remove", None, Ok(()))
            }
            Change::Remove => ("remove", None, self.put("remove", None, obstacle)),
            Change::RollBack(place) => {
                let asked = (*place < PAPERS).then(|| paper(*place));
                let mut former = self.kept.history.iter().map(|former| &former.paper);
                let found = asked.filter(|asked| former.any(|paper| paper == asked));
                let done = found.as_ref().ok_or("not-found");
                let done = done.and_then(|paper| objection(paper, self.now));
                let done = done.and_then(|()| self.put("rollback", found.as_ref(), obstacle));
                ("rollback", found, done)
            }
            Change::Offer(content) => {
                self.content = content.clone();
                self.offer(obstacle);
                return Ok(());
            }
            Change::Reconsider => {
                if let Some(waiting) = self.waiting.take() {
                    self.take(waiting, obstacle);
                }
                return Ok(());
            }
        };
        if let Err(reason) = done {
            let outcome = if reason == "not-stored" { "failed" } else { "refused" };
            self.note(action, outcome, reason, new.as_ref(), obstacle);
        }
        done
    }

    /// Restarts the gate.
    pub(super) fn restart(&mut self) {
        self.kept.find(std::mem::take(&mut self.left));
        (self.file, self.waiting, self.revision) = (None, None, 0);
        // A change that is in the log, and that a crash prevented, gets another line.
        let stored = self.kept.stored.as_ref().map(Paper::jti);
        let promised = self.lines.last().filter(|line| line.is_change() && line.new != stored);
        if let Some(promised) = promised.cloned() {
            self.lines.push(Line {
                outcome: "failed".to_owned(),
                reason: "interrupted".to_owned(),
                old: stored,
                ..promised
            });
        }
        self.offer(Obstacle::Nothing);
    }

    /// The license in force, and whether it is the file's.
    pub(super) fn in_force(&self) -> Option<(&Paper, bool)> {
        let worth = |paper: &Paper| (paper.is_valid(self.now), paper.iat);
        match (&self.kept.stored, &self.file) {
            (Some(stored), Some(file)) if worth(file) > worth(stored) => Some((file, true)),
            (Some(stored), _) => Some((stored, false)),
            (None, file) => file.as_ref().map(|file| (file, true)),
        }
    }

    fn renewable(&self, paper: &Paper, late: bool) -> Result<(), Refused> {
        objection(paper, self.now)?;
        let Some((former, _)) = self.in_force() else { return Ok(()) };
        match () {
            () if late => Err("superseded"),
            () if former.lid() != paper.lid() => Err("other-license"),
            () if former.iat > paper.iat => Err("older"),
            () => Ok(()),
        }
    }

    fn put(
        &mut self,
        action: &str,
        next: Option<&Paper>,
        obstacle: Obstacle,
    ) -> Result<(), Refused> {
        let stored = self.kept.stored.as_ref();
        let replaces = stored.is_some() && stored != next;
        match obstacle {
            Obstacle::License | Obstacle::Audit => return Err("not-stored"),
            Obstacle::History if replaces => return Err("not-stored"),
            Obstacle::History | Obstacle::Nothing => {}
        }
        self.note(action, "ok", "", next, obstacle);
        let gone = self.kept.put(next.cloned(), self.now);
        if obstacle == Obstacle::History {
            self.left.extend(gone);
        }
        self.revision += 1;
        Ok(())
    }

    fn offer(&mut self, obstacle: Obstacle) {
        let refused = match self.content {
            Content::Paper(place) => {
                self.waiting = None;
                let offered = paper(place);
                if self.file.as_ref() != Some(&offered) {
                    self.take(offered, obstacle);
                }
                return;
            }
            Content::Missing if self.file.is_none() => return,
            Content::Missing => "unreadable",
            Content::Garbage => "malformed",
            Content::Forged => "key-unknown",
        };
        self.note("file", "refused", refused, None, obstacle);
    }

    fn take(&mut self, offered: Paper, obstacle: Obstacle) {
        let is_held = self.file.as_ref().is_some_and(|held| held.is_valid(self.now));
        if is_held && !offered.is_valid(self.now) {
            self.waiting = Some(offered);
            return;
        }
        if self.noted.as_ref() != Some(&offered) {
            self.note("file", "ok", "", Some(&offered), obstacle);
            self.noted = Some(offered.clone());
        }
        self.file = Some(offered);
        self.revision += 1;
    }

    fn note(
        &mut self,
        action: &str,
        outcome: &str,
        reason: &str,
        new: Option<&Paper>,
        obstacle: Obstacle,
    ) {
        // Other lines wait until the obstacle is gone.
        if obstacle == Obstacle::Audit && (action, outcome) == ("remove", "ok") {
            return;
        }
        let old = if action == "file" { &self.file } else { &self.kept.stored };
        self.lines.push(Line {
            action: action.to_owned(),
            outcome: outcome.to_owned(),
            reason: reason.to_owned(),
            old: old.as_ref().map(Paper::jti),
            new: new.map(Paper::jti),
        });
    }
}

fn objection(paper: &Paper, now: u64) -> Result<(), Refused> {
    paper.objection(now).map_or(Ok(()), Err)
}
