//! What changes the license without anybody asking for it: `license.file`, the issuer's keys, what the issuer revoked,
//! other replicas.
//!
//! The same rules as for a change that was asked for: verified first, then kept where it must survive a restart, then
//! swapped in. What is bad leaves what was good in force, and the caller is told, once for each content.

use std::io;
use std::sync::Arc;

use aws_lc_rs::digest;

use super::backend::{Document, Entry, Kept};
use super::error::{Fault, Offering, RevokeError};
use super::held::{By, Held, Slot};
use super::history;
use super::snapshot::{Candidate, Trust, Vouched};
use crate::license::{
    Keys, License, Policy, Rejection, RevocationError, Revocations, Standing, Token, verify,
};
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
    /// Takes the content of `license.file`.
    pub(super) fn offer(&mut self, offered: Offered) -> Offering {
        (self.file.waiting, self.file.unproven) = (None, None);
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
            return Offering::Same;
        }
        match verify(&token, &self.trust.keys) {
            Ok(license) => self.take_file(Arc::new(license)),
            Err(rejection) if is_about_keys(&rejection) => {
                self.want_key(&rejection);
                self.file.unproven = Some(token);
                self.refuse_file(rejection.code());
                Offering::Unproven(rejection)
            }
            Err(rejection) => {
                self.refuse_file(rejection.code());
                Offering::Refused(rejection)
            }
        }
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
        self.saw(license.claims().iat);
        self.note_file(&license);
        let candidate = Candidate::new(license, self.means.render);
        self.file = Slot { candidate: Some(candidate), ..Slot::default() };
        self.revision += 1;
        self.publish();
        Offering::Taken
    }

    fn refuse_file(&mut self, reason: &str) {
        self.note(Action::File, Outcome::Refused, reason, None, &by_file());
    }

    /// Records a token of the file that was not in force in the last run either.
    fn note_file(&mut self, license: &License) {
        let seen = digest::digest(&digest::SHA256, license.token().as_str().as_bytes());
        let known = self.backend.document(Document::LicenseFile).ok().flatten();
        if known.as_deref() == Some(seen.as_ref()) {
            return;
        }
        let new = Some(self.brief(license));
        if self.note(Action::File, Outcome::Ok, "", new, &by_file()) {
            // Should it not be kept, the next start records the same license again.
            let _ = self.backend.keep_document(Document::LicenseFile, seen.as_ref());
        }
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
        if let Some(token) = self.file.unproven.take() {
            let offering = self.offer(Ok(token.as_str().into()));
            if let (Offering::Taken, Some(license)) = (&offering, self.file.license()) {
                done.proven.push(license.claims().lid.clone());
            }
        }
        if let Some(list) = self.unproven_revocations.take() {
            // Told when it came; that it still is not to be believed is nothing new.
            let _ = self.revoke(&list);
        }
        self.former = history::verified(&self.entries, &self.trust);
        self.publish();
        done
    }

    fn prove_store(&mut self, done: &mut Rekeyed) {
        let Some(token) = self.store.unproven.take() else { return };
        match verify(&token, &self.trust.keys) {
            Ok(license) => {
                done.proven.push(license.claims().lid.clone());
                let candidate = Candidate::new(license.into(), self.means.render);
                self.store = Slot { candidate: Some(candidate), ..Slot::default() };
                self.revision += 1;
            }
            Err(_) => self.store.unproven = Some(token),
        }
    }

    /// Takes a revocation list, kept before it counts.
    pub(super) fn revoke(&mut self, list: &[u8]) -> Result<(), RevokeError> {
        let list = match Revocations::verify(list, &self.trust.keys) {
            Err(error) => {
                if error.may_be_trusted_later() {
                    self.unproven_revocations = Some(list.to_vec());
                }
                if let RevocationError::NotTrusted(rejection) = &error {
                    self.want_key(rejection);
                }
                return Err(error.into());
            }
            Ok(list) => list,
        };
        if let Some(known) = &self.revocations {
            list.supersedes(known)?;
            if known == &list {
                return Ok(());
            }
        }
        let kept = self.backend.keep_revocations(list.text(), list.sequence());
        self.written(&kept);
        if !kept.map_err(RevokeError::NotStored)? {
            // A replica accepted a newer one, which the next refresh brings.
            let known = list.sequence().saturating_add(1);
            return Err(RevocationError::Older { offered: list.sequence(), known }.into());
        }
        self.unproven_revocations = None;
        self.count_revoked(list);
        self.publish();
        Ok(())
    }

    pub(super) fn count_revoked(&mut self, list: Revocations) {
        let policy = Policy { revoked: list.revoked().clone(), ..(*self.trust.policy).clone() };
        self.trust = Trust { policy: Arc::new(policy), ..self.trust.clone() };
        self.saw(list.issued_at());
        self.revocations = Some(list);
    }

    /// Takes over what other replicas changed, as far as it verifies.
    pub(super) fn adopt(&mut self, kept: Kept) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.saw(kept.newest_time);
        self.adopt_revocations(kept.revocations.as_deref(), &mut faults);
        self.adopt_token(kept.token.as_deref(), &mut faults);
        self.entries = newest_first(kept.history);
        self.former = history::verified(&self.entries, &self.trust);
        let token = self.store.license().map(|license| license.token().as_str().to_owned());
        let revocations = self.revocations.as_ref().map(|list| list.text().to_owned());
        self.backend.adopted(token.as_deref(), revocations.as_deref());
        self.publish();
        faults
    }

    fn adopt_revocations(&mut self, list: Option<&str>, faults: &mut Vec<Fault>) {
        let Some(list) = list else { return };
        match Revocations::verify(list, &self.trust.keys) {
            Ok(list) if self.revocations.as_ref().is_none_or(|k| list.supersedes(k).is_ok()) => {
                self.count_revoked(list);
            }
            Ok(_) => {}
            Err(error) => faults.push(Fault::Revocations(error)),
        }
    }

    fn adopt_token(&mut self, content: Option<&[u8]>, faults: &mut Vec<Fault>) {
        let Some(content) = content else {
            if self.store.candidate.is_some() {
                self.revision += 1;
            }
            self.store = Slot::default();
            return;
        };
        let token = Token::from_file(content);
        let held = self.store.license().map(|license| license.token());
        if token.as_ref().ok() == held {
            return;
        }
        match token.map(|token| (verify(&token, &self.trust.keys), token)) {
            Ok((Ok(license), _)) => {
                self.saw(license.claims().iat);
                let candidate = Candidate::new(license.into(), self.means.render);
                self.store = Slot { candidate: Some(candidate), ..Slot::default() };
                self.revision += 1;
            }
            Ok((Err(reason), token)) => {
                if is_about_keys(&reason) {
                    self.want_key(&reason);
                    self.store.unproven = Some(token);
                }
                faults.push(Fault::Forged { reason });
            }
            Err(reason) => faults.push(Fault::Forged { reason }),
        }
    }
}

/// Whether other keys may turn a token that was rejected so into a license.
pub(super) const fn is_about_keys(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::KeysMissing
            | Rejection::KeyUnknown { .. }
            | Rejection::KeyAlgorithmMismatch { .. }
            | Rejection::SignatureInvalid
    )
}

/// Entries in the order of their names, the last one first.
pub(super) fn newest_first(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|one, other| other.id.cmp(&one.id));
    entries
}

fn by_file() -> By {
    By::itself("license.file")
}
