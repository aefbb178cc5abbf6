//! The reasons why a token is refused, and the check that finds each.
//!
//! The order of [`CheckName`] is the order of the checks; the first failure is the reason. `code` is stable, for machines;
//! `Display` states what is wrong and what to do, for people. Neither shows the token's text: key ids and claims are
//! shortened and escaped by [`Excerpt`].

use std::fmt;

use super::excerpt::Excerpt;
use super::root_url::RootUrl;
use crate::clock::UnixTime;

/// Largest token, in bytes, without the white space around it.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Longer than [`MAX_TOKEN_BYTES`] without the white space around it.
    #[error(
        "the token has {bytes} bytes, more than {MAX_TOKEN_BYTES}: give a single token and nothing else"
    )]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// Not a compact JWS (RFC 7515 section 7.1).
    #[error("the token is not a compact JWS, {what}: {remedy}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A JWE (RFC 7516).
    #[error("the token is encrypted (JWE): ask the issuer for one that is only signed")]
    Encrypted,
    /// The header contains a member twice.
    #[error("the token's header contains a member twice: ask the issuer for a corrected token")]
    HeaderDuplicated,
    /// The header has a member that is not accepted, for example `jwk` or `crit`.
    #[error(
        "the token's header has `{member}`, which is not accepted: ask the issuer for a token without it"
    )]
    HeaderNotAllowed {
        /// The refused member.
        member: &'static str,
    },
    /// A revocation list.
    #[error(
        "the token is a revocation list, not a license: put it into the file that `license.revocations` names, and give the license \
         here"
    )]
    NotALicense,
    /// `alg` is not an accepted algorithm.
    #[error(
        "the token's algorithm {algorithm} is not accepted: ask the issuer for one of RS256, RS384, RS512, PS256, \
         PS384, PS512, ES256, ES384, EdDSA"
    )]
    AlgorithmNotAllowed {
        /// `alg` of the header.
        algorithm: Excerpt,
    },
    /// No key is trusted.
    #[error(
        "this gate trusts no issuer key: put the issuer's public keys into the file or directory that `license.keys` names"
    )]
    KeysMissing,
    /// No trusted key has the token's `kid`.
    #[error(
        "no trusted key has the id {kid}: add the issuer's current keys to `license.keys` or `license.jwks_url`"
    )]
    KeyUnknown {
        /// `kid` of the header.
        kid: Excerpt,
    },
    /// No trusted key has the token's `kid`, or no key is trusted, and newer keys could not be fetched.
    #[error(
        "{}, and the issuer's current keys could not be fetched: {why}: make them reachable for the gate, and try again",
        unknown(kid.as_ref())
    )]
    KeysUnreachable {
        /// The token's `kid`; `None`: no key is trusted.
        kid: Option<Excerpt>,
        /// Which source of keys failed, and why.
        why: String,
    },
    /// The trusted keys with the token's `kid` have another algorithm.
    #[error(
        "no matching trusted key has the algorithm {algorithm}: add the issuer's key to `license.keys`, as a JWK with this \
         `alg`"
    )]
    KeyAlgorithmMismatch {
        /// `alg` of the header.
        algorithm: &'static str,
    },
    /// No trusted key made the signature.
    #[error(
        "the token's signature does not match any trusted key: the token was changed, or the issuer's key is missing: copy the \
         token again, and check `license.keys`"
    )]
    SignatureInvalid,
    /// The signed content is not a JSON object.
    #[error("the token's content is not a JSON object: ask the issuer for a new token")]
    ClaimsMalformed,
    /// A claim occurs twice.
    #[error("the token has the claim {claim} twice: ask the issuer for a corrected token")]
    ClaimDuplicated {
        /// The claim's name.
        claim: Excerpt,
    },
    /// A required claim is absent.
    #[error("the token has no `{claim}`, which is required: ask the issuer for a token with it")]
    ClaimMissing {
        /// The claim's name.
        claim: &'static str,
    },
    /// A claim has a wrong type or is out of range.
    #[error("the token's `{claim}` is not {expected}: ask the issuer for a corrected token")]
    ClaimInvalid {
        /// The claim's name.
        claim: &'static str,
        /// The expected type and range.
        expected: &'static str,
    },
    /// A time beyond 2^35: probably milliseconds.
    #[error(
        "the token's `{claim}` is {seconds}, which as seconds is beyond the year 3058 and looks like milliseconds ({}): \
         ask the issuer for a token with times in seconds",
        UnixTime::from_secs(seconds / 1000)
    )]
    TimeOutOfRange {
        /// The claim's name.
        claim: &'static str,
        /// Its value.
        seconds: u64,
    },
    /// `iat` is more than a day ahead.
    #[error(
        "the token was issued at {issued}, which is more than a day ahead of this machine's clock, {now}: correct the \
         clock, or ask the issuer for a token with the right `iat`"
    )]
    IssuedInFuture {
        /// The claim `iat`.
        issued: UnixTime,
        /// The time of the clock.
        now: UnixTime,
    },
    /// `iss` is not an accepted issuer.
    #[error("{}: use a token of an accepted issuer, or add it to `license.issuers`", issued_by(issuer.as_ref()))]
    IssuerMismatch {
        /// `iss` of the token.
        issuer: Option<Excerpt>,
    },
    /// `sub` does not cover this instance.
    #[error("licensed for {}, this instance is {instance}: ask for a license for this root URL, or correct `server.root_url`", .licensed.bare())]
    SubjectMismatch {
        /// `sub` of the token.
        licensed: Excerpt,
        /// The root URL of this instance.
        instance: RootUrl,
    },
    /// `nbf` is in the future.
    #[error("the license starts at {from}: wait until then, or check this machine's clock")]
    NotYetValid {
        /// The claim `nbf`.
        from: UnixTime,
    },
    /// The license, its trial or its token has expired.
    #[error("the {end} expired at {at}: {}", next(*end))]
    Expired {
        /// What has expired.
        end: End,
        /// The expiry as stated, without leeway.
        at: UnixTime,
    },
    /// The issuer revoked the token or the license.
    #[error("the issuer has revoked this {what}: ask for a new one")]
    Revoked {
        /// `token` or `license`.
        what: &'static str,
    },
    /// `prod` does not contain the required product.
    #[error(
        "the license does not include the product {product:?}: ask for one that does, or correct `license.product`"
    )]
    ProductMissing {
        /// The required product.
        product: String,
    },
}

