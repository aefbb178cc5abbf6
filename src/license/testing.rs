//! Key pairs, claims and policies for the tests of this module. Keys are generated once per run.

use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

use super::{
    Algorithm, Config, KeyPair, Keys, License, Policy, Rejection, RootUrl, Token, acceptable,
    verify,
};
use crate::clock::UnixTime;

/// The time of these tests.
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) const DAY: u64 = 86_400;

/// The issuer that the tests trust by default: ES256.
pub(super) static ISSUER: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate(Algorithm::ES256).expect("a key pair"));

/// An issuer that is not trusted.
pub(super) static STRANGER: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate(Algorithm::ES256).expect("a key pair"));

/// One RSA key as PEM: generating a key is slow, parsing it is not.
static RSA: LazyLock<Mutex<String>> = LazyLock::new(|| {
    let pair = KeyPair::generate(Algorithm::RS256).expect("a key pair");
    Mutex::new(pair.private_pem().expect("PEM").as_str().to_owned())
});

/// A pair for `algorithm`. All RSA algorithms share one key.
pub(super) fn pair(algorithm: Algorithm) -> KeyPair {
    if !algorithm.is_rsa() {
        return KeyPair::generate(algorithm).expect("a key pair");
    }
    let pem = RSA.lock().expect("a key").clone();
    let pair = KeyPair::from_pem(pem.as_bytes()).expect("a key pair");
    pair.with_algorithm(algorithm).expect("an RSA algorithm")
}

/// The license in `token`, if it verifies and may be installed at [`NOW`].
pub(super) fn admit(token: &Token, keys: &Keys) -> Result<License, Rejection> {
    let license = verify(token, keys)?;
    acceptable(&license, &policy(), at(NOW))?;
    Ok(license)
}

/// The time `seconds`.
pub(super) const fn at(seconds: u64) -> UnixTime {
    UnixTime::from_secs(seconds)
}

/// Claims that are valid at [`NOW`], with `changes`; `null` removes a claim.
pub(super) fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "sub": "https://a.example/",
        "lid": "L-1",
        "jti": "J-1",
        "iss": "https://issuer.example/",
        "iat": NOW - DAY,
        "exp": NOW + DAY,
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// A license of the trusted issuer with `changes` to its claims.
pub(super) fn license(changes: &Value) -> License {
    let token = ISSUER.sign(&claims(changes)).expect("a token");
    verify(&token, &ISSUER.trusted()).expect("a license")
}

/// The policy of `https://a.example/`, with the default leeway of 60 s.
pub(super) fn policy() -> Policy {
    Policy::new(RootUrl::parse("https://a.example/").expect("a root URL"), &Config::default())
}
