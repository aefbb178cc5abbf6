//! All checks of a token: [`acceptable`] stops at the first failure, for an installation; [`inspect`] reports each check, for
//! people and for `validate`.
//!
//! Both use the same functions and therefore agree. The checks of the token depend on each other: after a failure the rest
//! are skipped. The checks of the license are independent, and all are made.

use super::keys::Keys;
use super::plausible::plausible;
use super::policy::Policy;
use super::rejection::{CheckName, Rejection};
use super::standing::{CheckResult, LICENSE_CHECKS, Standing, Status};
use super::token::Token;
use super::verify::{License, verify};
use crate::clock::UnixTime;

/// The checks of a token, in order.
const TOKEN_CHECKS: [CheckName; 5] = [
    CheckName::Form,
    CheckName::Algorithm,
    CheckName::Key,
    CheckName::Signature,
    CheckName::Claims,
];

/// The results of all checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether no check failed.
    pub valid: bool,
    /// The status of the license; 3 if the token does not verify.
    pub status: Status,
    /// All thirteen checks, in order.
    pub checks: Vec<Check>,
    /// The license, if the token verifies.
    pub license: Option<License>,
}

impl Report {
    /// Adds to a failure for an unknown key why newer keys could not be fetched; `why` names the setting.
    #[must_use]
    pub fn keys_unreachable(mut self, why: &str) -> Self {
        for check in &mut self.checks {
            if let CheckResult::Failed(rejection) = &mut check.result {
                *rejection = rejection.clone().keys_unreachable(why);
            }
        }
        self
    }

    /// The first failure.
    pub fn reason(&self) -> Option<&Rejection> {
        self.checks.iter().find_map(|check| match &check.result {
            CheckResult::Failed(rejection) => Some(rejection),
            CheckResult::Passed | CheckResult::Skipped => None,
        })
    }
}

/// Why the check called `name` was skipped, in a few words. `is_verified`: the token verifies; otherwise every check after the one that
/// failed is skipped.
pub fn why_skipped(name: &str, is_verified: bool) -> &'static str {
    match name {
        _ if !is_verified => "not checked, because a check before it failed",
        "issuer" => "not configured (license.issuers)",
        "product" => "not configured (license.product)",
        "revocation" => "nothing is revoked (license.revocations)",
        "not_before" => "not in the token (nbf)",
        "license_expiry" => "not in the token (lexp): no end",
        "trial" => "not in the token (trial)",
        _ => "not checked",
    }
}

/// A check and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The check.
    pub name: CheckName,
    /// The result.
    pub result: CheckResult,
}

/// Checks whether `license` may be installed at `now`: its times are plausible and its status is 1.
///
/// # Errors
/// The first failure in the order of the checks.
pub fn acceptable(license: &License, policy: &Policy, now: UnixTime) -> Result<(), Rejection> {
    plausible(license.claims(), now)?;
    Standing::of(Some(license), policy, now).reason().map_or(Ok(()), Err)
}

/// Makes all checks of `text` for an installation at `now`, without installing it.
pub fn inspect(text: &str, keys: &Keys, policy: &Policy, now: UnixTime) -> Report {
    report(Token::parse(text), keys, policy, now)
}

/// The same for the content of a file, parsed as by [`Token::from_file`].
pub fn inspect_file(content: &[u8], keys: &Keys, policy: &Policy, now: UnixTime) -> Report {
    report(Token::from_file(content), keys, policy, now)
}

fn report(token: Result<Token, Rejection>, keys: &Keys, policy: &Policy, now: UnixTime) -> Report {
    match token.and_then(|token| verify(&token, keys)) {
        Ok(license) => verified(license, policy, now),
        Err(rejection) => unverified(&rejection),
    }
}

