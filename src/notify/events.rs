//! Builds events and puts them into the store's queue. Nothing is queued if `notify.url` is not set.

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

/// How long a gate holds the lease to announce changes that all replicas see.
const LEASE: Duration = Duration::from_secs(60);

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The license, its trial or its token expires soon.
    ExpiringSoon,
    /// It has expired.
    Expired,
    /// A renewal brought a newer token, which is in force.
    Renewed,
    /// The license has expired, and the grace of a gate rule ends within a day.
    GraceEnding,
    /// Renewals fail.
    RenewalFailing,
    /// Another license is in force, or none is.
    Changed,
}

impl EventKind {
    /// The name of the kind in an event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpiringSoon => "expiring_soon",
            Self::Expired => "expired",
            Self::Renewed => "renewed",
            Self::GraceEnding => "grace_ending",
            Self::RenewalFailing => "renewal_failing",
            Self::Changed => "changed",
        }
    }
}

/// An event about a license, before it is queued.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The kind of the event.
    pub kind: EventKind,
    /// Identifies the event together with its kind: each pair is announced once.
    pub about: &'a str,
    /// The license and its status; `None`: there is no license.
    pub license: Option<(&'a License, Status)>,
    /// A sentence for people.
    pub message: &'a str,
}

impl Notice<'_> {
    /// The event for `instance`, which happened at `time` and is due at once.
    fn event(&self, instance: &RootUrl, time: UnixTime) -> QueuedEvent {
        let key = format!("{} {}", self.kind.as_str(), self.about);
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
            "event": self.kind.as_str(),
            "time": time.to_string(),
            "instance": instance.to_string(),
            "license": license,
            "message": self.message,
        });
        QueuedEvent { key, body: body.to_string(), attempts: 0, due: time }
    }
}

/// The id of an event: the same for every replica and every attempt.
fn id(instance: &RootUrl, key: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{instance}\n{key}").as_bytes());
    hex(&digest.as_ref()[..16])
}

/// RFC 3339; `None` for a time after the year 9999.
fn date(moment: UnixTime) -> Option<String> {
    (moment <= UnixTime::LAST_DATE).then(|| moment.to_string())
}

/// Wakes the sender when an event is queued.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Wakes the sender.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Resolves once an event was queued.
    pub(super) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// Queues events.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Option<(Housekeeping, Wake)>,
    /// Whether `notify.url` is set.
    are_sent: Arc<AtomicBool>,
    reader: Reader,
    clock: Clock,
    /// Whether the present failure to write the queue was logged.
    is_logged: Arc<AtomicBool>,
}

impl Events {
    /// Queues events in `queue`; `None`: no events are sent. The instance is that of `reader`.
    pub fn new(queue: Option<(Housekeeping, Wake)>, reader: Reader, clock: Clock) -> Self {
        let are_sent = Arc::new(AtomicBool::new(queue.is_some()));
        Self { queue, are_sent, reader, clock, is_logged: Arc::default() }
    }

    /// Whether events are queued from now on.
    pub fn set_sent(&self, are_sent: bool) {
        self.are_sent.store(are_sent, Ordering::Relaxed);
    }

    /// Whether events are sent at all.
    pub(super) fn are_sent(&self) -> bool {
        self.queue().is_some()
    }

    fn queue(&self) -> Option<&(Housekeeping, Wake)> {
        self.queue.as_ref().filter(|_| self.are_sent.load(Ordering::Relaxed))
    }

    /// Whether this gate is the replica that announces changes.
    ///
    /// # Errors
    /// The store is unavailable, so that nothing can be queued either.
    pub(super) async fn are_ours(&self) -> Result<bool, Error> {
        match self.queue() {
            Some((store, _)) => store.lease(Lease::Schedule, LEASE).await,
            None => Ok(false),
        }
    }

    /// Queues `notice` unless its key was queued before. Returns whether it was queued.
    ///
    /// # Errors
    /// It could not be stored. The error is logged; the caller tries again.
    pub async fn post(&self, notice: Notice<'_>) -> Result<bool, Error> {
        let Some((store, wake)) = self.queue() else { return Ok(false) };
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
                let occasion = notice.kind.as_str();
                tracing::warn!(
                    event = "notify.not_queued",
                    occasion,
                    error,
                    "an event cannot be queued; it is tried again"
                );
            }
            Err(_) => {}
        }
        posted
    }

    /// What [`keep`](Self::keep) stored last, in this run or an earlier one.
    pub(super) async fn kept(&self) -> Option<Vec<u8>> {
        let (store, _) = self.queue()?;
        store.document(Document::Announced).await.ok().flatten()
    }

    /// Stores what was announced last, for the next start. If this fails, an event may be announced twice.
    pub(super) async fn keep(&self, announced: Vec<u8>) {
        if let Some((store, _)) = self.queue() {
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

    fn body(kind: EventKind, license: Option<&License>) -> Value {
        let instance = RootUrl::parse("https://a.example/grafana").expect("a root URL");
        let license = license.map(|license| (license, Status::Valid));
        let notice = Notice { kind, about: "J", license, message: "Look at it." };
        let time = UnixTime::from_secs(1_700_000_000);
        let event = notice.event(&instance, time);
        assert_eq!(event.key, format!("{} J", kind.as_str()));
        assert_eq!((event.attempts, event.due), (0, time));
        serde_json::from_str(&event.body).expect("JSON")
    }

    #[test]
    fn a_body_has_kind_time_instance_and_license() {
        let sent = body(EventKind::ExpiringSoon, Some(&license(1_900_000_000)));
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
        // The id depends on the event only: another kind has another id.
        assert_eq!(body(EventKind::ExpiringSoon, None)["id"], id);
        assert_ne!(body(EventKind::Expired, None)["id"], id);
    }

    #[test]
    fn a_license_without_an_end_has_null_and_no_license_is_null() {
        assert_eq!(body(EventKind::Changed, Some(&license(0)))["license"]["expires"], Value::Null);
        let far = body(EventKind::Changed, Some(&license(1 << 53)));
        assert_eq!(far["license"]["expires"], Value::Null);
        assert_eq!(body(EventKind::Changed, None)["license"], Value::Null);
    }
}
