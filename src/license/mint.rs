//! The issuer's side: key pairs, and tokens signed with them.
//!
//! Input is a private key in PKCS#8 PEM (RFC 5208, RFC 7468) or a generated one. Output are tokens, and the public key as
//! JWKS or PEM for gates to trust. The `kid` of a key is its RFC 7638 thumbprint, so that keys need no assigned names.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::{self, PemObject};
use serde::Serialize;
use serde_json::{Value, json};

use super::jws::REVOCATIONS;
use super::keys::{Algorithm, Keys};
use super::rejection::Rejection;
use super::revocations::{RevocationError, Revocations};
use super::token::Token;
use crate::certificate::{Expected, wrong_kind};
use crate::text::trimmed_bytes;

/// Why a key pair cannot be loaded or generated, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The text contains no PKCS#8 key.
    #[error("not a PKCS#8 private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    Pem(#[source] pem::Error),
    /// The file contains another kind of key; with the command that converts it.
    #[error("the file {0}")]
    WrongKind(String),
    /// PKCS#8 with an unsupported key.
    #[error("not a supported private key: use RSA with 2048 to 8192 bits, P-256, P-384 or Ed25519")]
    Key(#[source] KeyRejected),
    /// The algorithm belongs to another kind of key.
    #[error("this kind of key cannot sign with {0}")]
    Algorithm(Algorithm),
    /// The claims are not JSON.
    #[error("the claims cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The cryptographic library failed; it gives no reason.
    #[error("the cryptographic library failed")]
    Crypto(#[from] Unspecified),
    /// Every gate would refuse the token.
    #[error("every gate would refuse this token")]
    Refused(#[from] Rejection),
    /// Every gate would refuse the revocation list.
    #[error("every gate would refuse this revocation list")]
    List(#[from] RevocationError),
}

/// A private key in PKCS#8 PEM. `Debug` does not show it.
pub struct PrivatePem(String);

impl PrivatePem {
    /// The text. Keep it readable for the issuer only.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivatePem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PrivatePem(...)")
    }
}

/// An issuer's key pair.
pub struct KeyPair {
    signer: Signer,
    algorithm: Algorithm,
    kid: String,
}

enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl KeyPair {
    /// Generates a pair for `algorithm`. An RSA key has 3072 bits and takes a moment.
    ///
    /// # Errors
    /// [`MintError::Crypto`] if the system provides no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, MintError> {
        let signer = match algorithm {
            Algorithm::ES256 => {
                Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?)
            }
            Algorithm::ES384 => {
                Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?)
            }
            Algorithm::EdDSA => Signer::Ed(Ed25519KeyPair::generate()?),
            _ => Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa3072)?),
        };
        Ok(Self::of(signer, algorithm))
    }

    /// Parses a PKCS#8 private key. Its algorithm is RS256, or that of its curve.
    ///
    /// # Errors
    /// [`MintError::Pem`], [`MintError::Key`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, MintError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(trimmed_bytes(pem)).map_err(|error| {
            wrong_kind(pem, Expected::SigningKey)
                .map_or(MintError::Pem(error), MintError::WrongKind)
        })?;
        let der = key.secret_pkcs8_der();
        let ec = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).map(Signer::Ec);
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            Ok(Self::of(Signer::Ed(pair), Algorithm::EdDSA))
        } else if let Ok(signer) = ec(&ECDSA_P256_SHA256_FIXED_SIGNING) {
            Ok(Self::of(signer, Algorithm::ES256))
        } else if let Ok(signer) = ec(&ECDSA_P384_SHA384_FIXED_SIGNING) {
            Ok(Self::of(signer, Algorithm::ES384))
        } else {
            let pair = RsaKeyPair::from_pkcs8(der).map_err(MintError::Key)?;
            Ok(Self::of(Signer::Rsa(pair), Algorithm::RS256))
        }
    }

    /// The same pair with another algorithm of its kind, for example an RSA key with PS256.
    ///
    /// # Errors
    /// [`MintError::Algorithm`] if this kind of key does not support it.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Result<Self, MintError> {
        let fits = match self.signer {
            Signer::Rsa(_) => algorithm.is_rsa(),
            Signer::Ec(_) | Signer::Ed(_) => algorithm == self.algorithm,
        };
        if fits { Ok(Self { algorithm, ..self }) } else { Err(MintError::Algorithm(algorithm)) }
    }

    fn of(signer: Signer, algorithm: Algorithm) -> Self {
        let kid = thumbprint(&signer);
        Self { signer, algorithm, kid }
    }

    /// The algorithm with which the pair signs.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's RFC 7638 thumbprint with SHA-256, in base64url.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs `claims`; the header contains `alg`, `kid` and `typ`. Does not check the claims.
    ///
    /// # Errors
    /// [`MintError::Json`], [`MintError::Crypto`]; [`MintError::Refused`] if the token is too large.
    pub fn sign(&self, claims: &impl Serialize) -> Result<Token, MintError> {
        Ok(Token::parse(&self.sign_as("JWT", claims)?)?)
    }

    /// Signs a revocation list with the claims `seq`, `iat`, `jti` and `lid`.
    ///
    /// # Errors
    /// [`MintError::Json`], [`MintError::Crypto`]; [`MintError::List`] for a list that every gate would refuse.
    pub fn sign_revocations(&self, claims: &impl Serialize) -> Result<String, MintError> {
        let text = self.sign_as(REVOCATIONS, claims)?;
        Revocations::verify(&text, &self.trusted())?;
        Ok(text)
    }

    fn sign_as(&self, kind: &str, claims: &impl Serialize) -> Result<String, MintError> {
        let header = json!({ "alg": self.algorithm.name(), "kid": self.kid, "typ": kind });
        self.sign_parts(&serde_json::to_vec(&header)?, &serde_json::to_vec(claims)?)
    }

    /// Signs these bytes as header and content, unchecked, and returns the compact JWS.
    ///
    /// # Errors
    /// [`MintError::Crypto`].
    pub fn sign_parts(&self, header: &[u8], content: &[u8]) -> Result<String, MintError> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encode(header), encode(content));
        let signature = self.signature(signed.as_bytes())?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        Ok(match &self.signer {
            Signer::Ec(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Signer::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(self.algorithm), &random, message, &mut signature)?;
                signature
            }
        })
    }

    /// The public key as a JWKS of one key, for gates to trust.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    /// The public key as a JWK with `alg`, `kid` and `use`.
    pub fn jwk(&self) -> Value {
        let mut jwk = public_members(&self.signer);
        jwk["alg"] = self.algorithm.name().into();
        jwk["kid"] = self.kid.as_str().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The public key as PEM (SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// [`MintError::Crypto`].
    pub fn public_pem(&self) -> Result<String, MintError> {
        let der: PublicKeyX509Der<'_> = match &self.signer {
            Signer::Rsa(pair) => pair.public_key().as_der()?,
            Signer::Ec(pair) => pair.public_key().as_der()?,
            Signer::Ed(pair) => pair.public_key().as_der()?,
        };
        Ok(pem_text("PUBLIC KEY", der.as_ref()))
    }

    /// The private key as PKCS#8 PEM.
    ///
    /// # Errors
    /// [`MintError::Crypto`].
    pub fn private_pem(&self) -> Result<PrivatePem, MintError> {
        let pem = |der: &[u8]| PrivatePem(pem_text("PRIVATE KEY", der));
        Ok(match &self.signer {
            Signer::Rsa(pair) => pem(AsDer::<Pkcs8V1Der<'_>>::as_der(pair)?.as_ref()),
            Signer::Ec(pair) => pem(pair.to_pkcs8v1()?.as_ref()),
            Signer::Ed(pair) => pem(pair.to_pkcs8v1()?.as_ref()),
        })
    }

    /// The trusted keys of a gate that trusts this pair.
    pub fn trusted(&self) -> Keys {
        let jwks = self.jwks().to_string();
        Keys::from_jwks(jwks.as_bytes()).map(|(keys, _)| keys).unwrap_or_default()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyPair({} {})", self.algorithm, self.kid)
    }
}

fn rsa_encoding(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
        _ => &RSA_PKCS1_SHA256,
    }
}

