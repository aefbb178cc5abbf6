//! The issuer's keys as they were fetched, kept for a start without the issuer. They count for the URL they came from only:
//! whoever leaves an issuer does not go on to believe it.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Keys;
use crate::text::trimmed_bytes;

#[derive(Serialize, Deserialize)]
struct Kept {
    /// A URL may hold a secret: of it, only what tells it from others.
    url_sha256: String,
    jwks: Value,
}

/// What is kept of a JWKS that came from `url`; `None`: it is none.
pub fn keep_jwks(url: &str, jwks: &[u8]) -> Option<Vec<u8>> {
    let jwks = serde_json::from_slice(trimmed_bytes(jwks)).ok()?;
    serde_json::to_vec(&Kept { url_sha256: name_of(url), jwks }).ok()
}

/// The keys of what was kept of a JWKS from `url`; `None`: that is not what is kept.
pub fn kept_jwks(url: &str, kept: &[u8]) -> Option<Keys> {
    let kept: Kept = serde_json::from_slice(kept).ok()?;
    if kept.url_sha256 != name_of(url) {
        return None;
    }
    Keys::from_jwks(kept.jwks.to_string().as_bytes()).ok().map(|(keys, _)| keys)
}

fn name_of(url: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, url.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::{Algorithm, KeyPair};

    #[test]
    fn keys_are_those_of_the_url_they_came_from() {
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
