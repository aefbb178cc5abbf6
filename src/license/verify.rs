//! From a token to a license: algorithm, key, signature, claims' types.
//!
//! The only constructor of [`License`]. The signature is [`Keys::signer`]'s to check. No date is judged: a lapsed license
//! is still a verified one, and [`super::standing`] says so.

use serde_json::{Map, Value};

use super::claims::Claims;
use super::keys::Keys;
use super::members::Members;
use super::plausible::plausible;
use super::policy::Policy;
use super::rejection::Rejection;
use super::standing::Standing;
use super::token::Token;
use crate::clock::UnixTime;

/// A license whose signature has been verified and whose claims have their types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct License {
    token: Token,
    claims: Claims,
    key_id: Option<Box<str>>,
}

impl License {
    /// What it says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Every claim of its token as it is signed, also those this gate ignores: what a renewed token repeats.
    pub fn signed_claims(&self) -> Map<String, Value> {
        Members::parse(&self.token.jws().payload()).map(|members| members.map).unwrap_or_default()
    }

    /// The token it was read from.
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// The `kid` of the trusted key that signed it; `None` when that key has no name.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }
}

/// Verifies `token` against the trusted `keys`. Costs one signature check per key that fits; allocates; does not block.
///
/// # Errors
/// The first failure in the order algorithm, key, signature, claims.
pub fn verify(token: &Token, keys: &Keys) -> Result<License, Rejection> {
    let key = keys.signer(token.jws())?;
    let claims = Claims::parse(&token.jws().payload())?;
    Ok(License { token: token.clone(), claims, key_id: key.kid().map(Into::into) })
}

/// Whether `license` may be installed: its times can be right, and it is in force at `now`.
///
/// # Errors
/// The first failure in the order of the checks.
pub fn acceptable(license: &License, policy: &Policy, now: UnixTime) -> Result<(), Rejection> {
    plausible(license.claims(), now)?;
    Standing::of(Some(license), policy, now).reason().map_or(Ok(()), Err)
}
