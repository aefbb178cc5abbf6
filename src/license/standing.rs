//! The state of a license at a given time.
//!
//! Pure: the result depends only on license, policy and time; nothing is remembered. The checks run in the order of
//! [`CheckName`], and the first failure is the reason. Ends are exclusive. [`super::verify`] checks the token itself.

use super::claims::Claims;
use super::excerpt::Excerpt;
use super::policy::Policy;
use super::rejection::{CheckName, End, Rejection};
use super::verify::License;
use crate::clock::UnixTime;

/// The status of a license, as a number in API responses. 2 is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// No license has been looked for yet.
    NotLoaded = 0,
    /// In force.
    Valid = 1,
    /// Not verified, not started, revoked, of another issuer, or without the product.
    Invalid = 3,
    /// There is no license.
    NotFound = 4,
    /// The license, its trial or its token has expired.
    Expired = 5,
    /// Licensed for another instance.
    InvalidSubject = 6,
}

impl Status {
    /// Every status, by code.
    pub const ALL: [Self; 6] = [
        Self::NotLoaded,
        Self::Valid,
        Self::Invalid,
        Self::NotFound,
        Self::Expired,
        Self::InvalidSubject,
    ];

    /// The number in API responses; one digit.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotLoaded => "not loaded",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::Expired => "expired",
            Self::InvalidSubject => "invalid subject",
        }
    }
}

/// The state of a license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no license.
    Absent,
    /// In force.
    Active,
    /// Not started.
    Early {
        /// The claim `nbf`.
        from: UnixTime,
    },
    /// Expired.
    Lapsed {
        /// The expiry as stated, without leeway.
        since: UnixTime,
        /// What has expired; the first in the order of the checks.
        end: End,
    },
    /// Of another issuer or instance, revoked, or without the product.
    Refused(Rejection),
}

impl Standing {
    /// The state of `license` under `policy` at `now`.
    pub fn of(license: Option<&License>, policy: &Policy, now: UnixTime) -> Self {
        license.map_or(Self::Absent, |license| Self::of_claims(license.claims(), policy, now))
    }

    /// The state of a license with `claims` under `policy` at `now`.
    pub fn of_claims(claims: &Claims, policy: &Policy, now: UnixTime) -> Self {
        let fails = |check: LicenseCheck| match check(claims, policy, now) {
            CheckResult::Failed(rejection) => Some(rejection),
            CheckResult::Passed | CheckResult::Skipped => None,
        };
        LICENSE_CHECKS
            .into_iter()
            .find_map(|(_, check)| fails(check))
            .map_or(Self::Active, Self::from)
    }

    /// The status in API responses.
    pub const fn status(&self) -> Status {
        match self {
            Self::Absent => Status::NotFound,
            Self::Active => Status::Valid,
            Self::Lapsed { .. } => Status::Expired,
            Self::Refused(Rejection::SubjectMismatch { .. }) => Status::InvalidSubject,
            Self::Early { .. } | Self::Refused(_) => Status::Invalid,
        }
    }

