//! A line of the audit log, but for its place in the chain: who did what to which license, and how it ended.
//!
//! The words of a line are this module's. Labels of metrics are made from them where changes are counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::license::{Claims, License, Policy, Standing, Status};
use crate::telemetry::metrics;

/// What was done with a license, or was to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A token posted.
    Install,
    /// A token from the issuer.
    Renew,
    /// A license removed.
    Remove,
    /// A former license put back.
    Rollback,
    /// The license file changed.
    File,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Install, Self::Renew, Self::Remove, Self::Rollback, Self::File];

    /// The word in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Renew => "renew",
            Self::Remove => "remove",
            Self::Rollback => "rollback",
            Self::File => "file",
        }
    }
}

impl From<Action> for metrics::Change {
    fn from(action: Action) -> Self {
        match action {
            Action::Install => Self::Install,
            Action::Renew => Self::Renew,
            Action::Remove => Self::Remove,
            Action::Rollback => Self::Rollback,
            Action::File => Self::File,
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Ok,
    /// Not acceptable.
    Refused,
    /// Acceptable, and not done all the same.
    Failed,
}

impl Outcome {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Refused, Self::Failed];

    /// The word in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl From<Outcome> for metrics::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Refused => Self::Refused,
            Outcome::Failed => Self::Failed,
        }
    }
}

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// A user of the dashboard, or the part of the gate that acts by itself.
    pub actor: String,
    /// From where; `None`: from within.
    pub address: Option<IpAddr>,
    /// The request that asked; empty: none did.
    pub request_id: String,
}

impl By {
    /// A part of the gate, acting by itself.
    pub fn itself(actor: &str) -> Self {
        Self { actor: actor.to_owned(), address: None, request_id: String::new() }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When. In a gate's own copy of waiting lines: Unix seconds.
    #[serde(with = "seconds")]
    pub time: UnixTime,
    /// Who: a user of the dashboard, or the part of the gate that acted by itself.
    pub actor: String,
    /// From where; `None`: from within.
    pub address: Option<IpAddr>,
    /// What was to be done.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// Why not, or why; a stable code or a sentence, never token text.
    pub reason: String,
    /// The stored license (or the file's) before.
    pub old: Option<Brief>,
    /// The license brought.
    pub new: Option<Brief>,
    /// The request that asked for it; empty: none did.
    pub request_id: String,
}

/// A license in a few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// `jti`, empty when the token has none.
    pub jti: String,
    /// `lid`.
    pub lid: String,
    /// `status` at the time.
    pub status: u8,
}

impl Brief {
    pub(super) fn of(license: &License, policy: &Policy, now: UnixTime) -> Self {
        let standing = Standing::of(Some(license), policy, now);
        Self::of_claims(license.claims(), standing.status())
    }

    pub(super) fn of_claims(claims: &Claims, status: Status) -> Self {
        Self {
            jti: claims.jti.clone().unwrap_or_default(),
            lid: claims.lid.clone(),
            status: status.code(),
        }
    }

    /// Whether it is of a license that says `claims`.
    pub(super) fn names(&self, claims: &Claims) -> bool {
        (claims.jti.as_deref().unwrap_or_default(), &*claims.lid) == (&*self.jti, &*self.lid)
    }
}

/// [`UnixTime`] as a number.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::UnixTime;

    pub(super) fn serialize<S: Serializer>(time: &UnixTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixTime, D::Error> {
        u64::deserialize(from).map(UnixTime::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_waits_has_the_words_of_the_log() {
        for action in Action::ALL {
            assert_eq!(serde_json::json!(action), action.as_str());
            assert_eq!(metrics::Change::from(action).as_str(), action.as_str());
        }
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::json!(outcome), outcome.as_str());
            assert_eq!(metrics::Outcome::from(outcome).as_str(), outcome.as_str());
        }
    }
}
