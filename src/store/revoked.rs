//! Which revocation list counts: of those that are offered, kept, or kept by others, and verify, the one of the highest
//! sequence. It is kept before it counts, and put back where others keep an older one or none.
//!
//! A list by a key that is not known yet, or that could not be kept, waits and is judged again.

use super::backend::Error;
use super::error::{Fault, RevokeError};
use super::held::Held;
use super::snapshot::Trust;
use super::written::Part;
use crate::license::{Policy, RevocationError, Revocations};

/// How often a list is offered to others who keep changing theirs at that moment.
const ATTEMPTS: usize = 3;

/// The lists there are.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The one that counts.
    counts: Option<Revocations>,
    /// Whether others keep that one, too, or one of which it cannot be told yet whether it is newer.
    is_shared: bool,
    /// One of others, by a key that is not known yet.
    others: Option<String>,
    /// One that was offered and does not count yet.
    waits: Option<Waits>,
    /// That the one that counts cannot be put back was logged.
    is_told: bool,
}

#[derive(Debug)]
enum Waits {
    ForItsKey(Vec<u8>),
    ToBeKept(Vec<u8>),
}

impl Lists {
    /// The text of the one that counts.
    pub(super) fn text(&self) -> Option<&str> {
        self.counts.as_ref().map(Revocations::text)
    }

    /// Whether there is something to do that could not be done.
    pub(super) fn are_behind(&self) -> bool {
        let is_known_elsewhere = self.is_shared || self.counts.is_none();
        matches!(self.waits, Some(Waits::ToBeKept(_))) || !is_known_elsewhere
    }
}

impl Held {
    /// What is kept at the start, and in this gate's own copy of it.
    pub(super) fn load_revocations(
        &mut self,
        kept: Option<&str>,
        copy: Option<&str>,
        faults: &mut Vec<Fault>,
    ) {
        let is_own = self.backend.is_own();
        match own(if is_own { kept } else { copy }, &self.trust) {
            Some(Ok(list)) => self.count_revoked(list),
            Some(Err(error)) => faults.push(Fault::Revocations(error)),
            None => {}
        }
        if is_own {
            self.lists.is_shared = true;
        } else {
            self.adopt_revocations(kept, faults);
        }
    }

    /// Takes a revocation list, kept before it counts.
    pub(super) fn revoke(&mut self, offered: &[u8]) -> Result<(), RevokeError> {
        let done = self.try_revoke(offered);
        match &done {
            Ok(()) => self.lists.waits = None,
            Err(RevokeError::NotStored(_)) => {
                self.lists.waits = Some(Waits::ToBeKept(offered.to_vec()));
            }
            Err(RevokeError::Refused(error)) if error.may_be_trusted_later() => {
                self.lists.waits = Some(Waits::ForItsKey(offered.to_vec()));
            }
            Err(_) => {}
        }
        done
    }

