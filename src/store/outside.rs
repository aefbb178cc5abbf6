//! What changes the license without anybody asking for it: `license.file`, the issuer's keys, other replicas; what the
//! issuer revoked is in `revoked.rs`.
//!
//! The same rules as for a change that was asked for: verified first, then kept where it must survive a restart, then
//! swapped in. What is bad leaves what was good in force, and the caller is told, once for each content.

use std::io;
use std::sync::Arc;

use aws_lc_rs::digest;

use super::backend::{Document, Entry, Kept};
use super::error::{Fault, Offering};
use super::held::{By, Held, Slot};
use super::snapshot::{Candidate, Vouched};
use crate::license::{Keys, License, Rejection, Standing, Token, plausible, verify};
use crate::telemetry::metrics::{Action, Outcome};

/// The content of `license.file`, or why there is none.
pub type Offered = Result<Vec<u8>, io::Error>;

/// What a change of keys did to the licenses there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// `lid`s of licenses whose key is gone: they count for [`super::KEY_GRACE`] more.
    pub forsaken: Vec<String>,
    /// `lid`s of licenses that verify now and did not before.
    pub proven: Vec<String>,
}

impl Held {
    /// Takes the content of `license.file`. What is bad changes nothing, for what waits neither.
    pub(super) fn offer(&mut self, offered: Offered) -> Offering {
        self.take_content(offered, true)
    }

    /// Takes the content that `license.file` has at the start: a license counts there whatever the clock says.
    pub(super) fn offer_at_start(&mut self, content: Offered) -> Offering {
        self.take_content(content, false)
    }

    fn take_content(&mut self, offered: Offered, is_new: bool) -> Offering {
        let token = match offered.map(|content| Token::from_file(&content)) {
            Err(error) => {
                // A file that is still to come changes nothing.
                if error.kind() != io::ErrorKind::NotFound || self.file.candidate.is_some() {
                    self.refuse_file("unreadable");
                }
                return Offering::Unreadable(error);
            }
            Ok(Err(rejection)) => {
                self.refuse_file(rejection.code());
                return Offering::Refused(rejection);
            }
            Ok(Ok(token)) => token,
        };
        if self.file.license().is_some_and(|held| *held.token() == token) {
            (self.file.waiting, self.file.unproven) = (None, None);
            return Offering::Same;
        }
        match self.verify_file(&token, is_new) {
            Ok(license) => {
                self.file.unproven = None;
                let offering = self.take_file(Arc::new(license));
                if let Offering::Waits(_) = &offering {
                    // When it is to be looked at again has changed.
                    self.publish();
                }
                offering
            }
            Err(rejection) if rejection.is_about_keys() => {
                self.want_key(&rejection);
                (self.file.unproven, self.file.was_offered) = (Some(token), is_new);
                self.refuse_file(rejection.code());
                Offering::Unproven(rejection)
            }
            Err(rejection) => {
                self.refuse_file(rejection.code());
                Offering::Refused(rejection)
            }
        }
    }

    /// Verifies a token of `license.file`; one that came while the gate runs also has to have times that can be right.
    fn verify_file(&self, token: &Token, is_new: bool) -> Result<License, Rejection> {
        let license = verify(token, &self.trust.keys)?;
        if is_new {
            plausible(license.claims(), self.now())?;
        } else {
            self.look_at_times(&license);
        }
        Ok(license)
    }

    /// Takes what waits, when its time has come or the better one's has passed: whether it did.
    pub(super) fn reconsider(&mut self) -> bool {
        let Some(waiting) = self.file.waiting.take() else { return false };
        matches!(self.take_file(waiting), Offering::Taken)
    }

    fn take_file(&mut self, license: Arc<License>) -> Offering {
        let now = self.now();
        let policy = self.trust.policy.clone();
        let standing = Standing::of(Some(&license), &policy, now);
        let held = self.file.candidate.as_ref();
        let better = held.is_some_and(|held| held.standing(&policy, now).is_active());
        if let (true, Some(reason)) = (better, standing.reason()) {
            self.file.waiting = Some(license);
            return Offering::Waits(reason);
        }
        self.note_taken(&license);
        let candidate = Candidate::new(license, self.means.render);
        self.file = Slot { candidate: Some(candidate), ..Slot::default() };
        self.revision += 1;
        self.publish();
        Offering::Taken
    }

    fn refuse_file(&mut self, reason: &str) {
        self.note(Action::File, Outcome::Refused, reason, None, &by_file());
    }

    /// Records a token of the file, unless it was in force in the last run too.
    fn note_taken(&mut self, license: &License) {
        let seen = digest::digest(&digest::SHA256, license.token().as_str().as_bytes());
        let known = self.backend.document(Document::LicenseFile).ok().flatten();
        if known.as_deref() == Some(seen.as_ref()) {
            return;
        }
        self.note_file(license, seen.as_ref(), &by_file());
    }