/// The members of the public key that RFC 7638 section 3.2 hashes.
fn public_members(signer: &Signer) -> Value {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match signer {
        Signer::Rsa(pair) => {
            let key = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
            json!({ "e": encode(&key.e), "kty": "RSA", "n": encode(&key.n) })
        }
        Signer::Ec(pair) => {
            // 4 for "uncompressed", then both coordinates (SEC 1 section 2.3.3).
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            let curve = if x.len() == 32 { "P-256" } else { "P-384" };
            json!({ "crv": curve, "kty": "EC", "x": encode(x), "y": encode(y) })
        }
        Signer::Ed(pair) => {
            json!({ "crv": "Ed25519", "kty": "OKP", "x": encode(pair.public_key().as_ref()) })
        }
    }
}

fn thumbprint(signer: &Signer) -> String {
    // `public_members` sorts the members, and the text has no white space: RFC 7638 section 3.3.
    let canonical = public_members(signer).to_string();
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

/// RFC 7468: base64 in lines of 64.
fn pem_text(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, character) in STANDARD.encode(der).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::{claims, pair};
    use super::super::{MAX_TOKEN_BYTES, verify};
    use super::*;

    #[test]
    fn a_pair_is_the_same_after_pem_and_back() {
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
            let pair = pair(algorithm);
            let pem = pair.private_pem().expect("PEM");
            let again = KeyPair::from_pem(pem.as_str().as_bytes()).expect("a key pair");
            assert_eq!((again.algorithm(), again.jwk()), (algorithm, pair.jwk()));
            let token = again.sign(&claims(&json!({}))).expect("a token");
            assert_eq!(
                verify(&token, &pair.trusted()).expect("a license").key_id(),
                Some(pair.kid())
            );
        }
    }

    /// Private key, JWK and thumbprint of RFC 8037 appendix A.1 to A.3.
    #[test]
    fn the_thumbprint_equals_that_of_the_rfc() {
        let seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
        let seed = URL_SAFE_NO_PAD.decode(seed).expect("base64url");
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let public = URL_SAFE_NO_PAD.decode(x).expect("base64url");
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).expect("a pair");
        let pair = KeyPair::of(Signer::Ed(pair), Algorithm::EdDSA);
        assert_eq!(pair.jwk()["x"], x);
        assert_eq!(pair.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_signs_only_with_algorithms_of_its_kind() {
        assert!(pair(Algorithm::ES256).with_algorithm(Algorithm::ES384).is_err());
        assert!(pair(Algorithm::EdDSA).with_algorithm(Algorithm::RS256).is_err());
        assert!(pair(Algorithm::RS256).with_algorithm(Algorithm::ES256).is_err());
        assert!(pair(Algorithm::RS256).with_algorithm(Algorithm::PS512).is_ok());
    }

    #[test]
    fn other_texts_are_not_accepted_as_a_private_key() {
        let public = pair(Algorithm::ES256).public_pem().expect("PEM");
        for pem in [
            "",
            "no key",
            &public,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(KeyPair::from_pem(pem.as_bytes()).is_err(), "{pem}");
        }
    }

    #[test]
    fn a_token_that_every_gate_would_refuse_is_not_signed() {
        let pair = pair(Algorithm::EdDSA);
        let huge = json!({ "company": "x".repeat(MAX_TOKEN_BYTES) });
        assert!(matches!(pair.sign(&huge), Err(MintError::Refused(Rejection::TooLarge { .. }))));
    }

    #[test]
    fn debug_shows_no_secret() {
        let pair = pair(Algorithm::EdDSA);
        assert_eq!(format!("{pair:?}"), format!("KeyPair(EdDSA {})", pair.kid()));
        assert_eq!(format!("{:?}", pair.private_pem().expect("PEM")), "PrivatePem(...)");
    }
}
