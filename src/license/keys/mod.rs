//! Trusted keys: JWKs, public keys in PEM, and files of either.
//!
//! `jwk.rs`, `pem.rs` and `files.rs` parse and check them. [`Keys::signer`] is the only place where a signature is checked:
//! the header states an algorithm, but only keys with exactly that algorithm are tried.

mod error;
mod files;
mod jwk;
mod pem;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};
use jsonwebtoken::DecodingKey;

use super::excerpt::Excerpt;
use super::jws::Jws;
use super::rejection::Rejection;

pub use error::{KeyError, KeyFault};
pub use files::{FileKeys, KeyFiles};
pub use jwk::{keep_jwks, kept_jwks};

/// Limit for the keys in one file: a token without a `kid` is checked against all of them, and each faulty one is logged.
const MAX_KEYS: usize = 128;

/// The trusted public keys. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// No keys: no token verifies.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, key: Key) {
        self.0.push(Arc::new(key));
    }

    /// Adds `others` to these keys.
    #[must_use]
    pub fn merge(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Algorithm and `kid` of each key; PEM keys, and JWKs without one, have none.
    pub fn names(&self) -> impl Iterator<Item = (Algorithm, Option<&str>)> {
        self.0.iter().map(|key| (key.algorithm(), key.kid()))
    }

    /// The key that signed `jws`. Costs one signature check per matching key. Does not block.
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

    /// The keys that match `kid` and `algorithm`; never empty.
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

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |key: &Arc<Key>| format!("{} {}", key.algorithm(), key.kid().unwrap_or("-"));
        out.debug_list().entries(self.0.iter().map(name)).finish()
    }
}

/// A trusted public key.
#[derive(Clone)]
pub(in crate::license) struct Key {
    name: KeyName,
    algorithm: Algorithm,
    material: DecodingKey,
}

#[derive(Clone)]
enum KeyName {
    /// A key without a name matches any `kid`.
    Pem,
    /// A JWK matches only its own `kid`.
    Jwk(Option<String>),
}

impl Key {
    /// Whether this key matches a token with this `kid`, or without one.
    fn fits(&self, kid: Option<&str>) -> bool {
        match (&self.name, kid) {
            (KeyName::Pem, _) | (_, None) => true,
            (KeyName::Jwk(own), Some(kid)) => own.as_deref() == Some(kid),
        }
    }

    /// The only algorithm that this key verifies.
    const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its `kid`; `None` for PEM and for a JWK without one.
    pub(in crate::license) fn kid(&self) -> Option<&str> {
        match &self.name {
            KeyName::Jwk(kid) => kid.as_deref(),
            KeyName::Pem => None,
        }
    }

    /// Whether this key made `signature`, in base64url, over `signed`.
    fn verifies(&self, signed: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.for_verifying();
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.material, algorithm)
            .unwrap_or(false)
    }

    /// An RSA key of modulus `n` and exponent `e`, both big-endian without leading zeros.
    fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<DecodingKey, KeyError> {
        let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::RsaSize { bits });
        }
        let key = RsaPublicKeyComponents { n, e };
        // To DER and back: only the DER parser checks exponent and modulus.
        let der = key.as_der().map_err(|_| KeyError::Invalid)?;
        RsaPublicKey::from_der(der.as_ref()).map_err(|_| KeyError::Invalid)?;
        Ok(DecodingKey::from_rsa_raw_components(&key.n, &key.e))
    }
}

fn parses(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> bool {
    ParsedPublicKey::new(algorithm, key).is_ok()
}

/// An accepted JWS algorithm (RFC 7518 section 3.1, RFC 8037). Only asymmetric algorithms exist here, so that no later code
/// has to refuse `HS256` or `none` again. A trusted key has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the IANA registry")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Every accepted algorithm.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The algorithm with exactly this registered name, if it is accepted.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The registered name, as in a header's `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Whether it uses RSA keys.
    pub(in crate::license) const fn is_rsa(self) -> bool {
        !matches!(self, Self::ES256 | Self::ES384 | Self::EdDSA)
    }

    /// The same algorithm as a type of the crate that checks signatures.
    const fn for_verifying(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Jwt;
        match self {
            Self::RS256 => Jwt::RS256,
            Self::RS384 => Jwt::RS384,
            Self::RS512 => Jwt::RS512,
            Self::PS256 => Jwt::PS256,
            Self::PS384 => Jwt::PS384,
            Self::PS512 => Jwt::PS512,
            Self::ES256 => Jwt::ES256,
            Self::ES384 => Jwt::ES384,
            Self::EdDSA => Jwt::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The keys found so far, and the faults of the others.
#[derive(Default)]
struct Found {
    keys: Keys,
    faults: Vec<KeyFault>,
}

impl Found {
    fn fault(&mut self, path: &Path, error: KeyError) {
        self.faults.push(KeyFault::new(path, error));
    }
}

#[cfg(test)]
mod tests;
