//! Every way a token is not acceptable, and the check it fails.
//!
//! The order of [`CheckName`] is the order of the checks: the first that fails is the reason. `code` is stable, for
//! machines; `Display` says what is wrong and what to do, for people. Neither ever holds token text: what is quoted is
//! a key id or a claim, cut and escaped by [`Excerpt`]. Knows no HTTP status.

use std::fmt;

use super::excerpt::Excerpt;
use super::root_url::RootUrl;
use crate::clock::UnixTime;

/// Largest token, in bytes, without the white space around it.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Why a token is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Longer than [`MAX_TOKEN_BYTES`] without the white space around it.
    #[error(
        "the token has {bytes} bytes, at most {MAX_TOKEN_BYTES} are read: check that the whole file is one token"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not a compact JWS (RFC 7515 section 7.1).
    #[error("the token is not a compact JWS, {what}: {remedy}")]
    Malformed {
        /// What it is instead.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A JWE (RFC 7516).
    #[error("the token is encrypted: ask the issuer for one that is only signed")]
    Encrypted,
    /// The header names a member twice.
    #[error(
        "the token's header names a member twice: ask the issuer for a token whose members are unique"
    )]
    HeaderDuplicated,
    /// The header would have the reader fetch, trust or understand something.
    #[error(
        "the token's header has `{member}`, which is not accepted: ask the issuer for a token without it"
    )]
    HeaderNotAllowed {
        /// The refused member.
        member: &'static str,
    },
    /// Signed, and of another kind.
    #[error(
        "the token is a revocation list, not a license: put it where `license.revocations` points, and give the license \
         itself here"
    )]
    NotALicense,
    /// `alg` is not an accepted algorithm.
    #[error(
        "the token's algorithm {algorithm} is not accepted: ask the issuer for one of RS256, RS384, RS512, PS256, \
         PS384, PS512, ES256, ES384, EdDSA"
    )]
    AlgorithmNotAllowed {
        /// What the header says.
        algorithm: Excerpt,
    },
    /// There is nothing to verify with.
    #[error(
        "no issuer key is trusted here: put the issuer's public keys where `license.keys` points"
    )]
    KeysMissing,
    /// No trusted key has the token's `kid`.
    #[error(
        "no trusted key has the id {kid}: the issuer's current keys belong where `license.keys` or `license.jwks_url` points"
    )]
    KeyUnknown {
        /// What the header says.
        kid: Excerpt,
    },
    /// No trusted key has the token's `kid`, or there is none at all, while the issuer's keys cannot be fetched.
    #[error(
        "{}, and the issuer's current keys could not be fetched: {why}: see that the gate can fetch them, and try again",
        unknown(kid.as_ref())
    )]
    KeysUnreached {
        /// What the header says; `None`: there is nothing to verify with.
        kid: Option<Excerpt>,
        /// Which source of keys failed, and how.
        why: String,
    },
    /// Trusted keys might have signed it, but none with this algorithm.
    #[error(
        "no trusted key that could have signed this token is for {algorithm}: add the issuer's key to `license.keys`, \
         as a JWK with this `alg`"
    )]
    KeyAlgorithmMismatch {
        /// What the header says.
        algorithm: &'static str,
    },
    /// No trusted key made the signature.
    #[error(
        "the token's signature is not by a trusted key: the token was changed, or the issuer's key is not among \
         `license.keys`"
    )]
    SignatureInvalid,
    /// The signed content is not a JSON object.
    #[error("the token's content is not a JSON object: ask the issuer for a new token")]
    ClaimsMalformed,
    /// A claim is there twice.
    #[error(
        "the token has the claim {claim} twice: ask the issuer for a token whose claims are unique"
    )]
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
    /// A claim has another type or range than it should.
    #[error("the token's `{claim}` is not {expected}: ask the issuer for a corrected token")]
    ClaimInvalid {
        /// The claim's name.
        claim: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A time that no calendar in use reaches: milliseconds, mostly.
    #[error(
        "the token's `{claim}` is {seconds}, which as seconds is beyond the year 3058 and looks like milliseconds ({}): \
         ask the issuer for a token whose times are in seconds",
        UnixTime::from_secs(seconds / 1000)
    )]
    TimeOutOfRange {
        /// The claim's name.
        claim: &'static str,
        /// What it says.
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
        /// What the clock says.
        now: UnixTime,
    },
    /// `iss` is not an accepted issuer.
    #[error("{}: use a token of an accepted issuer, or add it to `license.issuers`", issued_by(issuer.as_ref()))]
    IssuerMismatch {
        /// What the token says.
        issuer: Option<Excerpt>,
    },
    /// `sub` does not cover this instance.
    #[error("licensed for {}, this instance is {instance}: ask for a license for this root URL, or correct `server.root_url`", .licensed.bare())]
    SubjectMismatch {
        /// What the token says.
        licensed: Excerpt,
        /// What this instance is.
        instance: RootUrl,
    },
    /// `nbf` has not come.
    #[error("the license starts at {from}: wait until then, or check this machine's clock")]
    NotYetValid {
        /// The claim `nbf`.
        from: UnixTime,
    },
    /// One of the license's ends has passed.
    #[error("the {whose} expired at {at}: install a renewed token")]
    Expired {
        /// Which of its ends.
        whose: End,
        /// The end as the token states it, without leeway.
        at: UnixTime,
    },
    /// The issuer took it back.
    #[error("the issuer has revoked this {what}: ask for a new one")]
    Revoked {
        /// `token` or `license`.
        what: &'static str,
    },
    /// `prod` lacks the product this gate asks for.
    #[error(
        "the license does not include the product {product:?}: ask for one that does, or correct `license.product`"
    )]
    ProductMissing {
        /// What this gate asks for.
        product: String,
    },
}

