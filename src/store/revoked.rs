//! Selects the revocation list that is in effect: the verified one with the highest sequence, offered or stored.
//!
//! A list is stored before it takes effect. If the database has an older one, or none, the list is restored there. A list with
//! an unknown key, or that could not be stored, waits and is checked again. `mod.rs` reads and writes the store.

use std::sync::Arc;

use crate::license::{Keys, RevocationError, Revocations};

/// The revocation lists that the gate has.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    /// The list in effect.
    current: Option<Arc<Revocations>>,
    /// Whether the store has the current list, too, or another one that may be newer and has an unknown key.
    is_shared: bool,
    /// A list in the database that has an unknown key.
    others: Option<Arc<str>>,
    /// An offered list that is not in effect yet.
    waits: Option<Waits>,
}

#[derive(Clone, Debug)]
enum Waits {
    ForItsKey(Arc<[u8]>),
    ToBeStored(Arc<[u8]>),
}

impl Lists {
    /// The list in effect.
    pub(super) fn current(&self) -> Option<&Revocations> {
        self.current.as_deref()
    }

    /// The text of the list in effect.
    pub(super) fn text(&self) -> Option<&str> {
        self.current().map(Revocations::text)
    }

    /// The list in effect, if the database has an older one, or none: it was restored or changed.
    pub(super) fn to_be_put_back(&self) -> Option<&Revocations> {
        self.current().filter(|_| !self.is_shared)
    }

    /// An offered list that could not be stored.
    pub(super) fn to_be_stored(&self) -> Option<&Arc<[u8]>> {
        match &self.waits {
            Some(Waits::ToBeStored(offered)) => Some(offered),
            Some(Waits::ForItsKey(_)) | None => None,
        }
    }

    /// An offered list with an unknown key.
    pub(super) fn without_key(&self) -> Option<&Arc<[u8]>> {
        match &self.waits {
            Some(Waits::ForItsKey(offered)) => Some(offered),
            Some(Waits::ToBeStored(_)) | None => None,
        }
    }

    /// Whether a list is still to be stored.
    pub(super) fn are_behind(&self) -> bool {
        self.to_be_stored().is_some() || self.to_be_put_back().is_some()
    }

    /// Loads the list of a store that only this gate writes. It was accepted once, and is used even if its key is no longer
    /// trusted.
    pub(super) fn load(&mut self, text: &str, keys: &Keys) -> Result<(), RevocationError> {
        let list = match Revocations::verify(text, keys) {
            Err(error) if error.may_be_trusted_later() => {
                Revocations::kept(text).map_err(|_| error)?
            }
            verified => verified?,
        };
        (self.current, self.is_shared) = (Some(list.into()), true);
        Ok(())
    }

    /// Takes an offered list. Returns whether it is new; it must then be stored before it takes effect.
    pub(super) fn offer(
        &mut self,
        offered: &Arc<[u8]>,
        list: Result<Revocations, RevocationError>,
    ) -> Result<bool, RevocationError> {
        let judged = list.and_then(|list| {
            self.current().map_or(Ok(()), |known| list.supersedes(known))?;
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
                let is_news = self.current() != Some(&list);
                if is_news {
                    (self.current, self.is_shared) = (Some(list.into()), true);
                    self.others = None;
                }
                Ok(is_news)
            }
        }
    }

    /// Notes that `offered` could not be stored.
    pub(super) fn not_stored(&mut self, offered: Arc<[u8]>) {
        self.waits = Some(Waits::ToBeStored(offered));
    }

    /// Notes that the database has the list in effect again.
    pub(super) const fn put_back(&mut self) {
        self.is_shared = true;
    }

    /// Takes the list of the database, unless it is older than the one in effect.
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

    /// Verifies the list of the database with other keys, if it waited for its key.
    pub(super) fn verify_others(&mut self, keys: &Keys) {
        let Some(text) = self.others.take() else { return };
        match Revocations::verify(&*text, keys) {
            Ok(list) => self.take_of_others(list),
            Err(error) if error.may_be_trusted_later() => self.others = Some(text),
            Err(_) => self.is_shared = false,
        }
    }

    /// Takes a verified list of the database. Of two lists with the same sequence, that of the database is used, so that all
    /// replicas agree.
    fn take_of_others(&mut self, list: Revocations) {
        let known = self.current();
        self.is_shared = known.is_none_or(|known| list.sequence() >= known.sequence());
        if self.is_shared {
            self.current = Some(list.into());
        }
    }
}
