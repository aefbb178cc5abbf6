//! Times of a token that cannot be right: milliseconds where seconds belong, and an issue date ahead of the clock.
//!
//! Checked for a token that is offered: by hand, by a renewal, by a rollback, by a changed file. A token that is already
//! stored or mounted is used all the same, because the clock may be wrong (before NTP); its `iat` counts as 0, so that a
//! renewal can replace it ([`Claims::counted_iat`]).

use std::time::Duration;

use super::claims::Claims;
use super::rejection::Rejection;
use crate::clock::UnixTime;

/// How far the clocks of an issuer and of a gate may differ.
const AHEAD: Duration = Duration::from_secs(86_400);

/// Whether the times of `claims` can be right at `now`.
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
    /// The first time that no calendar in use reaches, with the name of its claim.
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

    /// When the token was issued, for comparison with another at `now`: 0 if it does not say, or if its times cannot be
    /// right.
    pub fn counted_iat(&self, now: UnixTime) -> UnixTime {
        self.iat.filter(|_| plausible(self, now).is_ok()).unwrap_or_default()
    }

    /// From when on `iat` is not ahead of the clock any more.
    pub fn plausible_from(&self) -> Option<UnixTime> {
        self.iat.map(|iat| iat.saturating_sub(AHEAD))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{DAY, NOW, at, license};
    use super::*;

    fn judged(changes: &Value) -> &'static str {
        plausible(license(changes).claims(), at(NOW))
            .map_or_else(|rejection| rejection.code(), |()| "-")
    }

    #[test]
    fn milliseconds_are_out_of_range_in_every_time() {
        for claim in ["iat", "exp", "nbf", "lexp", "trial_exp"] {
            assert_eq!(judged(&json!({ claim: NOW * 1000 })), "time-out-of-range", "{claim}");
            assert_eq!(
                judged(&json!({ claim: (1_u64 << 35) + 1 })),
                "time-out-of-range",
                "{claim}"
            );
        }
        for claim in ["exp", "nbf", "lexp", "trial_exp"] {
            assert_eq!(judged(&json!({ claim: 1_u64 << 35 })), "-", "{claim}");
        }
        assert_eq!(judged(&json!({ "lexp": 0, "nbf": 0 })), "-");
    }

    #[test]
    fn an_issue_date_may_be_a_day_ahead() {
        let cases = [(NOW - 9 * DAY, "-"), (NOW + DAY, "-"), (NOW + DAY + 1, "issued-in-future")];
        for (iat, expected) in cases {
            assert_eq!(judged(&json!({ "iat": iat })), expected, "{iat}");
        }
        assert_eq!(judged(&json!({ "iat": null })), "-");
    }

    #[test]
    fn messages_show_what_is_there_and_what_to_do() {
        let said = |changes: &Value| {
            plausible(license(changes).claims(), at(NOW)).expect_err("refused").to_string()
        };
        let text = said(&json!({ "exp": 1_796_014_403_123_u64 }));
        for part in ["`exp`", "1796014403123", "looks like milliseconds", "2026-11-30T04:53:23Z"] {
            assert!(text.contains(part), "{text}");
        }
        let text = said(&json!({ "iat": NOW + 365 * DAY }));
        for time in [NOW, NOW + 365 * DAY] {
            assert!(text.contains(&at(time).to_string()), "{text}");
        }
    }

    #[test]
    fn an_issue_date_that_cannot_be_right_counts_as_0_until_it_can() {
        let counted =
            |changes: &Value, now| license(changes).claims().counted_iat(at(now)).as_secs();
        assert_eq!(counted(&json!({ "iat": NOW }), NOW), NOW);
        assert_eq!(counted(&json!({ "iat": null }), NOW), 0);
        assert_eq!(counted(&json!({ "iat": NOW * 1000 }), NOW), 0);
        assert_eq!(
            counted(&json!({ "exp": NOW * 1000 }), NOW),
            0,
            "the token as a whole is doubtful"
        );
        let year = json!({ "iat": NOW + 365 * DAY });
        let from = license(&year).claims().plausible_from().expect("a time");
        assert_eq!((counted(&year, NOW), from), (0, at(NOW + 364 * DAY)));
        assert_eq!(counted(&year, from.as_secs() - 1), 0);
        assert_eq!(counted(&year, from.as_secs()), NOW + 365 * DAY);
    }
}
