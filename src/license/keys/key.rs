//! One trusted key: public material, the one algorithm it is for, and how tokens may name it.
//!
//! In comes a JWK (RFC 7517, RFC 7518 section 6, RFC 8037) or a SubjectPublicKeyInfo (RFC 5280 section 4.1), out comes a
//! key whose numbers have been checked. The algorithm is settled here, once, and never by a token.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::fault::KeyError;

/// Members that only private keys have (RFC 7518 section 6.2.2, 6.3.2).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

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
    /// The key in a SubjectPublicKeyInfo. Its algorithm is RS256, or its curve's.
    pub(super) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, material) = if parses(&ED25519, der) {
            (Algorithm::EdDSA, DecodingKey::from_ed_der(der))
        } else if parses(&ECDSA_P256_SHA256_FIXED, der) {
            (Algorithm::ES256, DecodingKey::from_ec_der(der))
        } else if parses(&ECDSA_P384_SHA384_FIXED, der) {
            (Algorithm::ES384, DecodingKey::from_ec_der(der))
        } else {
            let key = RsaPublicKey::from_der(der).map_err(|_| KeyError::Unsupported)?;
            // A key bound to RSASSA-PSS (RFC 4055) reads the same, is written otherwise, and must not do PKCS#1.
            if key.as_der().map_err(|_| KeyError::Invalid)?.as_ref() != der {
                return Err(KeyError::Unsupported);
            }
            let RsaPublicKeyComponents { n, e } = (&key).into();
            (Algorithm::RS256, rsa(n, e)?)
        };
        Ok(Self { name: KeyName::Pem, algorithm, material })
    }

    /// The key in an `RSAPublicKey` (PKCS#1, RFC 8017 appendix A.1.1). Its algorithm is RS256.
    pub(super) fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let key = RsaPublicKey::from_der(der).map_err(|_| KeyError::Invalid)?;
        // A SubjectPublicKeyInfo reads the same.
        if key.as_ref() != der {
            return Err(KeyError::Invalid);
        }
        let RsaPublicKeyComponents { n, e } = (&key).into();
        Ok(Self { name: KeyName::Pem, algorithm: Algorithm::RS256, material: rsa(n, e)? })
    }

    /// The key in a JWK; `None` for one whose `use` or `key_ops` exclude verifying.
    pub(super) fn from_jwk(jwk: &Map<String, Value>) -> Result<Option<Self>, KeyError> {
        if !for_verifying(jwk)? {
            return Ok(None);
        }
        if PRIVATE_MEMBERS.into_iter().any(|member| stated(jwk, member).is_some()) {
            return Err(KeyError::Private);
        }
        let kid = optional(jwk, "kid")?.map(str::to_owned);
        let (algorithm, material) = match required(jwk, "kty")? {
            "RSA" => (rsa_algorithm(jwk)?, rsa(number(jwk, "n")?, number(jwk, "e")?)?),
            "EC" => elliptic(jwk)?,
            "OKP" => edwards(jwk)?,
            "oct" => return Err(KeyError::Symmetric),
            _ => return Err(KeyError::Unsupported),
        };
        Ok(Some(Self { name: KeyName::Jwk(kid), algorithm, material }))
    }

    /// Whether a token that says `kid`, or nothing, may be of this key.
    pub(super) fn fits(&self, kid: Option<&str>) -> bool {
        match (&self.name, kid) {
            (KeyName::Pem, _) | (_, None) => true,
            (KeyName::Jwk(own), Some(kid)) => own.as_deref() == Some(kid),
        }
    }

    /// The one algorithm this key verifies.
    pub(super) const fn algorithm(&self) -> Algorithm {
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
    pub(super) fn verifies(&self, signed: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.for_verifying();
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.material, algorithm)
            .unwrap_or(false)
    }
}

fn for_verifying(jwk: &Map<String, Value>) -> Result<bool, KeyError> {
    let for_signatures = optional(jwk, "use")?.is_none_or(|usage| usage == "sig");
    let operations =
        stated(jwk, "key_ops").map(|it| it.as_array().ok_or(KeyError::Member("key_ops")));
    let verifies = operations.transpose()?.is_none_or(|list| list.iter().any(|it| it == "verify"));
    Ok(for_signatures && verifies)
}

fn rsa_algorithm(jwk: &Map<String, Value>) -> Result<Algorithm, KeyError> {
    let Some(name) = optional(jwk, "alg")? else { return Ok(Algorithm::RS256) };
    Algorithm::named(name).filter(|algorithm| algorithm.is_rsa()).ok_or(KeyError::Algorithm)
}

fn elliptic(jwk: &Map<String, Value>) -> Result<(Algorithm, DecodingKey), KeyError> {
    let (algorithm, curve, size): (_, &'static dyn VerificationAlgorithm, _) =
        match required(jwk, "crv")? {
            "P-256" => (Algorithm::ES256, &ECDSA_P256_SHA256_FIXED, 32),
            "P-384" => (Algorithm::ES384, &ECDSA_P384_SHA384_FIXED, 48),
            _ => return Err(KeyError::Unsupported),
        };
    only(jwk, algorithm)?;
    // SEC 1 section 2.3.3: 4 for "uncompressed", then both coordinates in full width.
    let point = [vec![4], bytes(jwk, "x", size)?, bytes(jwk, "y", size)?].concat();
    valid(curve, &point)?;
    Ok((algorithm, DecodingKey::from_ec_der(&point)))
}

fn edwards(jwk: &Map<String, Value>) -> Result<(Algorithm, DecodingKey), KeyError> {
    if required(jwk, "crv")? != "Ed25519" {
        return Err(KeyError::Unsupported);
    }
    only(jwk, Algorithm::EdDSA)?;
    let point = bytes(jwk, "x", 32)?;
    valid(&ED25519, &point)?;
    Ok((Algorithm::EdDSA, DecodingKey::from_ed_der(&point)))
}

/// A curve has one algorithm; a JWK may repeat it, not change it.
fn only(jwk: &Map<String, Value>, algorithm: Algorithm) -> Result<(), KeyError> {
    match optional(jwk, "alg")? {
        Some(name) if name != algorithm.name() => Err(KeyError::Algorithm),
        _ => Ok(()),
    }
}

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

fn parses(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> bool {
    ParsedPublicKey::new(algorithm, key).is_ok()
}

fn valid(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Result<(), KeyError> {
    if parses(algorithm, key) { Ok(()) } else { Err(KeyError::Invalid) }
}

/// A member that is there; null is how some writers say that it is not.
fn stated<'a>(jwk: &'a Map<String, Value>, member: &str) -> Option<&'a Value> {
    jwk.get(member).filter(|value| !value.is_null())
}

fn optional<'a>(
    jwk: &'a Map<String, Value>,
    member: &'static str,
) -> Result<Option<&'a str>, KeyError> {
    stated(jwk, member).map(|value| value.as_str().ok_or(KeyError::Member(member))).transpose()
}

fn required<'a>(jwk: &'a Map<String, Value>, member: &'static str) -> Result<&'a str, KeyError> {
    optional(jwk, member)?.ok_or(KeyError::Member(member))
}

/// A big-endian number; leading zeros, which some writers add against RFC 7518 section 2, are dropped.
fn number(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, KeyError> {
    let bytes =
        URL_SAFE_NO_PAD.decode(required(jwk, member)?).map_err(|_| KeyError::Member(member))?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn bytes(jwk: &Map<String, Value>, member: &'static str, size: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(required(jwk, member)?).ok();
    bytes.filter(|bytes| bytes.len() == size).ok_or(KeyError::Member(member))
}
