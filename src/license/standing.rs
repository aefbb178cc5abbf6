//! Where a license stands at a moment.
//!
//! Pure: license, policy and time in, standing out; nothing is remembered, so a clock that moves changes the answer and
//! nothing else does. The checks run in the order of [`CheckName`], and the first that fails is the reason. Ends are
//! exclusive. What a token must be to become a license at all is [`super::verify`]'s work.

use super::claims::Claims;
use super::excerpt::Excerpt;
use super::policy::Policy;
use super::rejection::{CheckName, End, Rejection};
use super::status::Status;
use super::verify::License;
use crate::clock::UnixTime;

/// Where a license stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    Absent,
    /// In force.
    Active,
    /// Not started.
    Early {
        /// The claim `nbf`.
        from: UnixTime,
    },
    /// Ended.
    Lapsed {
        /// The end as the token states it, without leeway.
        since: UnixTime,
        /// The first of its ends, in the order of the checks, that has passed.
        whose: End,
    },
    /// Of another issuer or instance, revoked, or without the product.
    Refused(Rejection),
}

impl Standing {
    /// Where `license` stands under `policy` at `now`.
    pub fn of(license: Option<&License>, policy: &Policy, now: UnixTime) -> Self {
        let Some(license) = license else { return Self::Absent };
        let fails = |judge: Judge| match judge(license.claims(), policy, now) {
            Outcome::Failed(rejection) => Some(rejection),
            Outcome::Passed | Outcome::Skipped => None,
        };
        JUDGES.into_iter().find_map(|(_, judge)| fails(judge)).map_or(Self::Active, Self::from)
    }

    /// The status answers state.
    pub const fn status(&self) -> Status {
        match self {
            Self::Absent => Status::NotFound,
            Self::Active => Status::Valid,
            Self::Lapsed { .. } => Status::Expired,
            Self::Refused(Rejection::SubjectMismatch { .. }) => Status::InvalidSubject,
            Self::Early { .. } | Self::Refused(_) => Status::Invalid,
        }
    }

    /// Why it is not in force; `None` when it is, and when there is no license.
    pub fn reason(&self) -> Option<Rejection> {
        match self {
            Self::Absent | Self::Active => None,
            Self::Early { from } => Some(Rejection::NotYetValid { from: *from }),
            Self::Lapsed { since, whose } => Some(Rejection::Expired { whose: *whose, at: *since }),
            Self::Refused(rejection) => Some(rejection.clone()),
        }
    }

    /// Whether the license is in force.
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Active)
    }
}

impl From<Rejection> for Standing {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotYetValid { from } => Self::Early { from },
            Rejection::Expired { whose, at } => Self::Lapsed { since: at, whose },
            other => Self::Refused(other),
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not acceptable.
    Failed(Rejection),
    /// Not asked for here, not stated by the token, or an earlier check failed that it needs.
    Skipped,
}

impl Outcome {
    /// Passed when `fine`, else failed because of `why`.
    fn of(fine: bool, why: impl FnOnce() -> Rejection) -> Self {
        if fine { Self::Passed } else { Self::Failed(why()) }
    }
}

pub(super) type Judge = fn(&Claims, &Policy, UnixTime) -> Outcome;

/// What is judged about a verified license, in the order in which the first failure is the reason.
pub(super) const JUDGES: [(CheckName, Judge); 8] = [
    (CheckName::Issuer, issuer),
    (CheckName::Subject, subject),
    (CheckName::NotBefore, not_before),
    (CheckName::LicenseExpiry, license_expiry),
    (CheckName::Trial, trial),
    (CheckName::TokenExpiry, token_expiry),
    (CheckName::Revocation, revocation),
    (CheckName::Product, product),
];

fn issuer(claims: &Claims, policy: &Policy, _: UnixTime) -> Outcome {
    if policy.issuers.is_empty() {
        return Outcome::Skipped;
    }
    let accepted = claims.iss.as_ref().is_some_and(|iss| policy.issuers.contains(iss));
    Outcome::of(accepted, || Rejection::IssuerMismatch {
        issuer: claims.iss.as_deref().map(Excerpt::of),
    })
}

fn subject(claims: &Claims, policy: &Policy, _: UnixTime) -> Outcome {
    Outcome::of(policy.root_url.matches(&claims.sub), || Rejection::SubjectMismatch {
        licensed: Excerpt::of(&claims.sub),
        instance: policy.root_url.clone(),
    })
}

fn not_before(claims: &Claims, policy: &Policy, now: UnixTime) -> Outcome {
    let Some(from) = claims.starts_at() else { return Outcome::Skipped };
    Outcome::of(now.saturating_add(policy.leeway) >= from, || Rejection::NotYetValid { from })
}

fn license_expiry(claims: &Claims, _: &Policy, now: UnixTime) -> Outcome {
    before(claims.license_ends_at(), End::License, now)
}

fn trial(claims: &Claims, _: &Policy, now: UnixTime) -> Outcome {
    before(claims.trial_ends_at(), End::Trial, now)
}

fn before(end: Option<UnixTime>, whose: End, now: UnixTime) -> Outcome {
    let Some(at) = end else { return Outcome::Skipped };
    Outcome::of(now < at, || Rejection::Expired { whose, at })
}

fn token_expiry(claims: &Claims, policy: &Policy, now: UnixTime) -> Outcome {
    let at = claims.exp;
    Outcome::of(now < at.saturating_add(policy.leeway), || Rejection::Expired {
        whose: End::Token,
        at,
    })
}

fn revocation(claims: &Claims, policy: &Policy, _: UnixTime) -> Outcome {
    if policy.revoked.is_empty() {
        return Outcome::Skipped;
    }
    policy
        .revoked
        .covers(claims)
        .map_or(Outcome::Passed, |what| Outcome::Failed(Rejection::Revoked { what }))
}

fn product(claims: &Claims, policy: &Policy, _: UnixTime) -> Outcome {
    let Some(product) = &policy.product else { return Outcome::Skipped };
    Outcome::of(claims.includes(product), || Rejection::ProductMissing { product: product.clone() })
}
