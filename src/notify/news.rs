//! What is new about the license in force, as it will be told. Pure.
//!
//! In: what was told last, and what is in force now. Out: one piece of news for one change, be it that the license was
//! renewed, that another took its place, or that time has ended it; and one for each end that comes near.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::Occasion;
use crate::clock::UnixTime;
use crate::hex::hex;
use crate::license::{License, Source, Status, Why};
use crate::random;
use crate::store::InForce;

/// What was told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// The name of the license that was in force; empty: there was none.
    license: String,
    status: u8,
    /// What the next change is called. Known beforehand, so that it is the same change should it have to be told again.
    next: String,
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) occasion: Occasion,
    /// What makes it happen once.
    pub(super) about: String,
    pub(super) message: String,
    /// What is told instead when that was told before: an end that has come again, say, is a change all the same.
    pub(super) otherwise: Option<Box<News>>,
}

/// An end that comes near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) what: &'static str,
    /// Warned from here on.
    pub(super) from: UnixTime,
    pub(super) end: UnixTime,
}

impl Told {
    /// What counts as told when nothing ever was: that a license that is there is valid, for it should be.
    pub(super) fn at_first(in_force: &InForce) -> Self {
        let told = Self::of(in_force);
        match in_force.license {
            Some(_) => Self { status: Status::Valid.code(), ..told },
            None => told,
        }
    }

    /// That this has been told.
    pub(super) fn of(in_force: &InForce) -> Self {
        let license = in_force.license.as_deref().map(name).unwrap_or_default();
        Self { license, status: in_force.standing.status().code(), next: random::name() }
    }

    /// Whether there is nothing new about what is in force.
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

    /// What is new about what is in force, be it `renewed` or not, since `told`.
    pub(super) fn of(in_force: &InForce, renewed: bool, told: &Told) -> Option<Self> {
        if told.is(in_force) {
            return None;
        }
        let InForce { license, standing, .. } = in_force;
        // What was queued of another change before a crash is not this one.
        let now = Told::of(in_force);
        let about = format!("{} {} {}", told.next, now.license, now.status);
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
            None if told.license == name => {
                return Some(changed("The license is valid now.".to_owned()));
            }
            None => {
                let another = changed(taken_over(in_force, told));
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

    /// That an end of `license` comes near.
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

/// How a valid license took the place of what was told of last.
fn taken_over(in_force: &InForce, told: &Told) -> String {
    let InForce { source, why, .. } = in_force;
    let which = match told.license.is_empty() {
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

/// A short name of `license`, whether it has a `jti` or not. Nothing of the token can be told from it.
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
        let told = Told { license: String::new(), status: 4, next: "n".to_owned() };
        let about = |in_force| News::of(in_force, false, &told).expect("new").about;
        assert_eq!(about(&one), about(&one), "told once, if the crash came before that was kept");
        assert_ne!(about(&one), about(&other));
        assert_eq!(News::of(&one, false, &Told::of(&one)), None);
    }
}
