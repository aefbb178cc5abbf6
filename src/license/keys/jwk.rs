//! Keys in JSON: a JWKS (RFC 7517 section 5) or one JWK (RFC 7518 section 6, RFC 8037), and the stored copy of a JWKS.
//!
//! The algorithm of a key is determined here, never by a token. A stored copy is used only for the URL that it came from: after
//! a change of the issuer, the keys of the previous one are not trusted.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{KeyError, KeyFault};
use super::{Algorithm, Found, Key, KeyName, Keys, MAX_KEYS, parses};
use crate::license::excerpt::Excerpt;
use crate::text::trimmed_bytes;

/// Members of private keys (RFC 7518 sections 6.2.2 and 6.3.2).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

impl Keys {
    /// Parses a JWKS (RFC 7517 section 5) or a single JWK.
    ///
    /// # Errors
    /// `json` is neither.
    pub fn from_jwks(json: &[u8]) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        let mut found = Found::default();
        let here = Path::new("");
        found.jwks(here, json).map_err(|error| KeyFault::new(here, error))?;
        Ok((found.keys, found.faults))
    }
}

impl Found {
    pub(super) fn jwks(&mut self, path: &Path, json: &[u8]) -> Result<(), KeyError> {
        let json = trimmed_bytes(json);
        let set: Map<String, Value> = serde_json::from_slice(json).map_err(KeyError::Json)?;
        if set.contains_key("kty") {
            self.jwk(path, None, &Value::Object(set));
            return Ok(());
        }
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeyError::NotKeys)?;
        if keys.len() > MAX_KEYS {
            return Err(KeyError::TooManyKeys);
        }
        let before = (self.keys.len(), self.faults.len());
        for (index, jwk) in keys.iter().enumerate() {
            self.jwk(path, Some(index), jwk);
        }
        if before == (self.keys.len(), self.faults.len()) { Err(KeyError::Empty) } else { Ok(()) }
    }

    fn jwk(&mut self, path: &Path, index: Option<usize>, jwk: &Value) {
        let kid =
            jwk.get("kid").and_then(Value::as_str).map(|kid| format!("key {}", Excerpt::of(kid)));
        let place = kid.or(index.map(|index| format!("key number {}", index + 1)));
        match jwk.as_object().ok_or(KeyError::Member("keys")).and_then(Key::from_jwk) {
            Ok(Some(key)) => self.keys.add(key),
            Ok(None) => {}
            Err(error) => match place {
                Some(place) => self.faults.push(KeyFault::at(path, place, error)),
                None => self.fault(path, error),
            },
        }
    }
}

impl Key {
    /// The key in a JWK; `None` if its `use` or `key_ops` exclude verifying.
    fn from_jwk(jwk: &Map<String, Value>) -> Result<Option<Self>, KeyError> {
        if !for_verifying(jwk)? {
            return Ok(None);
        }
        if PRIVATE_MEMBERS.into_iter().any(|member| stated(jwk, member).is_some()) {
            return Err(KeyError::Private);
        }
        let kid = optional(jwk, "kid")?.map(str::to_owned);
        let (algorithm, material) = match required(jwk, "kty")? {
            "RSA" => (rsa_algorithm(jwk)?, Key::rsa(number(jwk, "n")?, number(jwk, "e")?)?),
            "EC" => elliptic(jwk)?,
            "OKP" => edwards(jwk)?,
            "oct" => return Err(KeyError::Symmetric),
            _ => return Err(KeyError::Unsupported),
        };
        Ok(Some(Self { name: KeyName::Jwk(kid), algorithm, material }))
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

/// A curve has one algorithm; `alg` may repeat it.
fn only(jwk: &Map<String, Value>, algorithm: Algorithm) -> Result<(), KeyError> {
    match optional(jwk, "alg")? {
        Some(name) if name != algorithm.name() => Err(KeyError::Algorithm),
        _ => Ok(()),
    }
}

fn valid(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Result<(), KeyError> {
    if parses(algorithm, key) { Ok(()) } else { Err(KeyError::Invalid) }
}

/// A member that is present; `null` counts as absent.
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

/// A big-endian number. Leading zeros, which RFC 7518 section 2 forbids and some writers add, are dropped.
fn number(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, KeyError> {
    let bytes =
        URL_SAFE_NO_PAD.decode(required(jwk, member)?).map_err(|_| KeyError::Member(member))?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn bytes(jwk: &Map<String, Value>, member: &'static str, size: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(required(jwk, member)?).ok();
    bytes.filter(|bytes| bytes.len() == size).ok_or(KeyError::Member(member))
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// A digest, because a URL may contain a secret.
    url_sha256: String,
    jwks: Value,
}

/// The copy to store of a JWKS from `url`; `None`: it is not JSON.
pub fn keep_jwks(url: &str, jwks: &[u8]) -> Option<Vec<u8>> {
    let jwks = serde_json::from_slice(trimmed_bytes(jwks)).ok()?;
    serde_json::to_vec(&Kept { url_sha256: digest_of(url), jwks }).ok()
}

/// The keys of a stored copy; `None`: it is not that of a JWKS from `url`.
pub fn kept_jwks(url: &str, kept: &[u8]) -> Option<Keys> {
    let kept: Kept = serde_json::from_slice(kept).ok()?;
    if kept.url_sha256 != digest_of(url) {
        return None;
    }
    Keys::from_jwks(kept.jwks.to_string().as_bytes()).ok().map(|(keys, _)| keys)
}

fn digest_of(url: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, url.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::{Algorithm, KeyPair};

    #[test]
    fn a_stored_copy_is_used_for_its_own_url_only() {
        let jwks = KeyPair::generate(Algorithm::ES256).expect("a pair").jwks().to_string();
        let url = "https://issuer.example/jwks.json?key=secret";
        let kept = keep_jwks(url, jwks.as_bytes()).expect("kept");
        assert!(!String::from_utf8_lossy(&kept).contains("secret"));
        assert_eq!(kept_jwks(url, &kept).map(|keys| keys.len()), Some(1));
        assert!(kept_jwks("https://issuer.example/", &kept).is_none());
        assert!(kept_jwks(url, jwks.as_bytes()).is_none(), "of no URL");
        assert!(kept_jwks(url, &kept[1..]).is_none());
        assert!(keep_jwks(url, b"<html>").is_none());
    }
}
