//! When a license is to be renewed. Pure: claims and time in, a moment out.
//!
//! A token is due `update_days` after it was issued, and `tok_exp_warn_days` before it ends at the latest. Gates of one
//! vendor do not all call at once: each waits up to a minute more, from the moment it is due or from the moment it is
//! found overdue. After a failure the wait grows from a minute to an hour, longer if the issuer asks for it; after a
//! success that leaves the license due, because the issuer gave the same token again, it is an hour.

use std::time::Duration;

use crate::clock::UnixTime;
use crate::license::Claims;

/// Longest wait once a license is due.
const JITTER: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// An issuer that asks for more is asked again all the same.
const LONGEST_ASKED: Duration = Duration::from_secs(86_400);
const DAY: u64 = 86_400;

/// When `claims` are due for renewal.
pub(super) fn due(claims: &Claims) -> UnixTime {
    let days =
        |days: i64| Duration::from_secs(u64::try_from(days).unwrap_or(0).saturating_mul(DAY));
    let latest = claims.exp.saturating_sub(days(claims.token_warn_days()));
    let regular = claims.iat.map(|iat| iat.saturating_add(days(claims.renew_every_days())));
    regular.map_or(latest, |regular| regular.min(latest))
}

/// What is remembered between two calls.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Where in a minute this gate calls, from 0 to 1.
    share: f64,
    /// The due date all the rest is about.
    due: Option<UnixTime>,
    /// When it was found to have passed.
    noticed: Option<UnixTime>,
    failures: u32,
    not_before: UnixTime,
}

impl Schedule {
    /// `share`: a random number from 0 to 1.
    pub(super) fn new(share: f64) -> Self {
        let share = share.clamp(0.0, 1.0);
        Self { share, due: None, noticed: None, failures: 0, not_before: UnixTime::default() }
    }

    /// When to renew the license of `claims`; a moment that is not after `now` means now.
    pub(super) fn next(&mut self, claims: &Claims, now: UnixTime) -> UnixTime {
        let due = due(claims);
        if self.due != Some(due) {
            *self = Self { due: Some(due), ..Self::new(self.share) };
        }
        let from = if due > now { due } else { *self.noticed.get_or_insert(now) };
        // A clock that was set back must not put off a renewal for as long.
        let not_before = self.not_before.min(now.saturating_add(LONGEST_ASKED));
        from.saturating_add(JITTER.mul_f64(self.share)).max(not_before)
    }

    /// The issuer answered at `now`.
    pub(super) fn succeeded(&mut self, now: UnixTime) {
        self.failures = 0;
        self.not_before = now.saturating_add(LONGEST_PAUSE);
    }

