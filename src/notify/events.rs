//! Events as the receiver gets them, and their way into the store's queue. Nothing is queued when `notify.url` is not set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use serde_json::json;
use tokio::sync::Notify;

use crate::clock::{Clock, UnixTime};
use crate::license::{License, RootUrl, Status};
use crate::store::{Document, Error, Housekeeping, Lease, QueuedEvent, Reader};
use crate::text::hex;

/// How long this gate may announce what all replicas see before it asks for the lease again.
const LEASE: Duration = Duration::from_secs(60);

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

/// An event about a license, before it is queued.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// What happened.
    pub occasion: Occasion,
    /// What makes it happen once: a `jti` with a date, a revision. With the occasion it is the event's key.
    pub about: &'a str,
    /// The license it is about, and its status; `None`: there is none.
    pub license: Option<(&'a License, Status)>,
    /// For people: a sentence.
    pub message: &'a str,
}

impl Notice<'_> {
    /// The event of `instance`, which happened at `time` and is due at once.
    fn event(&self, instance: &RootUrl, time: UnixTime) -> QueuedEvent {
        let key = format!("{} {}", self.occasion.as_str(), self.about);
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
        let body = json!({
            "id": id(instance, &key),
            "event": self.occasion.as_str(),
            "time": time.to_string(),
            "instance": instance.to_string(),
            "license": license,
            "message": self.message,
        });
        QueuedEvent { key, body: body.to_string(), attempts: 0, due: time }
    }
}

/// The same for the same event of an instance, from every replica and for every attempt.
fn id(instance: &RootUrl, key: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{instance}\n{key}").as_bytes());
    hex(&digest.as_ref()[..16])
}

/// RFC 3339; `None` for an end beyond the calendar.
fn date(moment: UnixTime) -> Option<String> {
    (moment <= UnixTime::LAST_DATE).then(|| moment.to_string())
}

/// Wakes the sender when something was queued.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Something was queued.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Returns once something was queued.
    pub(super) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// The way into the queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Option<(Housekeeping, Wake)>,
    reader: Reader,
    clock: Clock,
    /// Whether it was logged that the queue cannot be written.
    is_logged: Arc<AtomicBool>,
}

impl Events {
    /// Into `queue`, with the name of the instance from `reader`; `None`: no events are sent.
    pub fn new(queue: Option<(Housekeeping, Wake)>, reader: Reader, clock: Clock) -> Self {
        Self { queue, reader, clock, is_logged: Arc::default() }
    }

    /// Whether events are sent at all.
    pub(super) const fn are_sent(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether this gate announces what all replicas see.
    ///
    /// # Errors
    /// The store does not answer, and nothing can be queued either.
    pub(super) async fn are_ours(&self) -> Result<bool, Error> {
        match &self.queue {
            Some((store, _)) => store.lease(Lease::Schedule, LEASE).await,
            None => Ok(false),
        }
    }

    /// Queues `notice` unless its key was queued before: whether it is new.
    ///
    /// # Errors
    /// It could not be kept. That is logged; the caller tries again.
    pub async fn post(&self, notice: Notice<'_>) -> Result<bool, Error> {
        let Some((store, wake)) = &self.queue else { return Ok(false) };
        let snapshot = self.reader.snapshot();
        let event = notice.event(&snapshot.policy().root_url, self.clock.now());
        let posted = store.post(event).await;
        match &posted {
            Ok(is_new) => {
                self.is_logged.store(false, Ordering::Relaxed);
                if *is_new {
                    wake.wake();
                }
            }
            Err(error) if !self.is_logged.swap(true, Ordering::Relaxed) => {
                let error = error as &(dyn std::error::Error + 'static);
                let occasion = notice.occasion.as_str();
                tracing::warn!(
                    event = "notify.not_queued",
                    occasion,
                    error,
                    "an event cannot be queued now; that is tried again"
                );
            }
            Err(_) => {}
        }
        posted
    }

    /// What [`keep`](Self::keep) kept last, in this run or an earlier one.
    pub(super) async fn kept(&self) -> Option<Vec<u8>> {
        let (store, _) = self.queue.as_ref()?;
        store.document(Document::Announced).await.ok().flatten()
    }

    /// Keeps what was announced last, for the next start. If that fails, something may be announced twice.
    pub(super) async fn keep(&self, announced: Vec<u8>) {
        if let Some((store, _)) = &self.queue {
            let _ = store.keep_document(Document::Announced, announced).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
        let license = license.map(|license| (license, Status::Valid));
        let notice = Notice { occasion, about: "J", license, message: "Look at it." };
        let time = UnixTime::from_secs(1_700_000_000);
        let event = notice.event(&instance, time);
        assert_eq!(event.key, format!("{} J", occasion.as_str()));
        assert_eq!((event.attempts, event.due), (0, time));
        serde_json::from_str(&event.body).expect("JSON")
    }

    #[test]
    fn a_body_says_what_happened_when_where_and_to_which_license() {
        let sent = body(Occasion::ExpiringSoon, Some(&license(1_900_000_000)));
        let id = sent["id"].as_str().expect("an id").to_owned();
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
        assert_eq!(sent, expected);
        assert_eq!(id.len(), 32);
        // Sent again, it has the same id; another event has another.
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