impl Rejection {
    /// A damaged text, because of `what`.
    pub(super) const fn malformed(what: &'static str) -> Self {
        Self::Malformed { what, remedy: "copy it whole, as the issuer gave it" }
    }

    /// A stable code for the reason: the last part of a `messageId`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Malformed { .. } => "malformed",
            Self::Encrypted => "encrypted",
            Self::HeaderDuplicated => "header-duplicated",
            Self::HeaderNotAllowed { .. } => "header-not-allowed",
            Self::NotALicense => "not-a-license",
            Self::AlgorithmNotAllowed { .. } => "algorithm-not-allowed",
            Self::KeysMissing | Self::KeysUnreachable { kid: None, .. } => "keys-missing",
            Self::KeyUnknown { .. } | Self::KeysUnreachable { kid: Some(_), .. } => "key-unknown",
            Self::KeyAlgorithmMismatch { .. } => "key-algorithm-mismatch",
            Self::SignatureInvalid => "signature-invalid",
            Self::ClaimsMalformed => "claims-malformed",
            Self::ClaimDuplicated { .. } => "claim-duplicated",
            Self::ClaimMissing { .. } => "claim-missing",
            Self::ClaimInvalid { .. } => "claim-invalid",
            Self::TimeOutOfRange { .. } => "time-out-of-range",
            Self::IssuedInFuture { .. } => "issued-in-future",
            Self::IssuerMismatch { .. } => "issuer-mismatch",
            Self::SubjectMismatch { .. } => "subject-mismatch",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Expired { end: End::License, .. } => "license-expired",
            Self::Expired { end: End::Trial, .. } => "trial-expired",
            Self::Expired { end: End::Token, .. } => "token-expired",
            Self::Revoked { .. } => "revoked",
            Self::ProductMissing { .. } => "product-missing",
        }
    }

    /// Adds to a failure for an unknown key why newer keys could not be fetched; `why` names the setting.
    #[must_use]
    pub fn keys_unreachable(self, why: &str) -> Self {
        let kid = match self {
            Self::KeysMissing => None,
            Self::KeyUnknown { kid } => Some(kid),
            other => return other,
        };
        Self::KeysUnreachable { kid, why: why.to_owned() }
    }

    /// Whether the token may be accepted with other keys.
    pub const fn is_about_keys(&self) -> bool {
        matches!(self.check(), CheckName::Key | CheckName::Signature)
    }

    /// The check that failed.
    pub const fn check(&self) -> CheckName {
        match self {
            Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Encrypted
            | Self::HeaderDuplicated
            | Self::HeaderNotAllowed { .. }
            | Self::NotALicense => CheckName::Form,
            Self::AlgorithmNotAllowed { .. } => CheckName::Algorithm,
            Self::KeysMissing
            | Self::KeyUnknown { .. }
            | Self::KeysUnreachable { .. }
            | Self::KeyAlgorithmMismatch { .. } => CheckName::Key,
            Self::SignatureInvalid => CheckName::Signature,
            Self::ClaimsMalformed
            | Self::ClaimDuplicated { .. }
            | Self::ClaimMissing { .. }
            | Self::ClaimInvalid { .. }
            | Self::TimeOutOfRange { .. }
            | Self::IssuedInFuture { .. } => CheckName::Claims,
            Self::IssuerMismatch { .. } => CheckName::Issuer,
            Self::SubjectMismatch { .. } => CheckName::Subject,
            Self::NotYetValid { .. } => CheckName::NotBefore,
            Self::Expired { end: End::License, .. } => CheckName::LicenseExpiry,
            Self::Expired { end: End::Trial, .. } => CheckName::Trial,
            Self::Expired { end: End::Token, .. } => CheckName::TokenExpiry,
            Self::Revoked { .. } => CheckName::Revocation,
            Self::ProductMissing { .. } => CheckName::Product,
        }
    }
}

