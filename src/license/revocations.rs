//! What the issuer took back: a signed list of token and license ids.
//!
//! A compact JWS by a trusted key, told from a license by its header's `typ`: neither is ever taken for the other. Its
//! `seq` orders the lists an issuer gave out, so that an old one, replayed, does not undo a newer; its date is not judged.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::claims::{Claims, Content, required};
use super::excerpt::Excerpt;
use super::jws::{Jws, REVOCATIONS, text_of};
use super::keys::Keys;
use super::members::Members;
use super::rejection::Rejection;
use crate::clock::UnixTime;
use crate::text::trimmed;

/// Largest list, in bytes, without the white space around it.
pub const MAX_REVOCATIONS_BYTES: usize = 1024 * 1024;

/// A revocation list whose signature has been verified and whose claims have their types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    jws: Jws,
    sequence: u64,
    issued_at: Option<UnixTime>,
    revoked: Arc<Revoked>,
}

/// Why a revocation list is not taken. Nothing of its text appears.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// Longer than [`MAX_REVOCATIONS_BYTES`].
    #[error(
        "the revocation list has {bytes} bytes, at most {MAX_REVOCATIONS_BYTES} are read: ask the issuer for a shorter one"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Signed, perhaps, but of another kind; a license for one.
    #[error(
        "this is no revocation list, the `typ` of its header is {}: give the list the issuer signed, whose `typ` is \
         \"{REVOCATIONS}\"",
        typed(found.as_ref())
    )]
    OtherKind {
        /// What the header says.
        found: Option<Excerpt>,
    },
    /// No key trusted now made the signature. One trusted later may have: keep the list and try again when keys change.
    #[error(
        "the revocation list is not by a trusted issuer: add the issuer's keys to `license.keys`"
    )]
    NotTrusted(#[source] Rejection),
    /// Its form, header, algorithm or claims.
    #[error("the revocation list cannot be used: ask the issuer for a corrected one")]
    Refused(#[source] Rejection),
    /// A list given out before the one known.
    #[error(
        "the revocation list has the sequence {offered}, one with {known} has been seen before: get the issuer's newest"
    )]
    Older {
        /// Of this list.
        offered: u64,
        /// Of the list known.
        known: u64,
    },
    /// Which of two came later cannot be told.
    #[error(
        "another revocation list with the sequence {sequence} has been seen before: a new one needs a higher sequence"
    )]
    SameSequence {
        /// Of both.
        sequence: u64,
    },
}

impl RevocationError {
    /// A stable, machine-readable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::OtherKind { .. } => "not-a-revocation-list",
            Self::NotTrusted(rejection) | Self::Refused(rejection) => rejection.code(),
            Self::Older { .. } => "older",
            Self::SameSequence { .. } => "same-sequence",
        }
    }

    /// Whether another set of trusted keys may turn this into a list.
    pub const fn may_be_trusted_later(&self) -> bool {
        matches!(self, Self::NotTrusted(_))
    }
}

impl From<Rejection> for RevocationError {
    fn from(rejection: Rejection) -> Self {
        if rejection.is_about_keys() {
            Self::NotTrusted(rejection)
        } else {
            Self::Refused(rejection)
        }
    }
}

impl Revocations {
    /// Verifies a list against the trusted `keys`: the text, or a file's content with a byte order mark perhaps.
    ///
    /// # Errors
    /// The first thing wrong with it, in the order size, form, kind, algorithm, key, signature, claims.
    pub fn verify(content: impl AsRef<[u8]>, keys: &Keys) -> Result<Self, RevocationError> {
        let text = text_of(content.as_ref())?;
        if text.len() > MAX_REVOCATIONS_BYTES {
            return Err(RevocationError::TooLarge { bytes: text.len() });
        }
        let jws = Jws::parse(text)?;
        if jws.kind() != Some(REVOCATIONS) {
            return Err(RevocationError::OtherKind { found: jws.kind().map(Excerpt::of) });
        }
        keys.signer(&jws)?;
        Ok(Self::read(jws)?)
    }

    /// Reads a list that was verified when it was kept, where nobody else can write: its key may be trusted no more.
    ///
    /// # Errors
    /// What is wrong with its form or claims.
    pub fn kept(text: &str) -> Result<Self, RevocationError> {
        let jws = Jws::parse(trimmed(text))?;
        if jws.kind() != Some(REVOCATIONS) {
            return Err(RevocationError::OtherKind { found: jws.kind().map(Excerpt::of) });
        }
        Ok(Self::read(jws)?)
    }

    /// The claims of a list whose signature has been verified.
    fn read(jws: Jws) -> Result<Self, Rejection> {
        let members = Members::parse(&jws.payload()).ok_or(Rejection::ClaimsMalformed)?;
        if let Some(claim) = members.duplicate {
            return Err(Rejection::ClaimDuplicated { claim: Excerpt::of(&claim) });
        }
        let content = Content(&members.map);
        let revoked = Revoked {
            jti: content.strings("jti")?.into_iter().flatten().collect(),
            lid: content.license_ids("lid")?.into_iter().flatten().collect(),
        };
        Ok(Self {
            sequence: required("seq", content.count("seq")?)?,
            issued_at: content.time("iat")?,
            revoked: Arc::new(revoked),
            jws,
        })
    }

    /// Its place among the lists of its issuer: the higher one counts.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was issued, if it says so.
    pub const fn issued_at(&self) -> Option<UnixTime> {
        self.issued_at
    }

    /// What it takes back.
    pub const fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// The signed text it was read from, to be kept.
    pub fn text(&self) -> &str {
        self.jws.as_str()
    }

    /// Whether this list may take the place of the list `known`; one of the same sequence may that takes back the same.
    ///
    /// # Errors
    /// [`RevocationError::Older`], [`RevocationError::SameSequence`].
    pub fn supersedes(&self, known: &Self) -> Result<(), RevocationError> {
        match self.sequence.cmp(&known.sequence) {
            Ordering::Greater => Ok(()),
            Ordering::Equal if self.revoked == known.revoked => Ok(()),
            Ordering::Equal => Err(RevocationError::SameSequence { sequence: self.sequence }),
            Ordering::Less => {
                Err(RevocationError::Older { offered: self.sequence, known: known.sequence })
            }
        }
    }
}

/// Tokens and licenses the issuer took back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Token ids.
    pub jti: HashSet<String>,
    /// License ids, as text.
    pub lid: HashSet<String>,
}

impl Revoked {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.jti.is_empty() && self.lid.is_empty()
    }

    /// What of `claims` is revoked: the `license`, or the `token` alone.
    pub fn covers(&self, claims: &Claims) -> Option<&'static str> {
        if self.lid.contains(&claims.lid) {
            return Some("license");
        }
        claims.jti.as_ref().filter(|jti| self.jti.contains(*jti)).map(|_| "token")
    }
}

fn typed(found: Option<&Excerpt>) -> String {
    found.map_or_else(|| "not there".to_owned(), ToString::to_string)
}

#[cfg(test)]
#[path = "revocations_tests.rs"]
mod tests;