    /// The renewal failed at `now`, and the issuer asked not to be called for `retry_after`.
    pub(super) fn failed(&mut self, now: UnixTime, retry_after: Option<Duration>) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(6));
        let pause = doubled.min(LONGEST_PAUSE).mul_f64(1.0 - self.share / 4.0);
        self.failures = self.failures.saturating_add(1);
        let asked = retry_after.unwrap_or_default().min(LONGEST_ASKED);
        self.not_before = now.saturating_add(pause.max(asked));
    }

    /// How often it has failed since it last went well.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::license::{Algorithm, KeyPair, License, verify};

    const NOW: u64 = 1_800_000_000;

    fn license(claims: &Value) -> License {
        let pair = KeyPair::generate(Algorithm::EdDSA).expect("a key pair");
        let mut all = json!({ "sub": "http://a/", "lid": "L", "exp": NOW + 14 * DAY });
        for (name, value) in claims.as_object().expect("claims") {
            all[name] = value.clone();
        }
        verify(&pair.sign(&all).expect("a token"), &pair.trusted()).expect("a license")
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    #[test]
    fn a_token_is_due_by_its_age_and_before_its_end() {
        let table = [
            (json!({ "iat": NOW }), NOW + DAY),
            (json!({ "iat": NOW, "update_days": 7 }), NOW + 7 * DAY),
            (json!({ "iat": NOW, "update_days": 0 }), NOW + DAY),
            (json!({ "iat": NOW, "update_days": -3 }), NOW + DAY),
            (json!({ "iat": NOW, "update_days": 30 }), NOW + 11 * DAY),
            (json!({ "iat": NOW, "update_days": 30, "tok_exp_warn_days": 0 }), NOW + 14 * DAY),
            (json!({ "iat": NOW, "update_days": 30, "tok_exp_warn_days": -1 }), NOW + 14 * DAY),
            (json!({}), NOW + 11 * DAY),
            (json!({ "tok_exp_warn_days": 1 }), NOW + 13 * DAY),
            (json!({ "tok_exp_warn_days": i64::MAX }), 0),
            (json!({ "iat": 1_u64 << 53, "update_days": i64::MAX }), NOW + 11 * DAY),
            (json!({ "iat": NOW, "exp": 0 }), 0),
        ];
        for (claims, expected) in table {
            assert_eq!(due(license(&claims).claims()), at(expected), "{claims}");
        }
    }

    #[test]
    fn what_is_due_or_overdue_starts_within_a_minute() {
        let license = license(&json!({ "iat": NOW }));
        let due = NOW + DAY;
        let table = [
            (0.0, NOW, due),
            (0.5, NOW, due + 30),
            (1.0, NOW, due + 60),
            (0.0, due, due),
            (0.5, due + 500, due + 530),
            (1.0, NOW + 300 * DAY, NOW + 300 * DAY + 60),
            (7.0, NOW, due + 60),
        ];
        for (share, now, expected) in table {
            let next = Schedule::new(share).next(license.claims(), at(now));
            assert_eq!(next, at(expected), "{share} {now}");
        }
        let mut schedule = Schedule::new(0.5);
        schedule.next(license.claims(), at(due + 500));
        let later = schedule.next(license.claims(), at(due + 529));
        assert_eq!(later, at(due + 530), "the minute began when it was noticed");
    }

    #[test]
    fn pauses_grow_to_an_hour_and_end_with_the_next_token() {
        let (old, new) = (license(&json!({ "iat": NOW })), license(&json!({ "iat": NOW + 9 })));
        let mut schedule = Schedule::new(0.0);
        let now = NOW + 2 * DAY;
        schedule.next(old.claims(), at(now));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            schedule.failed(at(now), None);
            assert_eq!(schedule.next(old.claims(), at(now)), at(now + minutes * 60));
        }
        assert_eq!(schedule.failures(), 9);
        assert_eq!(schedule.next(new.claims(), at(now)), at(now), "another token, another story");
        assert_eq!(schedule.failures(), 0);
    }

    #[test]
    fn the_issuer_may_ask_for_a_longer_pause_but_not_for_any() {
        let license = license(&json!({ "iat": NOW }));
        let now = NOW + 2 * DAY;
        let table = [(5, 60), (600, 600), (7200, 7200), (DAY, DAY), (30 * DAY, DAY)];
        for (asked, expected) in table {
            let mut schedule = Schedule::new(0.0);
            schedule.next(license.claims(), at(now));
            schedule.failed(at(now), Some(Duration::from_secs(asked)));
            assert_eq!(schedule.next(license.claims(), at(now)), at(now + expected), "{asked}");
        }
    }

    #[test]
    fn the_same_token_again_is_not_asked_for_again_at_once() {
        let license = license(&json!({ "iat": NOW }));
        let mut schedule = Schedule::new(0.0);
        let now = NOW + 2 * DAY;
        schedule.next(license.claims(), at(now));
        schedule.succeeded(at(now));
        assert_eq!(schedule.next(license.claims(), at(now)), at(now + 3600));
        let back = now - 20 * 365 * DAY;
        let next = schedule.next(license.claims(), at(back));
        assert!(next <= at(NOW + DAY), "a clock set back does not put it off beyond its date");
    }
}
