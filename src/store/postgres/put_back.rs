//! A database that was lost and made anew says nothing of a license; a replica that has a verified one puts it back, so that
//! a lost database takes no license from anybody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio_postgres::Client;

use super::connect::STATEMENTS;
use super::statements::{self, Mark, Progress, Replaces};
use super::{Postgres, Urgency};
use crate::random;
use crate::store::backend::{Brief, Change, Error, Record};
use crate::telemetry::metrics::{Action, Outcome};

const REASON: &str = "the database was empty: put back from this replica's copy";

/// What the store has verified and told to be in force, in this run.
#[derive(Default)]
pub(super) struct Adopted {
    license: Option<String>,
    revocations: Option<String>,
}

impl Adopted {
    pub(super) fn remember(&mut self, license: Option<&str>, revocations: Option<&str>) {
        self.license(license);
        if let Some(list) = revocations {
            self.revocations(list);
        }
    }

    pub(super) fn license(&mut self, license: Option<&str>) {
        self.license = license.map(str::to_owned);
    }

    pub(super) fn revocations(&mut self, list: &str) {
        self.revocations = Some(list.to_owned());
    }
}

impl std::fmt::Debug for Adopted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Adopted").finish_non_exhaustive()
    }
}

impl Postgres {
    /// Puts the license that is in force here into a database in which there never was one. Whether it is there now, by us.
    pub(super) fn put_back(&mut self) -> bool {
        let Some(token) = self.adopted.license.clone() else { return false };
        let list = self.adopted.revocations.clone();
        let record = Record {
            time: self.clock.now(),
            actor: "license-gate".to_owned(),
            address: None,
            action: Action::Install,
            outcome: Outcome::Ok,
            reason: REASON.to_owned(),
            old: None,
            new: brief(&token),
            request_id: String::new(),
        };
        let put = async |on: &Client| {
            // Revocations first: no replica then sees the license without them.
            if let Some((list, sequence)) = list.as_deref().zip(list.as_deref().and_then(sequence))
            {
                match statements::keep_revocations(on, list, sequence, Replaces::None).await {
                    // The one that is there is judged when it is read.
                    Ok(_) | Err(Error::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
            put(on, &token, &record).await
        };
        match self.call(Urgency::Background, STATEMENTS, put) {
            Ok(mark) => {
                tracing::warn!(event = "database.license_put_back", "{REASON}");
                self.known = Some(mark);
                true
            }
            // Another replica was faster.
            Err(Error::Conflict) => false,
            Err(error) => {
                let error = crate::store::chain(&error);
                tracing::warn!(
                    event = "database.put_back_failed",
                    error,
                    "the license could not be put back into the empty database"
                );
                false
            }
        }
    }
}

async fn put(on: &Client, token: &str, record: &Record) -> Result<Mark, Error> {
    let change = Change { token: Some(token), former: None, dropped: &[], record };
    let unsaid = Mark { revision: 0, change_id: String::new() };
    let change_id = random::name() + &random::name();
    let revision =
        statements::commit(on, &change, &unsaid, &change_id, &mut Progress::default()).await?;
    Ok(Mark { revision, change_id })
}

/// The claims of a token that was verified before.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn brief(token: &str) -> Option<Brief> {
    let claims = claims(token)?;
    let text = |name: &str| match &claims[name] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    // Whether it is valid at this moment is judged by each gate; that it was in force is what is known here.
    Some(Brief { jti: text("jti"), lid: text("lid"), status: 0 })
}

/// The sequence a list says it has.
pub(super) fn sequence(list: &str) -> Option<u64> {
    claims(list)?["seq"].as_u64()
}
