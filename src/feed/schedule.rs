//! When a renewal is due. Pure: computed from the claims and from the results of earlier attempts.
//!
//! A renewal is due at `iat` + `update_days`, and at the latest `tok_exp_warn_days` before `exp`
//! ([`Claims::token_warned_from`]). Jitter of up to a minute spreads the calls of many gates; an overdue renewal starts
//! within a minute of the first check. Failures are followed by exponential backoff up to an hour, or by `Retry-After`.

use std::time::Duration;

use crate::backoff::{Backoff, share};
use crate::clock::UnixTime;
use crate::license::Claims;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY_SECS: u64 = 24 * 60 * 60;

/// Between two attempts after failures.
const BACKOFF: Backoff = Backoff { first: MINUTE, most: HOUR };

/// The renewal schedule of one gate.
///
/// Call [`next`](Self::next) whenever license or time has changed, and report the result of each attempt. A successful
/// renewal by hand needs no report: it is another license. Every `fraction` is a random number from 0 to 1.
#[derive(Clone, Debug)]
pub struct Schedule {
    fraction: f64,
    /// When the renewal is due, and the later of that and of the time when this was noticed.
    noticed: Option<(UnixTime, UnixTime)>,
    failures: u32,
    rest: Option<Rest>,
}

/// A pause between two attempts.
#[derive(Clone, Copy, Debug)]
struct Rest {
    since: UnixTime,
    lasts: Duration,
    /// After a success, the pause is shorter for a token that expires soon.
    succeeded: bool,
}

impl Schedule {
    /// A schedule without earlier attempts.
    pub const fn new(fraction: f64) -> Self {
        Self { fraction, noticed: None, failures: 0, rest: None }
    }

    /// When a license with `claims` is due, without jitter and pauses. A license with times out of range is overdue.
    pub fn due(claims: &Claims) -> UnixTime {
        let last = claims.token_warned_from();
        let issued = claims.iat.map(|iat| match claims.out_of_range() {
            Some(_) => UnixTime::default(),
            None => iat,
        });
        let regular = issued.map(|iat| iat.saturating_add(days(claims.renew_every_days())));
        regular.map_or(last, |regular| regular.min(last))
    }

    /// When to renew a license with `claims` next; `now` or earlier means at once.
    pub fn next(&mut self, claims: &Claims, now: UnixTime) -> UnixTime {
        let due = Self::due(claims);
        let counted = due.max(now);
        // `min`: the clock may have been set back.
        let from = match self.noticed {
            Some((same, from)) if same == due => from.min(counted),
            Some(_) => {
                // Another token: earlier failures no longer count, the pause after a success does.
                self.failures = 0;
                self.rest = self.rest.take_if(|rest| rest.succeeded);
                counted
            }
            None => counted,
        };
        self.noticed = Some((due, from));
        let start = from.saturating_add(share(MINUTE, self.fraction));
        match &mut self.rest {
            None => start,
            Some(rest) => {
                rest.since = rest.since.min(now);
                start.max(rest.end(claims.exp))
            }
        }
    }

    /// Reports a success at `now`. The next renewal is at least an hour later, even if the new license is already due.
    pub fn succeeded(&mut self, now: UnixTime, fraction: f64) {
        self.failures = 0;
        self.fraction = fraction;
        self.rest = Some(Rest { since: now, lasts: HOUR, succeeded: true });
    }

    /// Reports a failure at `now`, with the issuer's `Retry-After`. Returns the pause.
    pub fn failed(
        &mut self,
        now: UnixTime,
        retry_after: Option<Duration>,
        fraction: f64,
    ) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.fraction = fraction;
        let lasts = BACKOFF.after(self.failures, retry_after, fraction);
        self.rest = Some(Rest { since: now, lasts, succeeded: false });
        lasts
    }

    /// Failures since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

impl Rest {
    fn end(&self, exp: UnixTime) -> UnixTime {
        let left = Duration::from_secs(exp.as_secs().saturating_sub(self.since.as_secs()));
        let lasts = match self.succeeded {
            // A token that expires within the pause must be renewed before.
            true if left > Duration::ZERO => self.lasts.min((left / 2).max(MINUTE)),
            _ => self.lasts,
        };
        self.since.saturating_add(lasts)
    }
}

