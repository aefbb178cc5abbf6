//! A vendor of licenses: new keys for each run, tokens with any claims.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use license_gate::clock::Clock;
use license_gate::license::{Algorithm, KeyPair};
use serde_json::{Value, json};

/// The root URL of the instances under test, unless a test sets another one.
pub(crate) const ROOT_URL: &str = "http://metrics.example/";

/// A day in seconds.
pub(crate) const DAY: u64 = 86_400;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    Clock::system().now().as_secs()
}

/// A signing key.
#[derive(Debug)]
pub(crate) struct Vendor {
    pair: KeyPair,
}

/// A token that is not signed yet. Valid unless changed.
#[derive(Clone, Debug)]
#[must_use = "nothing is signed yet"]
pub(crate) struct Token<'a> {
    vendor: &'a Vendor,
    claims: Value,
}

impl Vendor {
    /// A vendor with a new ES256 key.
    pub(crate) fn new() -> Self {
        Self::signing(Algorithm::ES256)
    }

    /// A vendor with a new key for `algorithm`.
    pub(crate) fn signing(algorithm: Algorithm) -> Self {
        Self::with(KeyPair::generate(algorithm).expect("a key pair"))
    }

    /// A vendor with this key.
    pub(crate) fn with(pair: KeyPair) -> Self {
        Self { pair }
    }

    /// The public keys.
    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// Writes the public keys into `dir`.
    pub(crate) fn write_jwks(&self, dir: &Path) -> PathBuf {
        let path = dir.join("jwks.json");
        std::fs::write(&path, self.pair.jwks().to_string()).expect("written");
        path
    }

    /// A valid token for [`ROOT_URL`]: license `L-1`, another `jti` each time.
    pub(crate) fn token(&self) -> Token<'_> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let jti = format!("J-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let now = now();
        let claims = json!({
            "jti": jti, "iss": "https://vendor.example/", "sub": ROOT_URL, "lid": "L-1",
            "iat": now - 10, "exp": now + 14 * DAY, "company": "Example Ltd",
        });
        Token { vendor: self, claims }
    }

    /// A token with exactly these bytes as header and content, and a valid signature.
    pub(crate) fn sign_parts(&self, header: &str, content: &str) -> String {
        self.pair.sign_parts(header.as_bytes(), content.as_bytes()).expect("a token")
    }
}

impl Token<'_> {
    /// Sets a claim.
    pub(crate) fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims[claim] = value.into();
        self
    }

    /// Removes a claim.
    pub(crate) fn without(mut self, claim: &str) -> Self {
        self.claims.as_object_mut().expect("claims").remove(claim);
        self
    }

    /// Its claims.
    pub(crate) fn claims(&self) -> &Value {
        &self.claims
    }

    /// The compact JWS.
    pub(crate) fn sign(&self) -> String {
        self.signed_as(&json!({ "alg": self.vendor.pair.algorithm().name() }))
    }

    /// The compact JWS with `members` in its header, and with the `kid` unless they contain one.
    pub(crate) fn signed_as(&self, members: &Value) -> String {
        let mut header = json!({ "typ": "JWT", "kid": self.vendor.pair.kid() });
        for (name, value) in members.as_object().expect("members") {
            header[name] = value.clone();
        }
        self.vendor.sign_parts(&header.to_string(), &self.claims.to_string())
    }
}

/// base64url without padding.
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
