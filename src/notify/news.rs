//! What to announce about the license in force. Pure functions.
//!
//! Input: what was announced last, and what is in force now. Output: one announcement for a change (renewed, replaced,
//! expired), and one for each end that is near.

use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::events::EventKind;
use crate::clock::UnixTime;
use crate::license::{License, Source, Status, Why};
use crate::random;
use crate::rules::{LicenseNow, Rule, Rules, State};
use crate::store::InForce;
use crate::text::hex;

/// Delay of a warning, so that a renewal that is due at the same time, with its jitter and its call, comes first.
const TIME_TO_RENEW: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(86_400);

/// What was announced last; stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    /// [`license_digest`] of the license that was in force; empty: there was none.
    license: String,
    status: u8,
    /// Random id of the next change. Chosen in advance, so that a change keeps its id if it has to be announced again.
    next: String,
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) kind: EventKind,
    /// Together with the kind, the key of the event: each key is announced once.
    pub(super) about: String,
    pub(super) message: String,
    /// Announced instead if the key was announced before: a license that expires once more is still a change.
    pub(super) otherwise: Option<Box<News>>,
}

/// An end of a license, and when to warn of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndWarning {
    pub(super) what: &'static str,
    /// The warning is due from this time.
    pub(super) from: UnixTime,
    pub(super) end: UnixTime,
}

/// The end of the grace of a rule, and when to warn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GraceWarning {
    pub(super) rule: String,
    /// The warning is due from this time.
    pub(super) from: UnixTime,
    pub(super) until: UnixTime,
}

impl Announced {
    /// The initial state: a license that exists counts as announced with status 1.
    pub(super) fn at_first(in_force: &InForce) -> Self {
        let now = Self::of(in_force);
        match in_force.license {
            Some(_) => Self { status: Status::Valid.code(), ..now },
            None => now,
        }
    }

    /// The state after `in_force` was announced.
    pub(super) fn of(in_force: &InForce) -> Self {
        let license = in_force.license.as_deref().map(license_digest).unwrap_or_default();
        Self { license, status: in_force.standing.status().code(), next: random::name() }
    }

    /// Whether `in_force` is what was announced.
    pub(super) fn is(&self, in_force: &InForce) -> bool {
        let name = in_force.license.as_deref().map(license_digest).unwrap_or_default();
        self.license == name && self.status == in_force.standing.status().code()
    }
}

impl News {
    fn changed(about: &str, message: String) -> Self {
        let (kind, about) = (EventKind::Changed, about.to_owned());
        Self { kind, about, message, otherwise: None }
    }

    /// What has changed since `last` was announced. `renewed`: the license in force came from a renewal.
    pub(super) fn of(in_force: &InForce, renewed: bool, last: &Announced) -> Option<Self> {
        if last.is(in_force) {
            return None;
        }
        let InForce { license, standing, .. } = in_force;
        // The key contains the license and its status, so that it differs from that of a change queued before a crash.
        let now = Announced::of(in_force);
        let about = format!("{} {} {}", last.next, now.license, now.status);
        let changed = |message: String| Self::changed(&about, message);
        let Some(license) = license else {
            return Some(changed("There is no license any more.".to_owned()));
        };
        let name = license_digest(license);
        let (kind, about, message, otherwise) = match standing.reason() {
            Some(reason) => {
                let message = format!("There is no valid license: {reason}.");
                if standing.status() != Status::Expired {
                    return Some(changed(message));
                }
                let end = format!("{name} {}", license.claims().first_end().as_secs());
                (EventKind::Expired, end, message.clone(), changed(message))
            }
            None if last.license == name => {
                return Some(changed("The license is valid now.".to_owned()));
            }
            None => {
                let another = changed(replaced(in_force, last));
                if !renewed {
                    return Some(another);
                }
                let end = license.claims().exp;
                let message = format!("The license was renewed: its token expires at {end}.");
                (EventKind::Renewed, name, message, another)
            }
        };
        Some(Self { kind, about, message, otherwise: Some(Box::new(otherwise)) })
    }

    /// The announcement that an end of `license` is near.
    pub(super) fn near(license: &License, warning: &EndWarning) -> Self {
        let EndWarning { what, end, .. } = warning;
        // Named by license and end: a renewed token with the same end is not announced again.
        let about = format!("{what} {} {}", license.claims().lid, end.as_secs());
        let message = match *what {
            "token" => format!("The license token expires at {end} and has not been renewed."),
            what => format!("The {what} expires at {end}."),
        };
        Self { kind: EventKind::ExpiringSoon, about, message, otherwise: None }
    }
}