    /// Why the license is not valid; `None` if it is, or if there is none.
    pub fn reason(&self) -> Option<Rejection> {
        match self {
            Self::Absent | Self::Active => None,
            Self::Early { from } => Some(Rejection::NotYetValid { from: *from }),
            Self::Lapsed { since, end } => Some(Rejection::Expired { end: *end, at: *since }),
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
            Rejection::Expired { end, at } => Self::Lapsed { since: at, end },
            other => Self::Refused(other),
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// The check passed.
    Passed,
    /// The check failed.
    Failed(Rejection),
    /// The check is not configured, the token does not have the claim, or an earlier check failed.
    Skipped,
}

impl CheckResult {
    /// Passed if `fine`, otherwise failed because of `why`.
    fn of(fine: bool, why: impl FnOnce() -> Rejection) -> Self {
        if fine { Self::Passed } else { Self::Failed(why()) }
    }
}

pub(super) type LicenseCheck = fn(&Claims, &Policy, UnixTime) -> CheckResult;

/// The checks of a verified license, in order.
pub(super) const LICENSE_CHECKS: [(CheckName, LicenseCheck); 8] = [
    (CheckName::Issuer, issuer),
    (CheckName::Subject, subject),
    (CheckName::NotBefore, not_before),
    (CheckName::LicenseExpiry, license_expiry),
    (CheckName::Trial, trial),
    (CheckName::TokenExpiry, token_expiry),
    (CheckName::Revocation, revocation),
    (CheckName::Product, product),
];

fn issuer(claims: &Claims, policy: &Policy, _: UnixTime) -> CheckResult {
    if policy.issuers.is_empty() {
        return CheckResult::Skipped;
    }
    let accepted = claims.iss.as_ref().is_some_and(|iss| policy.issuers.contains(iss));
    CheckResult::of(accepted, || Rejection::IssuerMismatch {
        issuer: claims.iss.as_deref().map(Excerpt::of),
    })
}

fn subject(claims: &Claims, policy: &Policy, _: UnixTime) -> CheckResult {
    CheckResult::of(policy.root_url.matches(&claims.sub), || Rejection::SubjectMismatch {
        licensed: Excerpt::of(&claims.sub),
        instance: policy.root_url.clone(),
    })
}

fn not_before(claims: &Claims, policy: &Policy, now: UnixTime) -> CheckResult {
    let Some(from) = claims.starts_at() else { return CheckResult::Skipped };
    CheckResult::of(now.saturating_add(policy.leeway) >= from, || Rejection::NotYetValid { from })
}

fn license_expiry(claims: &Claims, _: &Policy, now: UnixTime) -> CheckResult {
    before(claims.license_ends_at(), End::License, now)
}

fn trial(claims: &Claims, _: &Policy, now: UnixTime) -> CheckResult {
    before(claims.trial_ends_at(), End::Trial, now)
}

fn before(at: Option<UnixTime>, end: End, now: UnixTime) -> CheckResult {
    let Some(at) = at else { return CheckResult::Skipped };
    CheckResult::of(now < at, || Rejection::Expired { end, at })
}

fn token_expiry(claims: &Claims, policy: &Policy, now: UnixTime) -> CheckResult {
    let at = claims.exp;
    CheckResult::of(now < at.saturating_add(policy.leeway), || Rejection::Expired {
        end: End::Token,
        at,
    })
}

fn revocation(claims: &Claims, policy: &Policy, _: UnixTime) -> CheckResult {
    if policy.revoked.is_empty() {
        return CheckResult::Skipped;
    }
    policy
        .revoked
        .covers(claims)
        .map_or(CheckResult::Passed, |what| CheckResult::Failed(Rejection::Revoked { what }))
}

fn product(claims: &Claims, policy: &Policy, _: UnixTime) -> CheckResult {
    let Some(product) = &policy.product else { return CheckResult::Skipped };
    CheckResult::of(claims.includes(product), || Rejection::ProductMissing {
        product: product.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::testing::{DAY, NOW, at, license, policy};
    use super::super::{Revoked, RootUrl};
    use super::*;

    fn standing(changes: &Value, seconds: u64) -> Standing {
        Standing::of(Some(&license(changes)), &policy(), at(seconds))
    }

    fn code(standing: &Standing) -> &'static str {
        standing.reason().map_or("-", |rejection| rejection.code())
    }

    #[test]
    fn no_license_is_absent() {
        let standing = Standing::of(None, &policy(), at(NOW));
        assert_eq!((standing.status(), standing.reason()), (Status::NotFound, None));
    }

    #[test]
    fn ends_are_exclusive_and_only_nbf_and_exp_have_leeway() {
        let (start, end) = (json!({ "nbf": NOW }), json!({ "exp": NOW }));
        let (license, trial) = (json!({ "lexp": NOW }), json!({ "trial": true, "trial_exp": NOW }));
        let cases = [
            (&start, NOW - 61, "not-yet-valid", Status::Invalid),
            (&start, NOW - 60, "-", Status::Valid),
            (&end, NOW + 59, "-", Status::Valid),
            (&end, NOW + 60, "token-expired", Status::Expired),
            (&license, NOW - 1, "-", Status::Valid),
            (&license, NOW, "license-expired", Status::Expired),
            (&trial, NOW - 1, "-", Status::Valid),
            (&trial, NOW, "trial-expired", Status::Expired),
        ];
        for (changes, seconds, reason, status) in cases {
            let standing = standing(changes, seconds);
            assert_eq!(
                (code(&standing), standing.status()),
                (reason, status),
                "{changes} at {seconds}"
            );
        }
    }

    #[test]
    fn zero_and_absent_dates_are_ignored() {
        let changes = json!({ "nbf": 0, "lexp": 0, "trial": true, "trial_exp": 0 });
        assert_eq!(standing(&changes, NOW), Standing::Active);
        assert_eq!(standing(&json!({ "trial": false, "trial_exp": 1 }), NOW), Standing::Active);
        assert_eq!(standing(&json!({ "trial_exp": 1 }), NOW), Standing::Active);
        assert_eq!(standing(&json!({ "iat": NOW + 99 * DAY }), NOW), Standing::Active);
    }

    /// Starts with a license that fails every check, and corrects one failure at a time.
    #[test]
    fn the_first_failure_in_order_is_the_reason() {
        let mut policy = policy();
        policy.issuers = vec!["https://issuer.example/".to_owned()];
        policy.product = Some("reports".to_owned());
        policy.revoked = Arc::new(Revoked { lid: ["L-1".to_owned()].into(), ..Revoked::default() });
        let mut changes = json!({
            "iss": "evil", "sub": "https://b.example/", "nbf": NOW + DAY, "lexp": 1, "trial": true, "trial_exp": 1,
            "exp": 1, "prod": ["other"],
        });
        let corrections = [
            ("issuer-mismatch", Status::Invalid, "iss", json!("https://issuer.example/")),
            ("subject-mismatch", Status::InvalidSubject, "sub", json!("https://*.example/")),
            ("not-yet-valid", Status::Invalid, "nbf", json!(NOW)),
            ("license-expired", Status::Expired, "lexp", json!(NOW + 1)),
            ("trial-expired", Status::Expired, "trial", json!(false)),
            ("token-expired", Status::Expired, "exp", json!(NOW + 1)),
            ("revoked", Status::Invalid, "lid", json!(7)),
            ("product-missing", Status::Invalid, "prod", json!(["other", "reports"])),
        ];
        for (reason, status, claim, corrected) in corrections {
            let standing = Standing::of(Some(&license(&changes)), &policy, at(NOW));
            assert_eq!((code(&standing), standing.status()), (reason, status));
            changes[claim] = corrected;
        }
        assert_eq!(Standing::of(Some(&license(&changes)), &policy, at(NOW)), Standing::Active);
    }

    #[test]
    fn a_license_without_issuer_or_product_fails_the_check_for_it() {
        let mut policy = policy();
        policy.issuers = vec!["https://issuer.example/".to_owned()];
        let anonymous = Standing::of(Some(&license(&json!({ "iss": null }))), &policy, at(NOW));
        assert_eq!(code(&anonymous), "issuer-mismatch");
        policy.issuers.clear();
        policy.product = Some("reports".to_owned());
        assert_eq!(
            code(&Standing::of(Some(&license(&json!({}))), &policy, at(NOW))),
            "product-missing"
        );
    }

    #[test]
    fn a_token_or_a_whole_license_is_revoked() {
        let mut policy = policy();
        let revoked = |jti: &str, lid: &str| {
            Arc::new(Revoked { jti: [jti.to_owned()].into(), lid: [lid.to_owned()].into() })
        };
        for (list, reason) in [
            (revoked("J-1", "x"), "revoked"),
            (revoked("x", "L-1"), "revoked"),
            (revoked("L-1", "J-1"), "-"),
        ] {
            policy.revoked = list;
            assert_eq!(code(&Standing::of(Some(&license(&json!({}))), &policy, at(NOW))), reason);
        }
    }

    #[test]
    fn a_mismatch_names_both_root_urls() {
        let mut policy = policy();
        policy.root_url = RootUrl::parse("https://b").expect("a root URL");
        let standing = Standing::of(Some(&license(&json!({}))), &policy, at(NOW));
        let message = standing.reason().expect("a reason").to_string();
        assert!(
            message.contains("licensed for https://a.example/, this instance is https://b/"),
            "{message}"
        );
    }

    fn moment() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), NOW - 200..NOW + 200, 0..=1_u64 << 53]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn standing_never_improves_after_expiry(
            (nbf, lexp, trial_exp, exp) in (moment(), moment(), moment(), moment()),
            trial in any::<bool>(),
            leeway in 0_u64..120,
            mut times in prop::collection::vec(prop_oneof![moment(), any::<u64>()], 2..20),
        ) {
            let changes =
                json!({ "nbf": nbf, "lexp": lexp, "trial": trial, "trial_exp": trial_exp, "exp": exp });
            let license = license(&changes);
            let policy = Policy { leeway: Duration::from_secs(leeway), ..policy() };
            times.sort_unstable();
            let mut ended = false;
            let mut begun = false;
            for now in times {
                let standing = Standing::of(Some(&license), &policy, at(now));
                let lapsed = matches!(standing, Standing::Lapsed { .. });
                let early = matches!(standing, Standing::Early { .. });
                prop_assert!(lapsed || !ended, "{standing:?} after its end, at {now}");
                prop_assert!(!early || !begun, "early again at {now}");
                prop_assert_eq!(standing.is_active(), standing.reason().is_none());
                ended |= lapsed;
                begun |= !early;
            }
        }
    }
}