fn verified(license: License, policy: &Policy, now: UnixTime) -> Report {
    let mut standing = Standing::of(Some(&license), policy, now);
    let mut proof = TOKEN_CHECKS.map(|name| Check { name, result: CheckResult::Passed });
    if let Err(rejection) = plausible(license.claims(), now) {
        proof = proof.map(|check| match check.name == rejection.check() {
            true => Check { result: CheckResult::Failed(rejection.clone()), ..check },
            false => check,
        });
        standing = Standing::Refused(rejection);
    }
    let judged = LICENSE_CHECKS
        .map(|(name, check)| Check { name, result: check(license.claims(), policy, now) });
    Report {
        valid: standing.is_active(),
        status: standing.status(),
        checks: proof.into_iter().chain(judged).collect(),
        license: Some(license),
    }
}

fn unverified(rejection: &Rejection) -> Report {
    let failed = rejection.check();
    let result = |name: CheckName| match name.cmp(&failed) {
        std::cmp::Ordering::Less => CheckResult::Passed,
        std::cmp::Ordering::Equal => CheckResult::Failed(rejection.clone()),
        std::cmp::Ordering::Greater => CheckResult::Skipped,
    };
    let names = TOKEN_CHECKS.into_iter().chain(LICENSE_CHECKS.map(|(name, _)| name));
    Report {
        valid: false,
        status: Status::Invalid,
        checks: names.map(|name| Check { name, result: result(name) }).collect(),
        license: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{ISSUER, NOW, STRANGER, at, claims, policy};
    use super::*;

    /// One letter per check: passed, failed, skipped.
    fn letters(report: &Report) -> String {
        let letter = |check: &Check| match check.result {
            CheckResult::Passed => 'P',
            CheckResult::Failed(_) => 'F',
            CheckResult::Skipped => 's',
        };
        report.checks.iter().map(letter).collect()
    }

    fn report(text: &str) -> Report {
        inspect(text, &ISSUER.trusted(), &policy(), at(NOW))
    }

    #[test]
    fn all_thirteen_checks_are_reported_in_order() {
        let token = ISSUER.sign(&claims(&json!({ "nbf": 1, "lexp": NOW + 1 }))).expect("a token");
        let report = report(token.as_str());
        let names: Vec<_> = report.checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(
            names.join(" "),
            "form algorithm key signature claims issuer subject not_before license_expiry trial token_expiry \
             revocation product"
        );
        assert!(report.checks.is_sorted_by_key(|check| check.name));
        assert_eq!(letters(&report), "PPPPPsPPPsPss");
        assert!(report.valid && report.reason().is_none() && report.license.is_some());
    }

    #[test]
    fn checks_after_the_first_failure_of_a_token_are_skipped() {
        let stranger = STRANGER.sign(&claims(&json!({}))).expect("a token");
        let cases = [
            ("garbage", "Fssssssssssss"),
            (stranger.as_str(), "PPFssssssssss"),
            ("eyJhbGciOiJub25lIn0.e30.", "PFsssssssssss"),
        ];
        for (text, expected) in cases {
            let report = report(text);
            assert_eq!(letters(&report), expected);
            assert_eq!((report.valid, report.status), (false, Status::Invalid));
            assert!(report.license.is_none());
        }
    }

    #[test]
    fn implausible_times_fail_the_claims_check_with_status_3() {
        for (changes, code) in [
            (json!({ "exp": NOW * 1000 }), "time-out-of-range"),
            (json!({ "iat": NOW * 2, "lexp": 1 }), "issued-in-future"),
        ] {
            let token = ISSUER.sign(&claims(&changes)).expect("a token");
            let report = report(token.as_str());
            assert_eq!(&letters(&report)[..5], "PPPPF");
            assert_eq!((report.valid, report.status), (false, Status::Invalid));
            assert_eq!(report.reason().map(Rejection::code), Some(code));
            assert!(report.license.is_some(), "it is shown");
        }
    }

    #[test]
    fn every_check_of_a_license_is_made_and_the_first_failure_is_the_reason() {
        let changes = json!({ "sub": "https://b/", "lexp": 1, "exp": 1 });
        let token = ISSUER.sign(&claims(&changes)).expect("a token");
        let report = report(token.as_str());
        assert_eq!(letters(&report), "PPPPPsFsFsFss");
        assert_eq!(report.status, Status::InvalidSubject);
        assert_eq!(report.reason().map(Rejection::code), Some("subject-mismatch"));
    }
}