impl Rejection {
    /// A text that is not what the issuer gave, because of `what`.
    pub(super) const fn malformed(what: &'static str) -> Self {
        Self::Malformed { what, remedy: "copy it whole, as the issuer gave it" }
    }

    /// A stable, machine-readable name of the reason: the tail of a `messageId`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Malformed { .. } => "malformed",
            Self::Encrypted => "encrypted",
            Self::HeaderDuplicated => "header-duplicated",
            Self::HeaderNotAllowed { .. } => "header-not-allowed",
            Self::NotALicense => "not-a-license",
            Self::AlgorithmNotAllowed { .. } => "algorithm-not-allowed",
            Self::KeysMissing | Self::KeysUnreached { kid: None, .. } => "keys-missing",
            Self::KeyUnknown { .. } | Self::KeysUnreached { kid: Some(_), .. } => "key-unknown",
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
            Self::Expired { whose: End::License, .. } => "license-expired",
            Self::Expired { whose: End::Trial, .. } => "trial-expired",
            Self::Expired { whose: End::Token, .. } => "token-expired",
            Self::Revoked { .. } => "revoked",
            Self::ProductMissing { .. } => "product-missing",
        }
    }

    /// The same, when the keys that are missing could not be fetched because of `why`, which names their source.
    #[must_use]
    pub fn unreached(self, why: &str) -> Self {
        let kid = match self {
            Self::KeysMissing => None,
            Self::KeyUnknown { kid } => Some(kid),
            other => return other,
        };
        Self::KeysUnreached { kid, why: why.to_owned() }
    }

    /// Whether other keys may turn what was rejected so into a license.
    pub const fn is_about_keys(&self) -> bool {
        matches!(self.check(), CheckName::Key | CheckName::Signature)
    }

    /// The check that finds it.
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
            | Self::KeysUnreached { .. }
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
            Self::Expired { whose: End::License, .. } => CheckName::LicenseExpiry,
            Self::Expired { whose: End::Trial, .. } => CheckName::Trial,
            Self::Expired { whose: End::Token, .. } => CheckName::TokenExpiry,
            Self::Revoked { .. } => CheckName::Revocation,
            Self::ProductMissing { .. } => CheckName::Product,
        }
    }
}

fn unknown(kid: Option<&Excerpt>) -> String {
    kid.map_or_else(
        || "no issuer key is trusted here".to_owned(),
        |kid| format!("no trusted key has the id {kid}"),
    )
}

fn issued_by(issuer: Option<&Excerpt>) -> String {
    issuer.map_or_else(
        || "the token names no issuer (`iss`)".to_owned(),
        |issuer| format!("the token's issuer {issuer} is not accepted here"),
    )
}

/// Which of a license's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// `lexp`, the end of the license.
    License,
    /// `trial_exp`, the end of a trial.
    Trial,
    /// `exp`, the end of the short-lived token.
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

/// The checks a token goes through, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckName {
    /// Size, shape, header.
    Form,
    /// `alg` is an accepted one.
    Algorithm,
    /// A trusted key fits.
    Key,
    /// It made the signature.
    Signature,
    /// Claims are there, once, with their types, and times that can be right.
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
    fn keys_that_could_not_be_fetched_are_named_under_the_code_there_was() {
        let kid = || Excerpt::of("k");
        for rejection in [Rejection::KeysMissing, Rejection::KeyUnknown { kid: kid() }] {
            let named = rejection.clone().unreached("license.jwks_url cannot be reached");
            assert_eq!(
                (named.code(), named.check(), named.is_about_keys()),
                (rejection.code(), CheckName::Key, true)
            );
            let message = named.to_string();
            assert!(message.contains("fetched: license.jwks_url cannot be reached: "), "{message}");
        }
        assert_eq!(Rejection::SignatureInvalid.unreached("x"), Rejection::SignatureInvalid);
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
            Rejection::Expired { whose: End::License, at },
            Rejection::Expired { whose: End::Trial, at },
            Rejection::Expired { whose: End::Token, at },
            Rejection::Revoked { what: "token" },
            Rejection::ProductMissing { product },
        ];
        let codes: std::collections::BTreeSet<_> = all.iter().map(Rejection::code).collect();
        assert_eq!(codes.len(), all.len());
        assert!(all.is_sorted_by_key(Rejection::check));
        // Every message says what to do, behind a colon.
        assert!(all.iter().all(|rejection| rejection.to_string().contains(": ")));
    }
}