    fn try_revoke(&mut self, offered: &[u8]) -> Result<(), RevokeError> {
        let verified = Revocations::verify(offered, &self.trust.keys);
        if let Err(RevocationError::NotTrusted(rejection)) = &verified {
            self.want_key(rejection);
        }
        let list = verified?;
        for _ in 0..ATTEMPTS {
            if !self.is_news(&list)? {
                return Ok(());
            }
            // What others keep is looked at first: theirs may be newer.
            self.follow().map_err(RevokeError::NotStored)?;
            if !self.is_news(&list)? {
                return Ok(());
            }
            let kept = self.backend.keep_revocations(list.text(), list.sequence());
            self.written(Part::Revocations, &kept);
            match kept {
                Ok(()) => {
                    self.count_revoked(list);
                    self.lists.is_shared = true;
                    self.lists.others = None;
                    self.publish();
                    return Ok(());
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(RevokeError::NotStored(error)),
            }
        }
        Err(RevokeError::NotStored(Error::Conflict))
    }

    /// Whether `list` is another one than the one that counts, which it must not be older than.
    fn is_news(&self, list: &Revocations) -> Result<bool, RevocationError> {
        let Some(known) = &self.lists.counts else { return Ok(true) };
        list.supersedes(known)?;
        Ok(known != list)
    }

    /// Takes over the list that others keep, if it is no older; an older one of theirs is to be replaced.
    pub(super) fn adopt_revocations(&mut self, list: Option<&str>, faults: &mut Vec<Fault>) {
        self.lists.others = None;
        self.lists.is_shared = list == self.lists.text();
        let Some(text) = list.filter(|_| !self.lists.is_shared) else { return };
        match Revocations::verify(text, &self.trust.keys) {
            Ok(list) => self.take_of_others(list),
            Err(error) => {
                if let RevocationError::NotTrusted(rejection) = &error {
                    self.want_key(rejection);
                    self.lists.others = Some(text.to_owned());
                    self.lists.is_shared = true;
                }
                faults.push(Fault::Revocations(error));
            }
        }
    }

    /// Of two of one sequence it is theirs that counts, so that all agree.
    fn take_of_others(&mut self, list: Revocations) {
        let known = self.lists.counts.as_ref();
        self.lists.is_shared = known.is_none_or(|known| list.sequence() >= known.sequence());
        if self.lists.is_shared {
            self.count_revoked(list);
        }
    }

    /// Judges what waited for its key, under other keys.
    pub(super) fn prove_revocations(&mut self) {
        if let Some(text) = self.lists.others.take() {
            match Revocations::verify(&text, &self.trust.keys) {
                Ok(list) => self.take_of_others(list),
                Err(error) if error.may_be_trusted_later() => self.lists.others = Some(text),
                Err(_) => self.lists.is_shared = false,
            }
        }
        if let Some(Waits::ForItsKey(offered)) = &self.lists.waits {
            let offered = offered.clone();
            self.revoke_late(&offered);
        }
    }

    /// Does what could not be done when it was to be.
    pub(super) fn catch_up_revocations(&mut self) {
        if let Some(Waits::ToBeKept(offered)) = &self.lists.waits {
            let offered = offered.clone();
            self.revoke_late(&offered);
        }
        self.put_list_back();
    }

    /// That it still cannot be taken is nothing new.
    fn revoke_late(&mut self, offered: &[u8]) {
        match self.revoke(offered) {
            Ok(()) => tracing::info!("the revocation list that could not be taken before is taken"),
            Err(error) => tracing::debug!(%error, "the revocation list still cannot be taken"),
        }
    }

    /// Others have an older list, or none: a database was restored, or somebody took it away.
    pub(super) fn put_list_back(&mut self) {
        let Some(list) = self.lists.counts.as_ref().filter(|_| !self.lists.is_shared) else {
            return;
        };
        let (done, sequence) =
            (self.backend.keep_revocations(list.text(), list.sequence()), list.sequence());
        match &done {
            Ok(()) => {
                (self.lists.is_shared, self.lists.is_told) = (true, false);
                tracing::warn!(
                    event = "revocations.put_back",
                    sequence,
                    "the database had no revocation list, or an older one: put back"
                );
            }
            // Perhaps others put theirs back: the next look tells.
            Err(Error::Conflict) => {}
            Err(error) if !std::mem::replace(&mut self.lists.is_told, true) => {
                let error = super::chain(error);
                tracing::warn!(
                    event = "revocations.put_back_failed",
                    sequence,
                    error,
                    "the database has no revocation list, or an older one, and it cannot be put back; that is tried again"
                );
            }
            Err(_) => {}
        }
        // One that takes no list is left alone until it answers again.
        self.written(Part::Revocations, &done);
    }

    fn count_revoked(&mut self, list: Revocations) {
        let policy = Policy { revoked: list.revoked().clone(), ..(*self.trust.policy).clone() };
        self.trust = Trust { policy: policy.into(), ..self.trust.clone() };
        self.lists.counts = Some(list);
    }
}

/// A list that was accepted once and lay where nobody else writes counts even when its key is trusted no more.
fn own(list: Option<&str>, trust: &Trust) -> Option<Result<Revocations, RevocationError>> {
    let text = list?;
    Some(match Revocations::verify(text, &trust.keys) {
        Err(error) if error.may_be_trusted_later() => Revocations::kept(text).map_err(|_| error),
        verified => verified,
    })
}
