//! What is told about a license, as it will be sent. Pure.

use aws_lc_rs::digest;
use serde_json::{Value, json};

use crate::clock::UnixTime;
use crate::hex::hex;
use crate::license::{License, RootUrl, Status};
use crate::store::QueuedEvent;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The license, its trial or its token ends soon.
    ExpiringSoon,
    /// It has ended.
    Expired,
    /// The issuer gave a newer token, which is in force.
    Renewed,
    /// The issuer does not give one.
    RenewalFailing,
    /// Another license is in force, or none.
    Changed,
}

impl Occasion {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpiringSoon => "expiring_soon",
            Self::Expired => "expired",
            Self::Renewed => "renewed",
            Self::RenewalFailing => "renewal_failing",
            Self::Changed => "changed",
        }
    }
}

/// Something to be told to `notify.url`.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// What happened.
    pub occasion: Occasion,
    /// What makes it happen once: a `jti` with a date, a revision. With the occasion it is the event's key.
    pub about: &'a str,
    /// When it happened.
    pub time: UnixTime,
    /// To which instance.
    pub instance: &'a RootUrl,
    /// The license it is about, and its status; `None`: there is none.
    pub license: Option<(&'a License, Status)>,
    /// For people: a sentence.
    pub message: &'a str,
}

impl Notice<'_> {
    /// As it is queued, due at once.
    pub fn event(&self) -> QueuedEvent {
        let key = format!("{} {}", self.occasion.as_str(), self.about);
        let body = self.body(&id(self.instance, &key)).to_string();
        QueuedEvent { key, body, attempts: 0, due: self.time }
    }

    fn body(&self, id: &str) -> Value {
        let license = self.license.map(|(license, status)| {
            let claims = license.claims();
            json!({
                "jti": claims.jti.as_deref().unwrap_or_default(),
                "lid": claims.lid,
                "company": claims.company.as_deref().unwrap_or_default(),
                "status": status.code(),
                "expires": claims.license_ends_at().and_then(date),
                "token_expires": date(claims.exp),
            })
        });
        json!({
            "id": id,
            "event": self.occasion.as_str(),
            "time": self.time.to_string(),
            "instance": self.instance.to_string(),
            "license": license,
            "message": self.message,
        })
    }
}

/// The same for the same event of an instance, by whichever replica and however often it is told.
fn id(instance: &RootUrl, key: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{instance}\n{key}").as_bytes());
    hex(&digest.as_ref()[..16])
}

/// RFC 3339; nothing for an end that no calendar reaches.
fn date(moment: UnixTime) -> Option<String> {
    (moment <= UnixTime::LAST_DATE).then(|| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::{Algorithm, KeyPair, verify};

    fn license(lexp: u64) -> License {
        let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
        let claims = json!({
            "sub": "https://a.example/", "lid": 7, "jti": "J", "company": "C \"&\" Sons",
            "exp": 1_800_000_000, "lexp": lexp,
        });
        verify(&pair.sign(&claims).expect("a token"), &pair.trusted()).expect("a license")
    }

    fn body(occasion: Occasion, license: Option<&License>) -> Value {
        let instance = RootUrl::parse("https://a.example/grafana").expect("a root URL");
        let notice = Notice {
            occasion,
            about: "J",
            time: UnixTime::from_secs(1_700_000_000),
            instance: &instance,
            license: license.map(|license| (license, Status::Valid)),
            message: "Look at it.",
        };
        let event = notice.event();
        assert_eq!(event.key, format!("{} J", occasion.as_str()));
        assert_eq!((event.attempts, event.due), (0, notice.time));
        serde_json::from_str(&event.body).expect("JSON")
    }

    #[test]
    fn a_body_says_what_happened_when_where_and_to_which_license() {
        let told = body(Occasion::ExpiringSoon, Some(&license(1_900_000_000)));
        let id = told["id"].as_str().expect("an id").to_owned();
        let expected = json!({
            "id": id,
            "event": "expiring_soon",
            "time": "2023-11-14T22:13:20Z",
            "instance": "https://a.example/grafana/",
            "license": {
                "jti": "J", "lid": "7", "company": "C \"&\" Sons", "status": 1,
                "expires": "2030-03-17T17:46:40Z", "token_expires": "2027-01-15T08:00:00Z",
            },
            "message": "Look at it.",
        });
        assert_eq!(told, expected);
        assert_eq!(id.len(), 32);
        // Told again, it is the same; another event is another.
        assert_eq!(body(Occasion::ExpiringSoon, None)["id"], id);
        assert_ne!(body(Occasion::Expired, None)["id"], id);
    }

    #[test]
    fn an_end_that_never_comes_is_null_and_so_is_no_license() {
        assert_eq!(body(Occasion::Changed, Some(&license(0)))["license"]["expires"], Value::Null);
        let far = body(Occasion::Changed, Some(&license(1 << 53)));
        assert_eq!(far["license"]["expires"], Value::Null);
        assert_eq!(body(Occasion::Changed, None)["license"], Value::Null);
    }
}
