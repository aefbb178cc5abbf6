//! Implausible times in a token: milliseconds instead of seconds, and an `iat` ahead of the clock.
//!
//! Checked for a token that is offered: by hand, by a renewal, by a rollback, by a changed file. A token that is already
//! stored or mounted is used nevertheless, because the clock may be wrong (before NTP); its `iat` then counts as 0, so that
//! any renewed token can replace it ([`Claims::counted_iat`]).

use std::time::Duration;

use super::claims::Claims;
use super::rejection::Rejection;
use crate::clock::UnixTime;

/// How far `iat` may be ahead of the clock.
const AHEAD: Duration = Duration::from_secs(86_400);

/// Checks whether the times of `claims` are plausible at `now`.
///
/// # Errors
/// [`Rejection::TimeOutOfRange`], [`Rejection::IssuedInFuture`].
pub fn plausible(claims: &Claims, now: UnixTime) -> Result<(), Rejection> {
    if let Some((claim, time)) = claims.out_of_range() {
        return Err(Rejection::TimeOutOfRange { claim, seconds: time.as_secs() });
    }
    match claims.iat.filter(|iat| *iat > now.saturating_add(AHEAD)) {
        Some(issued) => Err(Rejection::IssuedInFuture { issued, now }),
        None => Ok(()),
    }
}

impl Claims {
    /// The first time beyond [`UnixTime::LAST_PLAUSIBLE`], with the name of its claim.
    pub fn out_of_range(&self) -> Option<(&'static str, UnixTime)> {
        let times = [
            ("iat", self.iat),
            ("exp", Some(self.exp)),
            ("nbf", self.nbf),
            ("lexp", self.lexp),
            ("trial_exp", self.trial_exp),
        ];
        let mut stated = times.into_iter().filter_map(|(claim, time)| Some((claim, time?)));
        stated.find(|(_, time)| *time > UnixTime::LAST_PLAUSIBLE)
    }

    /// `iat` for comparing tokens at `now`: 0 if it is absent, or if a time of the token is implausible.
    pub fn counted_iat(&self, now: UnixTime) -> UnixTime {
        self.iat.filter(|_| plausible(self, now).is_ok()).unwrap_or_default()
    }

    /// When `iat` becomes plausible.
    pub fn plausible_from(&self) -> Option<UnixTime> {
        self.iat.map(|iat| iat.saturating_sub(AHEAD))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{DAY, NOW, at, license};
    use super::*;

    fn code(changes: &Value) -> &'static str {
        plausible(license(changes).claims(), at(NOW))
            .map_or_else(|rejection| rejection.code(), |()| "-")
    }

    #[test]
    fn milliseconds_are_out_of_range_in_every_time() {
        for claim in ["iat", "exp", "nbf", "lexp", "trial_exp"] {
            assert_eq!(code(&json!({ claim: NOW * 1000 })), "time-out-of-range", "{claim}");
            assert_eq!(code(&json!({ claim: (1_u64 << 35) + 1 })), "time-out-of-range", "{claim}");
        }
        for claim in ["exp", "nbf", "lexp", "trial_exp"] {
            assert_eq!(code(&json!({ claim: 1_u64 << 35 })), "-", "{claim}");
        }
        assert_eq!(code(&json!({ "lexp": 0, "nbf": 0 })), "-");
    }

    #[test]
    fn an_issue_date_may_be_a_day_ahead() {
        let cases = [(NOW - 9 * DAY, "-"), (NOW + DAY, "-"), (NOW + DAY + 1, "issued-in-future")];
        for (iat, expected) in cases {
            assert_eq!(code(&json!({ "iat": iat })), expected, "{iat}");
        }
        assert_eq!(code(&json!({ "iat": null })), "-");
    }

    #[test]
    fn messages_show_the_times_and_what_to_do() {
        let message = |changes: &Value| {
            plausible(license(changes).claims(), at(NOW)).expect_err("refused").to_string()
        };
        let text = message(&json!({ "exp": 1_796_014_403_123_u64 }));
        for part in ["`exp`", "1796014403123", "looks like milliseconds", "2026-11-30T04:53:23Z"] {
            assert!(text.contains(part), "{text}");
        }
        let text = message(&json!({ "iat": NOW + 365 * DAY }));
        for time in [NOW, NOW + 365 * DAY] {
            assert!(text.contains(&at(time).to_string()), "{text}");
        }
    }

    #[test]
    fn an_implausible_iat_counts_as_0_until_it_becomes_plausible() {
        let counted =
            |changes: &Value, now| license(changes).claims().counted_iat(at(now)).as_secs();
        assert_eq!(counted(&json!({ "iat": NOW }), NOW), NOW);
        assert_eq!(counted(&json!({ "iat": null }), NOW), 0);
        assert_eq!(counted(&json!({ "iat": NOW * 1000 }), NOW), 0);
        assert_eq!(
            counted(&json!({ "exp": NOW * 1000 }), NOW),
            0,
            "one implausible time is enough"
        );
        let year = json!({ "iat": NOW + 365 * DAY });
        let from = license(&year).claims().plausible_from().expect("a time");
        assert_eq!((counted(&year, NOW), from), (0, at(NOW + 364 * DAY)));
        assert_eq!(counted(&year, from.as_secs() - 1), 0);
        assert_eq!(counted(&year, from.as_secs()), NOW + 365 * DAY);
    }
}