    /// Believes `keys` from now on. What they sign is in force; what they no longer sign is for a while.
    pub(super) fn believe(&mut self, keys: Arc<Keys>) -> Rekeyed {
        self.trust.keys = keys;
        let mut done = Rekeyed::default();
        let now = self.now();
        for slot in [&mut self.file, &mut self.store] {
            let Some(candidate) = &mut slot.candidate else { continue };
            let lid = candidate.license().claims().lid.clone();
            if candidate.vouched_by(&self.trust.keys, now) == Vouched::NoLonger {
                done.forsaken.push(lid);
            }
        }
        self.prove_store(&mut done);
        self.prove_file(&mut done);
        self.prove_revocations();
        self.copy_down();
        self.judged.forget_all();
        self.former = self.judged.all(&self.entries, &self.trust);
        self.publish();
        done
    }

    fn prove_store(&mut self, done: &mut Rekeyed) {
        let Some(token) = self.store.unproven.take() else { return };
        match verify(&token, &self.trust.keys) {
            Ok(license) => {
                self.look_at_times(&license);
                done.proven.push(license.claims().lid.clone());
                let candidate = Candidate::new(license.into(), self.means.render);
                self.store = Slot { candidate: Some(candidate), ..Slot::default() };
                self.revision += 1;
            }
            Err(_) => self.store.unproven = Some(token),
        }
    }

    fn prove_file(&mut self, done: &mut Rekeyed) {
        let Some(token) = self.file.unproven.take() else { return };
        match self.verify_file(&token, self.file.was_offered) {
            Ok(license) => {
                let lid = license.claims().lid.clone();
                if matches!(self.take_file(Arc::new(license)), Offering::Taken) {
                    done.proven.push(lid);
                }
            }
            // Told when it came.
            Err(rejection) if rejection.is_about_keys() => self.file.unproven = Some(token),
            Err(rejection) => {
                tracing::warn!(
                    event = "license_file.not_used",
                    reason = %rejection,
                    "the token of license.file verifies with the keys there are now and is not accepted; the former one, if any, stays"
                );
                self.refuse_file(rejection.code());
            }
        }
    }

    /// Lets what is in force be found by a start without others.
    pub(super) fn copy_down(&mut self) {
        let token = self.store.license().map(|license| license.token().as_str());
        self.backend.adopted(token, self.lists.text());
    }

    /// Takes over what other replicas changed, as far as it verifies.
    pub(super) fn adopt(&mut self, kept: Kept) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.saw_of_others(kept.newest_time, &mut faults);
        // One who renews meanwhile has been overtaken, even by what changed nothing in the end.
        self.revision += u64::from(kept.is_changed);
        self.adopt_revocations(kept.revocations.as_deref(), &mut faults);
        self.adopt_token(kept.token.as_deref(), &mut faults);
        self.adopt_history(kept.history, kept.removed.as_deref());
        self.copy_down();
        self.put_list_back();
        self.publish();
        faults
    }

    /// Replaces the history, or, with `removed`, adds the new entries and drops those.
    fn adopt_history(&mut self, history: Vec<Entry>, removed: Option<&[String]>) {
        match removed {
            Some(removed) => {
                self.entries.retain(|entry| !removed.contains(&entry.id));
                self.judged.forget(removed);
                self.entries.extend(history);
                self.entries = newest_first(std::mem::take(&mut self.entries));
            }
            None => {
                self.entries = newest_first(history);
                self.judged.forget_all();
            }
        }
        self.former = self.judged.all(&self.entries, &self.trust);
    }

    fn adopt_token(&mut self, content: Option<&[u8]>, faults: &mut Vec<Fault>) {
        let Some(content) = content else {
            if self.store.candidate.is_some() {
                self.revision += 1;
            }
            self.store = Slot::default();
            return;
        };
        // What waited for its key is not what is stored any more.
        self.store.unproven = None;
        let token = Token::from_file(content);
        if let (Ok(token), Some(held)) = (&token, self.store.license())
            && token == held.token()
        {
            return;
        }
        match token.map(|token| (verify(&token, &self.trust.keys), token)) {
            Ok((Ok(license), _)) => {
                self.look_at_times(&license);
                let candidate = Candidate::new(license.into(), self.means.render);
                self.store = Slot { candidate: Some(candidate), ..Slot::default() };
                self.revision += 1;
            }
            Ok((Err(reason), token)) => {
                if reason.is_about_keys() {
                    self.want_key(&reason);
                    self.store.unproven = Some(token);
                }
                faults.push(Fault::Forged { reason });
            }
            Err(reason) => faults.push(Fault::Forged { reason }),
        }
    }
}

/// Entries in the order of their names, the last one first.
pub(super) fn newest_first(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|one, other| other.id.cmp(&one.id));
    entries
}

fn by_file() -> By {
    By::itself("license.file")
}
