//! Trusted keys, and the files they lie in.
//!
//! A path in, keys and faults out; `file_keys.rs` finds them. Nothing is watched here. [`Keys::signer`] is the one place a
//! signature is checked: the header never chooses the algorithm, it names one, and only keys that are for that very one
//! are tried.

mod algorithm;
mod fault;
mod file_keys;
mod files;
mod jwk;
mod key;

use std::path::Path;
use std::sync::Arc;

use super::excerpt::Excerpt;
use super::jws::Jws;
use super::rejection::Rejection;
use super::verify::License;

pub use algorithm::Algorithm;
pub use fault::{KeyError, KeyFault};
pub use file_keys::FileKeys;
pub use files::KeyFiles;
pub use jwk::{keep_jwks, kept_jwks};

use file_keys::Found;
use key::Key;

/// The public keys whose licenses are believed. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// No key: no token verifies.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Reads `path` as [`KeyFiles::read`] does, and the keys in it as [`Keys::from_files`] does. Blocks.
    ///
    /// # Errors
    /// `path` itself cannot be read.
    pub fn load(path: &Path) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        Self::from_files(&KeyFiles::read(path))
    }

    /// The keys in `files`.
    ///
    /// Broken keys are told beside the good ones; files without any good key give no keys and at least one fault. A JWK
    /// whose `use` or `key_ops` exclude verifying is no fault, and not used.
    ///
    /// # Errors
    /// The path itself could not be read.
    pub fn from_files(files: &KeyFiles) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        FileKeys::read(files).map(|(keys, faults)| (keys.all(), faults))
    }

    /// Reads a JWKS (RFC 7517 section 5), or a single JWK.
    ///
    /// # Errors
    /// `json` is neither.
    pub fn from_jwks(json: &[u8]) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        let mut found = Found::default();
        let here = Path::new("");
        found.jwks(here, json).map_err(|error| KeyFault::new(here, error))?;
        Ok((found.keys, found.faults))
    }

    /// Reads every public key and certificate in a PEM text.
    ///
    /// # Errors
    /// It is no PEM text, or holds neither.
    pub fn from_pem(pem: &[u8]) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        let mut found = Found::default();
        let here = Path::new("");
        found.pem(here, pem).map_err(|error| KeyFault::new(here, error))?;
        Ok((found.keys, found.faults))
    }

    pub(super) fn add(&mut self, key: Key) {
        self.0.push(Arc::new(key));
    }

    /// These keys and `others`.
    #[must_use]
    pub fn merge(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these keys stand behind `license`, which others may have verified.
    ///
    /// # Errors
    /// None of these signed it.
    pub fn trusts(&self, license: &License) -> Result<(), Rejection> {
        self.signer(license.token().jws()).map(drop)
    }

    /// The key that signed `jws`. Costs one signature check per key that fits; does not block.
    ///
    /// # Errors
    /// The first failure in the order algorithm, key, signature.
    pub(in crate::license) fn signer(&self, jws: &Jws) -> Result<&Key, Rejection> {
        let algorithm = Algorithm::named(jws.algorithm()).ok_or_else(|| {
            Rejection::AlgorithmNotAllowed { algorithm: Excerpt::of(jws.algorithm()) }
        })?;
        let (signed, signature) = jws.signed();
        let mut candidates = self.candidates(jws.kid(), algorithm)?.into_iter();
        candidates.find(|key| key.verifies(signed, signature)).ok_or(Rejection::SignatureInvalid)
    }

    /// The keys that may have signed a token which says `kid` and `algorithm`; never none.
    fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<&Key>, Rejection> {
        if self.is_empty() {
            return Err(Rejection::KeysMissing);
        }
        let mut fitting: Vec<&Key> =
            self.0.iter().map(AsRef::as_ref).filter(|key| key.fits(kid)).collect();
        if let (true, Some(kid)) = (fitting.is_empty(), kid) {
            return Err(Rejection::KeyUnknown { kid: Excerpt::of(kid) });
        }
        fitting.retain(|key| key.algorithm() == algorithm);
        if fitting.is_empty() {
            return Err(Rejection::KeyAlgorithmMismatch { algorithm: algorithm.name() });
        }
        Ok(fitting)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |key: &Arc<Key>| format!("{} {}", key.algorithm(), key.kid().unwrap_or("-"));
        out.debug_list().entries(self.0.iter().map(name)).finish()
    }
}

#[cfg(test)]
mod tests;
