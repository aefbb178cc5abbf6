//! The content of an audit line: actor, action, licenses and outcome. `audit.rs` writes and chains the lines.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::license::{Claims, License, Policy, Standing, Status};
use crate::telemetry::metrics;

/// The action on a license, done or attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A token was installed by an administrator.
    Install,
    /// A token came from the issuer.
    Renew,
    /// The stored license was removed.
    Remove,
    /// A former license was stored again.
    Rollback,
    /// `license.file` changed.
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

/// The outcome of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Ok,
    /// Not acceptable.
    Refused,
    /// Acceptable, but could not be done.
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

/// Who requested a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// A user of the dashboard, or the part of the gate that acts by itself.
    pub actor: String,
    /// Client address. `None`: the gate itself.
    pub address: Option<IpAddr>,
    /// Id of the request. Empty: there was none.
    pub request_id: String,
}

impl By {
    /// A part of the gate that acts by itself.
    pub fn itself(actor: &str) -> Self {
        Self { actor: actor.to_owned(), address: None, request_id: String::new() }
    }
}

/// The content of one audit line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// In `unrecorded.json`: Unix seconds.
    #[serde(with = "seconds")]
    pub time: UnixTime,
    /// A user of the dashboard, or the part of the gate that acts by itself.
    pub actor: String,
    /// Client address. `None`: the gate itself.
    pub address: Option<IpAddr>,
    /// What was done or attempted.
    pub action: Action,
    /// Whether it was done.
    pub outcome: Outcome,
    /// A stable code or a sentence, never token text.
    pub reason: String,
    /// The license of the source (store or file) before.
    pub old: Option<Brief>,
    /// The offered license.
    pub new: Option<Brief>,
    /// Id of the request. Empty: there was none.
    pub request_id: String,
}

/// The identity and status of a license.
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

    /// Whether it is of the license with these `claims`.
    pub(super) fn names(&self, claims: &Claims) -> bool {
        (claims.jti.as_deref().unwrap_or_default(), &*claims.lid) == (&*self.jti, &*self.lid)
    }
}

/// [`UnixTime`] as a number.
pub(super) mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::UnixTime;

    pub(in crate::store) fn serialize<S: Serializer>(
        time: &UnixTime,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(in crate::store) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<UnixTime, D::Error> {
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