/// A negative number counts as 0.
fn days(days: i64) -> Duration {
    Duration::from_secs(u64::try_from(days).unwrap_or(0).saturating_mul(DAY_SECS))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::{Value, json};

    use super::*;
    use crate::license::{Algorithm, KeyPair, verify};

    const DAY: u64 = DAY_SECS;
    /// When the licenses of these tests were issued.
    const IAT: u64 = 1_800_000_000;

    static ISSUER: LazyLock<KeyPair> =
        LazyLock::new(|| KeyPair::generate(Algorithm::ES256).expect("a key pair"));

    /// Claims of a 14-day token with `changes`; `null` removes a claim.
    fn claims(changes: &Value) -> Claims {
        let mut claims =
            json!({ "sub": "https://a.example/", "lid": "L-1", "iat": IAT, "exp": IAT + 14 * DAY });
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().expect("claims").retain(|_, value| !value.is_null());
        let token = ISSUER.sign(&claims).expect("a token");
        verify(&token, &ISSUER.trusted()).expect("a license").claims().clone()
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_license_is_due_by_its_age_and_at_the_latest_before_its_expiry() {
        let exp = IAT + 14 * DAY;
        let last = 1_u64 << 53;
        let cases = [
            (json!({}), IAT + DAY),
            (json!({ "update_days": 7 }), IAT + 7 * DAY),
            (json!({ "update_days": 0 }), IAT + DAY),
            (json!({ "update_days": -5 }), IAT + DAY),
            (json!({ "update_days": 11 }), exp - 3 * DAY),
            (json!({ "update_days": 12 }), exp - 3 * DAY),
            (json!({ "update_days": i64::MAX }), exp - 3 * DAY),
            (json!({ "update_days": 30, "tok_exp_warn_days": 5 }), exp - 5 * DAY),
            (json!({ "update_days": 30, "tok_exp_warn_days": 0 }), exp),
            (json!({ "update_days": 30, "tok_exp_warn_days": -9 }), exp),
            (json!({ "tok_exp_warn_days": 30 }), exp - 30 * DAY),
            (json!({ "tok_exp_warn_days": i64::MAX }), 0),
            (json!({ "tok_exp_warn_days": i64::MIN }), IAT + DAY),
            (json!({ "iat": null }), exp - 3 * DAY),
            (json!({ "iat": null, "update_days": 1 }), exp - 3 * DAY),
            (json!({ "iat": null, "exp": 0 }), 0),
            (json!({ "iat": last, "exp": last, "update_days": i64::MAX }), last),
            (json!({ "exp": IAT + 6 * DAY, "update_days": 5 }), IAT + 3 * DAY),
            (json!({ "exp": IAT + 4 * DAY, "update_days": 5 }), IAT + 2 * DAY),
            (json!({ "exp": IAT + DAY }), IAT + DAY / 2),
            (json!({ "exp": IAT + DAY, "tok_exp_warn_days": 3 }), IAT - 2 * DAY),
            (json!({ "iat": 0, "exp": last, "update_days": 2 }), 2 * DAY),
            (json!({ "iat": IAT * 1000, "exp": IAT * 1001 }), DAY),
        ];
        for (changes, expected) in cases {
            assert_eq!(Schedule::due(&claims(&changes)).as_secs(), expected, "{changes}");
        }
    }

    #[test]
    fn a_renewal_starts_within_a_minute_after_it_is_due_or_noticed() {
        let due = IAT + DAY;
        let ended = IAT + 20 * DAY;
        let cases = [
            // Time of the first check, fraction, start of the renewal.
            (IAT, 0.0, due),
            (IAT, 0.5, due + 30),
            (IAT, 1.0, due + 60),
            (due, 0.5, due + 30),
            (due + 1, 0.5, due + 31),
            (ended, 0.0, ended),
            (ended, 0.9, ended + 54),
            // A clock that is far behind, and the largest time.
            (0, 0.5, due + 30),
            (u64::MAX, 0.5, u64::MAX),
            // Invalid fractions.
            (IAT, 9.0, due + 60),
            (IAT, -1.0, due),
            (IAT, f64::NAN, due),
        ];
        for (first, fraction, expected) in cases {
            let (claims, mut schedule) = (claims(&json!({})), Schedule::new(fraction));
            assert_eq!(schedule.next(&claims, at(first)).as_secs(), expected, "{first} {fraction}");
            // Later checks do not change the start.
            for later in [0, 1, 59] {
                let now = at(first.saturating_add(later));
                assert_eq!(schedule.next(&claims, now).as_secs(), expected, "{first} {later}");
            }
        }
    }

    #[test]
    fn another_license_has_another_start() {
        let mut schedule = Schedule::new(0.0);
        assert_eq!(schedule.next(&claims(&json!({})), at(IAT)), at(IAT + DAY));
        let newer = claims(&json!({ "iat": IAT + 5, "exp": IAT + 9 * DAY }));
        assert_eq!(schedule.next(&newer, at(IAT + 5)), at(IAT + 5 + DAY));
        // An overdue one starts when it is noticed.
        let older = claims(&json!({ "iat": IAT - 2 * DAY }));
        assert_eq!(schedule.next(&older, at(IAT + 60)), at(IAT + 60));
    }

    #[test]
    fn failures_back_off_and_retry_after_is_honored() {
        let (claims, mut schedule) = (claims(&json!({})), Schedule::new(0.0));
        let mut now = at(IAT + DAY);
        assert_eq!(schedule.next(&claims, now), now);
        for wait in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert_eq!(schedule.failed(now, None, 0.0), secs(wait));
            assert_eq!(schedule.next(&claims, now), now.saturating_add(secs(wait)));
            now = now.saturating_add(secs(wait));
        }
        assert_eq!(schedule.failures(), 8);
        assert_eq!(schedule.failed(now, Some(secs(7200)), 0.7), secs(7200));
        assert_eq!(schedule.next(&claims, now), now.saturating_add(secs(7200)));
        schedule.succeeded(now, 0.0);
        assert_eq!((schedule.failures(), schedule.failed(now, None, 0.0)), (0, secs(60)));
    }

    #[test]
    fn a_failure_long_before_the_due_time_does_not_change_it() {
        let (claims, mut schedule) = (claims(&json!({})), Schedule::new(0.0));
        schedule.failed(at(IAT), Some(secs(300)), 0.0);
        assert_eq!(schedule.next(&claims, at(IAT)), at(IAT + DAY));
    }

    #[test]
    fn failures_with_one_token_do_not_delay_the_next() {
        let (old, new) = (claims(&json!({})), claims(&json!({ "iat": IAT + 9 })));
        let (now, mut schedule) = (at(IAT + 2 * DAY), Schedule::new(0.0));
        schedule.next(&old, now);
        for _ in 0..9 {
            schedule.failed(now, Some(secs(DAY)), 0.0);
        }
        assert_eq!(schedule.next(&old, now), at(IAT + 3 * DAY));
        assert_eq!((schedule.next(&new, now), schedule.failures()), (now, 0));
    }

    #[test]
    fn a_success_that_leaves_the_license_due_is_not_repeated_within_the_hour() {
        let now = IAT + 2 * DAY;
        let next = |changes: &Value| {
            let mut schedule = Schedule::new(0.0);
            schedule.next(&claims(&json!({})), at(now));
            schedule.succeeded(at(now), 0.5);
            schedule.next(&claims(changes), at(now + 1)).as_secs() - now
        };
        // The same license, one whose warning begins before it was issued, and one that is not due.
        assert_eq!(next(&json!({})), 3600);
        assert_eq!(next(&json!({ "iat": now, "tok_exp_warn_days": 400 })), 3600);
        assert_eq!(next(&json!({ "iat": now })), DAY + 30);
        // Tokens that expire within the hour.
        let warning = |exp: u64| json!({ "iat": now, "exp": exp, "tok_exp_warn_days": 1 });
        assert_eq!(next(&warning(now + 1800)), 900);
        assert_eq!(next(&warning(now + 10)), 60);
        assert_eq!(next(&json!({ "exp": now - 10 })), 3600);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_delay_the_renewal() {
        let (claims, mut schedule) = (claims(&json!({})), Schedule::new(0.0));
        let ahead = at(IAT + 4000 * DAY);
        assert_eq!(schedule.next(&claims, ahead), ahead);
        schedule.failed(ahead, None, 0.0);
        let right = IAT + 2 * DAY;
        assert_eq!(schedule.next(&claims, at(right)), at(right + 60));
        assert_eq!(schedule.next(&claims, at(right + 30)), at(right + 60));
    }

    proptest::proptest! {
        #[test]
        fn every_attempt_is_in_time(
            first in IAT - 40 * DAY..IAT + 40 * DAY,
            fraction in 0.0..=1.0,
            failures in 0_u32..12,
        ) {
            static CLAIMS: LazyLock<Claims> = LazyLock::new(|| claims(&json!({})));
            let mut schedule = Schedule::new(fraction);
            let first_try = schedule.next(&CLAIMS, at(first)).as_secs();
            let counted = first.max(IAT + DAY);
            proptest::prop_assert!((counted..=counted + 60).contains(&first_try));
            for _ in 0..failures {
                let wait = schedule.failed(at(first_try), None, fraction).as_secs();
                let next = schedule.next(&CLAIMS, at(first_try)).as_secs();
                proptest::prop_assert!((45..=3600).contains(&wait));
                proptest::prop_assert!((first_try + wait..=first_try + wait + 60).contains(&next));
            }
        }
    }
}
