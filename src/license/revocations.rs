//! Revocation lists: signed lists of token and license ids.
//!
//! A list is a compact JWS by a trusted key. Its `typ` distinguishes it from a license, so that neither is accepted as the
//! other. Its `seq` orders the lists of an issuer, so that a replayed old list does not undo a newer one. Its date is not
//! checked.

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

/// A revocation list with a verified signature and well-typed claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    jws: Jws,
    sequence: u64,
    issued_at: Option<UnixTime>,
    revoked: Arc<Revoked>,
}

/// Why a revocation list is refused. The text of the list is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// Longer than [`MAX_REVOCATIONS_BYTES`].
    #[error(
        "the revocation list has {bytes} bytes, more than {MAX_REVOCATIONS_BYTES}: ask the issuer for a shorter one"
    )]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The JWS has another `typ`; for example, it is a license.
    #[error(
        "this is not a revocation list, the `typ` in its header is {}: give the list that the issuer signed with `typ` \
         \"{REVOCATIONS}\"",
        typed(found.as_ref())
    )]
    OtherKind {
        /// The actual `typ`.
        found: Option<Excerpt>,
    },
    /// No trusted key made the signature. Keep the list and try again when the keys change.
    #[error(
        "the revocation list is not signed by a trusted issuer: add the issuer's keys to `license.keys`"
    )]
    NotTrusted(#[source] Rejection),
    /// Form, header, algorithm or claims are wrong.
    #[error("the revocation list cannot be used: ask the issuer for a corrected one")]
    Refused(#[source] Rejection),
    /// The list is older than the known one.
    #[error(
        "the revocation list has the sequence {offered}, but one with {known} is already in use: get the issuer's newest list"
    )]
    Older {
        /// Sequence of this list.
        offered: u64,
        /// Sequence of the known list.
        known: u64,
    },
    /// The known list has the same sequence and other contents.
    #[error(
        "another revocation list with the sequence {sequence} is already in use: a new list needs a higher sequence"
    )]
    SameSequence {
        /// Sequence of both lists.
        sequence: u64,
    },
}

impl RevocationError {
    /// A stable code for the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::OtherKind { .. } => "not-a-revocation-list",
            Self::NotTrusted(rejection) | Self::Refused(rejection) => rejection.code(),
            Self::Older { .. } => "older",
            Self::SameSequence { .. } => "same-sequence",
        }
    }

    /// Whether the list may be accepted with other keys.
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
    /// Verifies a list against the trusted `keys`; white space and a byte order mark around it are ignored.
    ///
    /// # Errors
    /// The first failure in the order size, form, kind, algorithm, key, signature, claims.
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

    /// Reads a list from the gate's own directory. It was verified before it was stored, and its key may no longer be trusted.
    ///
    /// # Errors
    /// Form or claims are wrong.
    pub fn kept(text: &str) -> Result<Self, RevocationError> {
        let jws = Jws::parse(trimmed(text))?;
        if jws.kind() != Some(REVOCATIONS) {
            return Err(RevocationError::OtherKind { found: jws.kind().map(Excerpt::of) });
        }
        Ok(Self::read(jws)?)
    }

    /// Parses the claims of a verified list.
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

    /// The sequence number: of two lists, the one with the higher number counts.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When the list was issued, if that is stated.
    pub const fn issued_at(&self) -> Option<UnixTime> {
        self.issued_at
    }

    /// What the list revokes.
    pub const fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// The signed text, to be stored.
    pub fn text(&self) -> &str {
        self.jws.as_str()
    }

    /// Checks whether this list may replace `known`: its sequence must be higher, or equal with the same contents.
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

/// Revoked tokens and licenses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Token ids.
    pub jti: HashSet<String>,
    /// License ids, as text.
    pub lid: HashSet<String>,
}

impl Revoked {
    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.jti.is_empty() && self.lid.is_empty()
    }

    /// What of a license with `claims` is revoked: the whole `license`, or only the `token`.
    pub fn covers(&self, claims: &Claims) -> Option<&'static str> {
        if self.lid.contains(&claims.lid) {
            return Some("license");
        }
        claims.jti.as_ref().filter(|jti| self.jti.contains(*jti)).map(|_| "token")
    }
}

fn typed(found: Option<&Excerpt>) -> String {
    found.map_or_else(|| "missing".to_owned(), ToString::to_string)
}

#[cfg(test)]
#[path = "revocations_tests.rs"]
mod tests;
