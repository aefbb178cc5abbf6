//! All checks of a token: [`acceptable`] stops at the first failure, for an installation; [`inspect`] reports each check, for
//! people and for `validate`.
//!
//! Both run the same functions, so that they cannot disagree. Checks about the text depend on
//! each other: after one that fails the rest are skipped. Checks about the license do not, and are all made.

use super::keys::Keys;
use super::plausible::plausible;
use super::policy::Policy;
use super::rejection::{CheckName, Rejection};
use super::standing::{JUDGES, Outcome, Standing, Status};
use super::token::Token;
use super::verify::{License, verify};
use crate::clock::UnixTime;

/// The checks that make a token a license, in their order.
const PROOF: [CheckName; 5] = [
    CheckName::Form,
    CheckName::Algorithm,
    CheckName::Key,
    CheckName::Signature,
    CheckName::Claims,
];

/// What is to be said about a token.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether it would be in force: no check failed.
    pub valid: bool,
    /// The status it would have; 3 when it does not verify.
    pub status: Status,
    /// All thirteen checks, in their order.
    pub checks: Vec<Check>,
    /// The license, when the token verifies.
    pub license: Option<License>,
}

impl Report {
    /// The same, when the keys that are missing could not be fetched because of `why`, which names their source.
    #[must_use]
    pub fn unreached(mut self, why: &str) -> Self {
        for check in &mut self.checks {
            if let Outcome::Failed(rejection) = &mut check.outcome {
                *rejection = rejection.clone().unreached(why);
            }
        }
        self
    }

    /// The first failure, which is the reason.
    pub fn reason(&self) -> Option<&Rejection> {
        self.checks.iter().find_map(|check| match &check.outcome {
            Outcome::Failed(rejection) => Some(rejection),
            Outcome::Passed | Outcome::Skipped => None,
        })
    }
}

/// One check and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which check.
    pub name: CheckName,
    /// What it found.
    pub outcome: Outcome,
}

/// Whether `license` may be installed: its times can be right, and it is in force at `now`.
///
/// # Errors
/// The first failure in the order of the checks.
pub fn acceptable(license: &License, policy: &Policy, now: UnixTime) -> Result<(), Rejection> {
    plausible(license.claims(), now)?;
    Standing::of(Some(license), policy, now).reason().map_or(Ok(()), Err)
}

/// Checks `text` as if it were to be installed at `now`; changes nothing and fails on nothing.
pub fn inspect(text: &str, keys: &Keys, policy: &Policy, now: UnixTime) -> Report {
    report(Token::parse(text), keys, policy, now)
}

/// The same for the content of a file, read as [`Token::from_file`] does.
pub fn inspect_file(content: &[u8], keys: &Keys, policy: &Policy, now: UnixTime) -> Report {
    report(Token::from_file(content), keys, policy, now)
}

fn report(token: Result<Token, Rejection>, keys: &Keys, policy: &Policy, now: UnixTime) -> Report {
    match token.and_then(|token| verify(&token, keys)) {
        Ok(license) => proven(license, policy, now),
        Err(rejection) => unproven(&rejection),
    }
}

fn proven(license: License, policy: &Policy, now: UnixTime) -> Report {
    let mut standing = Standing::of(Some(&license), policy, now);
    let mut proof = PROOF.map(|name| Check { name, outcome: Outcome::Passed });
    if let Err(rejection) = plausible(license.claims(), now) {
        proof = proof.map(|check| match check.name == rejection.check() {
            true => Check { outcome: Outcome::Failed(rejection.clone()), ..check },
            false => check,
        });
        standing = Standing::Refused(rejection);
    }
    let judged =
        JUDGES.map(|(name, judge)| Check { name, outcome: judge(license.claims(), policy, now) });
    Report {
        valid: standing.is_active(),
        status: standing.status(),
        checks: proof.into_iter().chain(judged).collect(),
        license: Some(license),
    }
}

fn unproven(rejection: &Rejection) -> Report {
    let failed = rejection.check();
    let outcome = |name: CheckName| match name.cmp(&failed) {
        std::cmp::Ordering::Less => Outcome::Passed,
        std::cmp::Ordering::Equal => Outcome::Failed(rejection.clone()),
        std::cmp::Ordering::Greater => Outcome::Skipped,
    };
    let names = PROOF.into_iter().chain(JUDGES.map(|(name, _)| name));
    Report {
        valid: false,
        status: Status::Invalid,
        checks: names.map(|name| Check { name, outcome: outcome(name) }).collect(),
        license: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{ISSUER, NOW, STRANGER, at, claims, policy};
    use super::*;

    /// One letter a check: passed, failed, skipped.
    fn letters(report: &Report) -> String {
        let letter = |check: &Check| match check.outcome {
            Outcome::Passed => 'P',
            Outcome::Failed(_) => 'F',
            Outcome::Skipped => 's',
        };
        report.checks.iter().map(letter).collect()
    }

    fn report(text: &str) -> Report {
        inspect(text, &ISSUER.trusted(), &policy(), at(NOW))
    }

    #[test]
    fn all_thirteen_checks_are_told_in_their_order() {
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
    fn a_text_that_does_not_verify_is_told_up_to_its_first_failure() {
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
    fn times_that_cannot_be_right_fail_the_claims_and_give_status_3() {
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
