//! Verifies a token: algorithm, key, signature, types of the claims.
//!
//! The only constructor of [`License`]. [`Keys::signer`] checks the signature. Dates are not checked: an expired license is
//! still a verified license; see [`super::standing`].
use serde_json::{Map, Value};

use super::claims::Claims;
use super::keys::Keys;
use super::members::Members;
use super::rejection::Rejection;
use super::token::Token;

/// A license with a verified signature and well-typed claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct License {
    token: Token,
    claims: Claims,
    key_id: Option<Box<str>>,
}

impl License {
    /// The claims.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Every signed claim of the token, also unknown ones, for a renewed token to repeat.
    pub fn signed_claims(&self) -> Map<String, Value> {
        Members::parse(&self.token.jws().payload()).map(|members| members.map).unwrap_or_default()
    }

    /// The token.
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// The `kid` of the trusted key that signed the token; `None` if the key has none.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }
}

impl Keys {
    /// Checks whether one of these keys signed `license`, which may have been verified with other keys.
    ///
    /// # Errors
    /// None of these keys signed it.
    pub fn trusts(&self, license: &License) -> Result<(), Rejection> {
        self.signer(license.token().jws()).map(drop)
    }
}

/// Verifies `token` against the trusted `keys`. Costs one signature check per matching key. Does not block.
///
/// # Errors
/// The first failure in the order algorithm, key, signature, claims.
pub fn verify(token: &Token, keys: &Keys) -> Result<License, Rejection> {
    let key = keys.signer(token.jws())?;
    let claims = Claims::parse(&token.jws().payload())?;
    Ok(License { token: token.clone(), claims, key_id: key.kid().map(Into::into) })
}
