//! What is new about the license in force. Pure.
//!
//! In: what was announced last, and what is in force now. Out: one piece of news for each change (the license was renewed,
//! another took its place, time has ended it), and one for each end that comes near.

use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::events::Occasion;
use crate::clock::UnixTime;
use crate::license::{License, Source, Status, Why};
use crate::random;
use crate::store::InForce;
use crate::text::hex;

/// A renewal that is due when the warning is comes first, jitter and call included.
const TIME_TO_RENEW: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(86_400);

/// What was announced last; kept in the store as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    /// The name of the license that was in force; empty: there was none.
    license: String,
    status: u8,
    /// Name of the next change. Drawn in advance, so that a change that has to be announced again keeps its name.
    next: String,
}

/// Something to announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) occasion: Occasion,
    /// With the occasion, the key of the event: the same key is announced once.
    pub(super) about: String,
    pub(super) message: String,
    /// Announced instead if the key was announced before: an end that has come again is still a change.
    pub(super) otherwise: Option<Box<News>>,
}

/// An end of a license, and when to warn of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) what: &'static str,
    /// The warning is due from here on.
    pub(super) from: UnixTime,
    pub(super) end: UnixTime,
}

impl Announced {
    /// The state to start from when nothing was announced yet: a license that is there counts as announced valid.
    pub(super) fn at_first(in_force: &InForce) -> Self {
        let now = Self::of(in_force);
        match in_force.license {
            Some(_) => Self { status: Status::Valid.code(), ..now },
            None => now,
        }
    }

    /// The state once `in_force` has been announced.
    pub(super) fn of(in_force: &InForce) -> Self {
        let license = in_force.license.as_deref().map(name).unwrap_or_default();
        Self { license, status: in_force.standing.status().code(), next: random::name() }
    }

    /// Whether nothing is new about what is in force.
    pub(super) fn is(&self, in_force: &InForce) -> bool {
        let name = in_force.license.as_deref().map(name).unwrap_or_default();
        self.license == name && self.status == in_force.standing.status().code()
    }
}

impl News {
    fn changed(about: &str, message: String) -> Self {
        let (occasion, about) = (Occasion::Changed, about.to_owned());
        Self { occasion, about, message, otherwise: None }
    }

    /// What is new about what is in force since `last` was announced; `renewed`: it came from a renewal.
    pub(super) fn of(in_force: &InForce, renewed: bool, last: &Announced) -> Option<Self> {
        if last.is(in_force) {
            return None;
        }
        let InForce { license, standing, .. } = in_force;
        // What was queued of another change before a crash is not this one.
        let now = Announced::of(in_force);
        let about = format!("{} {} {}", last.next, now.license, now.status);
        let changed = |message: String| Self::changed(&about, message);
        let Some(license) = license else {
            return Some(changed("There is no license any more.".to_owned()));
        };
        let name = name(license);
        let (occasion, about, message, otherwise) = match standing.reason() {
            Some(reason) => {
                let message = format!("There is no valid license: {reason}.");
                if standing.status() != Status::Expired {
                    return Some(changed(message));
                }
                let end = format!("{name} {}", license.claims().first_end().as_secs());
                (Occasion::Expired, end, message.clone(), changed(message))
            }
            None if last.license == name => {
                return Some(changed("The license is valid now.".to_owned()));
            }
            None => {
                let another = changed(taken_over(in_force, last));
                if !renewed {
                    return Some(another);
                }
                let end = license.claims().exp;
                let message = format!("The license was renewed: its token lasts until {end}.");
                (Occasion::Renewed, name, message, another)
            }
        };
        Some(Self { occasion, about, message, otherwise: Some(Box::new(otherwise)) })
    }

    /// An end of `license` comes near.
    pub(super) fn near(license: &License, mark: &Mark) -> Self {
        let Mark { what, end, .. } = mark;
        // A renewed token does not make an end news that it did not move.
        let about = format!("{what} {} {}", license.claims().lid, end.as_secs());
        let message = match *what {
            "token" => format!("The license token expires at {end}, and no later one has come."),
            what => format!("The {what} expires at {end}."),
        };
        Self { occasion: Occasion::ExpiringSoon, about, message, otherwise: None }
    }
}

/// How a valid license took the place of what was announced last.
fn taken_over(in_force: &InForce, last: &Announced) -> String {
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
        why => format!("{which} is in force, that of {source}: {why}."),
    }
}

/// The ends of `license`, each with the moment its warning is due.
pub(super) fn marks(license: &License) -> Vec<Mark> {
    let claims = license.claims();
    let before = |end: UnixTime, days: i64| {
        let days = u32::try_from(days.max(0)).unwrap_or(u32::MAX);
        end.saturating_sub(DAY.saturating_mul(days))
    };
    let license_end = claims.license_ends_at().map(|end| ("license", end));
    let trial_end = claims.trial_ends_at().map(|end| ("trial", end));
    let ends = license_end.into_iter().chain(trial_end).map(|(what, end)| Mark {
        what,
        from: before(end, claims.license_warn_days()),
        end,
    });
    let (from, end) = (claims.token_warned_from(), claims.exp);
    let left = Duration::from_secs(end.as_secs().saturating_sub(from.as_secs()));
    let from = from.saturating_add(TIME_TO_RENEW.min(left / 2));
    ends.chain([Mark { what: "token", from, end }]).collect()
}

/// A short name of `license`, whether it has a `jti` or not. A digest: it reveals nothing of the token.
pub fn name(license: &License) -> String {
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
    fn what_a_crash_left_in_the_queue_is_told_apart_from_what_came_since() {
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
            "announced once, if the crash came before that was kept"
        );
        assert_ne!(about(&one), about(&other));
        assert_eq!(News::of(&one, false, &Announced::of(&one)), None);
    }
}
