//! Which revocation list counts: of those that are offered, kept, or kept by others, and verify, the one of the highest
//! sequence. It is kept before it counts, and put back where others keep an older one or none.
//!
//! A list by a key that is not known yet, or that could not be kept, waits and is judged again. Nothing here is kept: that
//! is `mod.rs`'s to do.

use std::sync::Arc;

use crate::license::{Keys, RevocationError, Revocations};

/// The lists there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    /// The one that counts.
    counts: Option<Arc<Revocations>>,
    /// Whether others keep that one, too, or one that may be newer, by a key that is not known yet.
    is_shared: bool,
    /// One of others, by a key that is not known yet.
    others: Option<Arc<str>>,
    /// One that was offered and does not count yet.
    waits: Option<Waits>,
}

#[derive(Clone, Debug)]
enum Waits {
    ForItsKey(Arc<[u8]>),
    ToBeKept(Arc<[u8]>),
}

impl Lists {
    /// The one that counts.
    pub(super) fn counting(&self) -> Option<&Revocations> {
        self.counts.as_deref()
    }

    /// Its text.
    pub(super) fn text(&self) -> Option<&str> {
        self.counting().map(Revocations::text)
    }

    /// The one that counts, where others keep an older one, or none: a database was restored, or somebody took it away.
    pub(super) fn to_be_put_back(&self) -> Option<&Revocations> {
        self.counting().filter(|_| !self.is_shared)
    }

    /// One that could not be kept.
    pub(super) fn to_be_kept(&self) -> Option<&Arc<[u8]>> {
        match &self.waits {
            Some(Waits::ToBeKept(offered)) => Some(offered),
            Some(Waits::ForItsKey(_)) | None => None,
        }
    }

    /// One that could not be verified.
    pub(super) fn without_key(&self) -> Option<&Arc<[u8]>> {
        match &self.waits {
            Some(Waits::ForItsKey(offered)) => Some(offered),
            Some(Waits::ToBeKept(_)) | None => None,
        }
    }

    /// Whether there is something to do that could not be done.
    pub(super) fn are_behind(&self) -> bool {
        self.to_be_kept().is_some() || self.to_be_put_back().is_some()
    }

    /// Takes what was kept where nobody else writes: it was accepted once, and counts even when its key is trusted no more.
    pub(super) fn load(&mut self, text: &str, keys: &Keys) -> Result<(), RevocationError> {
        let list = match Revocations::verify(text, keys) {
            Err(error) if error.may_be_trusted_later() => {
                Revocations::kept(text).map_err(|_| error)?
            }
            verified => verified?,
        };
        (self.counts, self.is_shared) = (Some(list.into()), true);
        Ok(())
    }

    /// Takes `list`, which is to be kept first: whether there is anything to keep.
    pub(super) fn offer(
        &mut self,
        offered: &Arc<[u8]>,
        list: Result<Revocations, RevocationError>,
    ) -> Result<bool, RevocationError> {
        let judged = list.and_then(|list| {
            self.counting().map_or(Ok(()), |known| list.supersedes(known))?;
            Ok(list)
        });
        match judged {
            Err(error) => {
                if error.may_be_trusted_later() {
                    self.waits = Some(Waits::ForItsKey(offered.clone()));
                }
                Err(error)
            }
            Ok(list) => {
                self.waits = None;
                let is_news = self.counting() != Some(&list);
                if is_news {
                    (self.counts, self.is_shared) = (Some(list.into()), true);
                    self.others = None;
                }
                Ok(is_news)
            }
        }
    }

    /// `offered` could not be kept.
    pub(super) fn not_kept(&mut self, offered: Arc<[u8]>) {
        self.waits = Some(Waits::ToBeKept(offered));
    }

    /// Others keep the one that counts again.
    pub(super) const fn put_back(&mut self) {
        self.is_shared = true;
    }

    /// Takes over the list that others keep, if it is no older; an older one of theirs is to be replaced.
    pub(super) fn adopt(&mut self, list: Option<&str>, keys: &Keys) -> Result<(), RevocationError> {
        self.others = None;
        self.is_shared = list == self.text();
        let Some(text) = list.filter(|_| !self.is_shared) else { return Ok(()) };
        match Revocations::verify(text, keys) {
            Ok(list) => self.take_of_others(list),
            Err(error) => {
                if error.may_be_trusted_later() {
                    (self.others, self.is_shared) = (Some(text.into()), true);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Judges the list of others that waited for its key, under other keys.
    pub(super) fn verify_others(&mut self, keys: &Keys) {
        let Some(text) = self.others.take() else { return };
        match Revocations::verify(&*text, keys) {
            Ok(list) => self.take_of_others(list),
            Err(error) if error.may_be_trusted_later() => self.others = Some(text),
            Err(_) => self.is_shared = false,
        }
    }

    /// Of two of one sequence it is theirs that counts, so that all agree.
    fn take_of_others(&mut self, list: Revocations) {
        let known = self.counting();
        self.is_shared = known.is_none_or(|known| list.sequence() >= known.sequence());
        if self.is_shared {
            self.counts = Some(list.into());
        }
    }
}