fn unknown(kid: Option<&Excerpt>) -> String {
    kid.map_or_else(
        || "this gate trusts no issuer key".to_owned(),
        |kid| format!("no trusted key has the id {kid}"),
    )
}

/// What to do after an end.
const fn next(end: End) -> &'static str {
    match end {
        End::License => "install the next license, or renew this one if the issuer has extended it",
        End::Trial => "install a license, or renew this one if the issuer has extended the trial",
        End::Token => "renew it, or install a renewed token",
    }
}

fn issued_by(issuer: Option<&Excerpt>) -> String {
    issuer.map_or_else(
        || "the token has no issuer (`iss`)".to_owned(),
        |issuer| format!("the token's issuer {issuer} is not accepted"),
    )
}

/// What expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// `lexp`: the license.
    License,
    /// `trial_exp`: the trial.
    Trial,
    /// `exp`: the short-lived token.
    Token,
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::License => "license",
            Self::Trial => "trial",
            Self::Token => "license token",
        })
    }
}

/// The checks of a token, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckName {
    /// Size, form, header.
    Form,
    /// `alg` is accepted.
    Algorithm,
    /// A trusted key matches.
    Key,
    /// The signature is by that key.
    Signature,
    /// The claims are complete, unique and well-typed, and their times plausible.
    Claims,
    /// `iss`.
    Issuer,
    /// `sub`.
    Subject,
    /// `nbf`.
    NotBefore,
    /// `lexp`.
    LicenseExpiry,
    /// `trial_exp`.
    Trial,
    /// `exp`.
    TokenExpiry,
    /// The revocation list.
    Revocation,
    /// `prod`.
    Product,
}

impl CheckName {
    /// The check's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Subject => "subject",
            Self::NotBefore => "not_before",
            Self::LicenseExpiry => "license_expiry",
            Self::Trial => "trial",
            Self::TokenExpiry => "token_expiry",
            Self::Revocation => "revocation",
            Self::Product => "product",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_names_both_root_urls() {
        let rejection = Rejection::SubjectMismatch {
            licensed: Excerpt::of("https://a/"),
            instance: RootUrl::parse("https://b").expect("a root URL"),
        };
        assert!(
            rejection
                .to_string()
                .starts_with("licensed for https://a/, this instance is https://b/")
        );
    }

    #[test]
    fn a_failed_fetch_of_keys_is_named_under_the_same_code() {
        let kid = || Excerpt::of("k");
        for rejection in [Rejection::KeysMissing, Rejection::KeyUnknown { kid: kid() }] {
            let named = rejection.clone().keys_unreachable("license.jwks_url cannot be reached");
            assert_eq!(
                (named.code(), named.check(), named.is_about_keys()),
                (rejection.code(), CheckName::Key, true)
            );
            let message = named.to_string();
            assert!(message.contains("fetched: license.jwks_url cannot be reached: "), "{message}");
        }
        assert_eq!(Rejection::SignatureInvalid.keys_unreachable("x"), Rejection::SignatureInvalid);
    }

    #[test]
    fn codes_are_distinct_and_checks_are_in_order() {
        let (at, product) = (UnixTime::default(), String::new());
        let shown = || Excerpt::of("x");
        let all = [
            Rejection::TooLarge { bytes: 0 },
            Rejection::malformed("x"),
            Rejection::Encrypted,
            Rejection::HeaderDuplicated,
            Rejection::HeaderNotAllowed { member: "crit" },
            Rejection::NotALicense,
            Rejection::AlgorithmNotAllowed { algorithm: shown() },
            Rejection::KeysMissing,
            Rejection::KeyUnknown { kid: shown() },
            Rejection::KeyAlgorithmMismatch { algorithm: "RS256" },
            Rejection::SignatureInvalid,
            Rejection::ClaimsMalformed,
            Rejection::ClaimDuplicated { claim: shown() },
            Rejection::ClaimMissing { claim: "x" },
            Rejection::ClaimInvalid { claim: "x", expected: "y" },
            Rejection::TimeOutOfRange { claim: "x", seconds: 0 },
            Rejection::IssuedInFuture { issued: at, now: at },
            Rejection::IssuerMismatch { issuer: None },
            Rejection::SubjectMismatch { licensed: shown(), instance: RootUrl::default() },
            Rejection::NotYetValid { from: at },
            Rejection::Expired { end: End::License, at },
            Rejection::Expired { end: End::Trial, at },
            Rejection::Expired { end: End::Token, at },
            Rejection::Revoked { what: "token" },
            Rejection::ProductMissing { product },
        ];
        let codes: std::collections::BTreeSet<_> = all.iter().map(Rejection::code).collect();
        assert_eq!(codes.len(), all.len());
        assert!(all.is_sorted_by_key(Rejection::check));
        // Every message states what to do, after a colon.
        assert!(all.iter().all(|rejection| rejection.to_string().contains(": ")));
    }
}
