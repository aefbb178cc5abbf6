//! Trusted keys: JWKs, public keys in PEM, and files of either.
//!
//! `jwk.rs`, `pem.rs` and `files.rs` read them, and each key's numbers are checked there. Nothing is watched here.
//! [`Keys::signer`] is the one place where a signature is checked: the header never chooses the algorithm, it names one,
//! and only keys that are for that very one are tried.

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

/// Keys in one file. A token without a `kid` is checked against all of them, and each broken one is logged.
const MAX_KEYS: usize = 128;

/// The public keys whose licenses are believed. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// No key: no token verifies.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, key: Key) {
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

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |key: &Arc<Key>| format!("{} {}", key.algorithm(), key.kid().unwrap_or("-"));
        out.debug_list().entries(self.0.iter().map(name)).finish()
    }
}

/// A public key that may have signed licenses.
#[derive(Clone)]
pub(in crate::license) struct Key {
    name: KeyName,
    algorithm: Algorithm,
    material: DecodingKey,
}

#[derive(Clone)]
enum KeyName {
    /// Without a name: fits whatever a token says.
    Pem,
    /// Fits a token of that `kid`.
    Jwk(Option<String>),
}

impl Key {
    /// Whether a token that says `kid`, or nothing, may be of this key.
    fn fits(&self, kid: Option<&str>) -> bool {
        match (&self.name, kid) {
            (KeyName::Pem, _) | (_, None) => true,
            (KeyName::Jwk(own), Some(kid)) => own.as_deref() == Some(kid),
        }
    }

    /// The one algorithm this key verifies.
    const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name it is trusted by; `None` for PEM and unnamed JWK.
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
        // Through DER and back: only the DER reader checks that exponent and modulus make a key.
        let der = key.as_der().map_err(|_| KeyError::Invalid)?;
        RsaPublicKey::from_der(der.as_ref()).map_err(|_| KeyError::Invalid)?;
        Ok(DecodingKey::from_rsa_raw_components(&key.n, &key.e))
    }
}

fn parses(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> bool {
    ParsedPublicKey::new(algorithm, key).is_ok()
}

/// A JWS algorithm the gate accepts (RFC 7518 section 3.1, RFC 8037). Only asymmetric ones exist here, so that no later
/// `match` has to refuse `HS256` or `none` again. A trusted key has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the registry, and say it all")]
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

    /// The algorithm of that registered name, exactly as written there; `None` for every other.
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

    /// Whether it signs with an RSA key.
    pub(in crate::license) const fn is_rsa(self) -> bool {
        !matches!(self, Self::ES256 | Self::ES384 | Self::EdDSA)
    }

    /// The same in the words of the crate that checks signatures.
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

/// The keys found so far, and what is wrong with the others.
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