impl News {
    /// The announcement that the grace of a rule ends soon.
    pub(super) fn grace(license: &License, warning: &GraceWarning) -> Self {
        let GraceWarning { rule, until, .. } = warning;
        let about = format!("{} {} {rule}", license.claims().lid, until.as_secs());
        let message = format!(
            "The license has expired, and the gate rule {rule:?} refuses requests from {until} on."
        );
        Self { kind: EventKind::GraceEnding, about, message, otherwise: None }
    }
}

/// The rules in grace, each with the time of its warning. A dry run refuses nothing, and needs no warning.
pub(super) fn grace_warnings(rules: &Rules, license: &LicenseNow<'_>) -> Vec<GraceWarning> {
    let warning = |(rule, state): (&Rule, State)| match state {
        State::Grace { until } if !rules.is_dry_run(rule) => {
            Some(GraceWarning { rule: rule.name.clone(), from: until.saturating_sub(DAY), until })
        }
        State::Grace { .. } | State::Open | State::Closed(_) => None,
    };
    rules.states(license).filter_map(warning).collect()
}

/// The message for a valid license that replaces what was announced last.
fn replaced(in_force: &InForce, last: &Announced) -> String {
    let InForce { source, why, .. } = in_force;
    let which = match last.license.is_empty() {
        true => "A license",
        false => "Another license",
    };
    let source = match source {
        Source::File => "license.file",
        Source::Store | Source::Nowhere => "the store",
    };
    match why {
        Why::OnlyOne | Why::NoneThere => format!("{which} is in force."),
        why => format!("{which} is in force, from {source}: {why}."),
    }
}

/// The ends of `license`, each with the time of its warning.
pub(super) fn end_warnings(license: &License) -> Vec<EndWarning> {
    let claims = license.claims();
    let before = |end: UnixTime, days: i64| {
        let days = u32::try_from(days.max(0)).unwrap_or(u32::MAX);
        end.saturating_sub(DAY.saturating_mul(days))
    };
    let license_end = claims.license_ends_at().map(|end| ("license", end));
    let trial_end = claims.trial_ends_at().map(|end| ("trial", end));
    let ends = license_end.into_iter().chain(trial_end).map(|(what, end)| EndWarning {
        what,
        from: before(end, claims.license_warn_days()),
        end,
    });
    let (from, end) = (claims.token_warned_from(), claims.exp);
    let left = Duration::from_secs(end.as_secs().saturating_sub(from.as_secs()));
    let from = from.saturating_add(TIME_TO_RENEW.min(left / 2));
    ends.chain([EndWarning { what: "token", from, end }]).collect()
}

/// Identifies `license`, whether it has a `jti` or not: the first 8 bytes of its token's SHA-256, in hex.
pub fn license_digest(license: &License) -> String {
    let digest = digest::digest(&digest::SHA256, license.token().as_str().as_bytes());
    hex(&digest.as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::license::{Algorithm, KeyPair, Standing, verify};

    #[test]
    fn a_change_queued_before_a_crash_and_a_later_one_have_different_keys() {
        let issuer = KeyPair::generate(Algorithm::ES256).expect("a key pair");
        let in_force = |jti: &str| {
            let claims = json!({ "sub": "https://a.example/", "lid": "L-1", "jti": jti, "exp": 9 });
            let token = issuer.sign(&claims).expect("a token");
            let license = verify(&token, &issuer.trusted()).expect("a license");
            InForce {
                license: Some(Arc::new(license)),
                source: Source::Store,
                why: Why::OnlyOne,
                standing: Standing::Active,
            }
        };
        let (one, other) = (in_force("J-1"), in_force("J-2"));
        let last = Announced { license: String::new(), status: 4, next: "n".to_owned() };
        let about = |in_force| News::of(in_force, false, &last).expect("new").about;
        assert_eq!(
            about(&one),
            about(&one),
            "the same change is announced once, also if the crash came before that was stored"
        );
        assert_ne!(about(&one), about(&other));
        assert_eq!(News::of(&one, false, &Announced::of(&one)), None);
    }
}
