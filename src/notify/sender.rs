//! Sends events to `notify.url`: a signed `POST` for each, until it is taken.
//!
//! In: the events that are due, from the store's queue. Out: what became of each. One at a time, by a task of its own, so
//! that nothing else waits for the receiver. An event that is not taken (2xx) is sent again, after 10 s at first and an
//! hour in the end, or when the receiver asks for it, until three days after it happened.

use std::future::Future;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::Config;
use super::events::Wake;
use super::secret::{Secret, SecretError};
use crate::backoff::Backoff;
use crate::clock::{Clock, UnixTime};
use crate::outgoing::{self, Call, Cause, Client, Endpoint};
use crate::random;
use crate::store::{Error, Housekeeping, Lease, QueuedEvent, Settled};

/// Between two tries of an event.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(10), most: Duration::from_secs(3600) };
/// Between two tries of a receiver that takes nothing. Shorter in the end: until then events go in order; from then on one
/// that is never taken does not keep the others from it.
const RECEIVER: Backoff = Backoff { first: BACKOFF.first, most: Duration::from_secs(300) };
/// From when an event happened until it is given up.
const KEEP_TRYING: Duration = Duration::from_secs(3 * 86_400);
/// How often the queue is looked at without having been woken: a replica may have put something into it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long this gate is the one that sends before it asks for the lease again, and how often the others ask.
const LEASE: Duration = Duration::from_secs(60);
const ASK_FOR_LEASE: Duration = Duration::from_secs(15);
/// However long a receiver asks to be left alone, or a clock was wrong.
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);
/// Of an answer nothing is read but its status; a little of its body is taken so that its connection ends well.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

const EVENT: HeaderName = HeaderName::from_static("license-gate-event");
const TIMESTAMP: HeaderName = HeaderName::from_static("license-gate-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("license-gate-signature");

/// Why events cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL, its trust anchors, or the way there.
    #[error(transparent)]
    Receiver(#[from] outgoing::SetupError),
    /// There is a URL and no secret.
    #[error("notify.secret_file is missing: events are signed with the secret in it")]
    NoSecret,
    /// The secret cannot be used.
    #[error("notify.secret_file cannot be used")]
    Secret(#[from] SecretError),
}

/// Where events wait.
pub trait Queue {
    /// Whether it is for this gate to send them, for a minute from now.
    fn is_ours(&self) -> impl Future<Output = bool> + Send;
    /// Those that are due, oldest first, a few at a time.
    fn due(&self, now: UnixTime) -> impl Future<Output = Result<Vec<QueuedEvent>, Error>> + Send;
    /// What became of one.
    fn settle(&self, key: &str, settled: Settled)
    -> impl Future<Output = Result<(), Error>> + Send;
}

impl Queue for Housekeeping {
    async fn is_ours(&self) -> bool {
        self.take_lease(Lease::Schedule, LEASE).await
    }

    async fn due(&self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
        self.due_events(now).await
    }

    async fn settle(&self, key: &str, settled: Settled) -> Result<(), Error> {
        Self::settle(self, key.to_owned(), settled).await
    }
}

/// Sends events to the receiver.
#[derive(Debug)]
pub struct Notifier<Q> {
    endpoint: Endpoint,
    secret: Secret,
    queue: Q,
    wake: Wake,
    clock: Clock,
    pace: Pace,
    /// What became of events and is not in the queue yet.
    unsettled: Vec<(String, Settled)>,
    /// Failures that were logged and have not ended.
    logged: Vec<String>,
}

/// When to try again.
#[derive(Debug, Default)]
struct Pace {
    /// How often in a row the receiver took nothing, of whatever event.
    failures: u32,
    /// Nothing is sent before.
    not_before: UnixTime,
    /// Something is due then.
    again: Option<UnixTime>,
}

impl<Q: Queue> Notifier<Q> {
    /// Sends what is in `queue` to the receiver of `config`, reached by `client`; `None` when `notify.url` is not set.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(
        config: &Config,
        client: &Client,
        queue: Q,
        wake: Wake,
        clock: Clock,
    ) -> Result<Option<Self>, SetupError> {
        let Some(url) = &config.url else { return Ok(None) };
        let endpoint = client.endpoint("notify.url", "the receiver of events", url)?;
        let file = config.secret_file.as_ref().ok_or(SetupError::NoSecret)?;
        let secret = Secret::read(file)?;
        let (pace, unsettled, logged) = (Pace::default(), Vec::new(), Vec::new());
        Ok(Some(Self { endpoint, secret, queue, wake, clock, pace, unsettled, logged }))
    }

    /// Sends for ever.
    pub async fn run(mut self) {
        loop {
            let next = self.round().await;
            tokio::select! {
                () = self.clock.reached(next) => {}
                () = self.wake.woken() => {}
            }
        }
    }

    /// Sends what is due; when to look again.
    async fn round(&mut self) -> UnixTime {
        let now = self.clock.now();
        if let Some(until) = self.pace.until(now) {
            return until;
        }
        if !self.queue.is_ours().await {
            return now.saturating_add(ASK_FOR_LEASE);
        }
        self.settle().await;
        let due = match self.queue.due(now).await {
            Ok(due) => due,
            Err(error) => {
                self.log(error, "the queue of events cannot be read; it is looked at again");
                return now.saturating_add(LOOK_AGAIN);
            }
        };
        let is_unsettled =
            |event: &QueuedEvent| self.unsettled.iter().any(|(key, _)| *key == event.key);
        let due: Vec<_> = due.into_iter().filter(|event| !is_unsettled(event)).collect();
        self.send_all(due).await
    }

    /// Sends `due` until the receiver does not take one; when to look again.
    async fn send_all(&mut self, due: Vec<QueuedEvent>) -> UnixTime {
        let is_more = !due.is_empty();
        for event in due {
            // Sending may have taken longer than the lease lasts.
            if !self.queue.is_ours().await {
                return self.clock.now().saturating_add(ASK_FOR_LEASE);
            }
            let settled = self.deliver(&event).await;
            self.unsettled.push((event.key, settled));
            self.settle().await;
            if let Some(until) = self.pace.until(self.clock.now()) {
                return until;
            }
        }
        let now = self.clock.now();
        // The queue hands out a few at a time, and the same ones until they are settled.
        if is_more && self.unsettled.is_empty() { now } else { self.pace.next(now) }
    }

    /// Puts into the queue what became of events.
    async fn settle(&mut self) {
        for (key, settled) in std::mem::take(&mut self.unsettled) {
            if let Err(error) = self.queue.settle(&key, settled).await {
                self.log(error, "what became of an event cannot be kept; that is tried again");
                self.unsettled.push((key, settled));
            }
        }
    }

    async fn deliver(&mut self, event: &QueuedEvent) -> Settled {
        let Err(error) = self.send(event).await else {
            self.pace.taken();
            if event.attempts > 0 {
                self.logged.clear();
                tracing::info!(event.key, event.attempts, "an event was taken at last");
            }
            return Settled::Done;
        };
        let now = self.clock.now();
        let due = self.pace.refused(now, event.attempts, error.retry_after());
        if happened(event).is_none_or(|at| at.saturating_add(KEEP_TRYING) <= now) {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::error!(
                event = "notify.given_up",
                event.key,
                event.attempts,
                error,
                "an event is given up: it is three days old, and was not taken"
            );
            return Settled::Done;
        }
        self.log(error, "an event was not taken; it is sent again");
        Settled::Again { due }
    }

    async fn send(&self, event: &QueuedEvent) -> Result<(), outgoing::Error> {
        let call = self.call(event).map_err(|error| self.endpoint.failed(error.into()))?;
        match self.endpoint.call(call).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(self.endpoint.refused(&answer)),
            // It answered 200 before its answer grew too long.
            Err(outgoing::Error { cause: Cause::TooLarge(_), .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn call(&self, event: &QueuedEvent) -> Result<Call, http::Error> {
        let now = self.clock.now();
        let signature = self.secret.sign(now, event.body.as_bytes());
        Ok(Call::post(event.body.clone(), MAX_ANSWER_BYTES)
            .field(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .field(EVENT, HeaderValue::try_from(id(event))?)
            .field(TIMESTAMP, now.as_secs().into())
            .field(SIGNATURE, HeaderValue::try_from(signature)?))
    }

    /// Logs a failure, unless it is the same as before.
    fn log(&mut self, error: impl Into<anyhow::Error>, what: &str) {
        let error = format!("{:#}", error.into());
        if !self.logged.contains(&error) {
            tracing::warn!(event = "notify.failed", error, "{what}");
            self.logged.push(error);
        }
    }
}

impl Pace {
    /// Until when nothing may be sent.
    fn until(&self, now: UnixTime) -> Option<UnixTime> {
        // A clock that was set back must not put it off for as long.
        let until = self.not_before.min(now.saturating_add(LONGEST_PAUSE));
        (until > now).then_some(until)
    }

    /// When to look at the queue again, with nothing left to do.
    fn next(&mut self, now: UnixTime) -> UnixTime {
        self.again = self.again.filter(|again| *again > now);
        let next = now.saturating_add(LOOK_AGAIN);
        self.again.map_or(next, |again| again.min(next))
    }

    fn taken(&mut self) {
        self.failures = 0;
    }

    /// An event that had been tried `attempts` times was not taken: when to try that again.
    fn refused(&mut self, now: UnixTime, attempts: u32, retry_after: Option<Duration>) -> UnixTime {
        self.failures = self.failures.saturating_add(1);
        let fraction = random::fraction();
        let after = |backoff: Backoff, failures| {
            now.saturating_add(backoff.after(failures, retry_after, fraction))
        };
        self.not_before = after(RECEIVER, self.failures);
        let due = after(BACKOFF, attempts.saturating_add(1));
        let again = self.again.filter(|again| *again > now);
        self.again = Some(again.map_or(due, |again| again.min(due)));
        due
    }
}

/// The members of an event's body that are needed to send it.
#[derive(Deserialize)]
struct Body {
    id: String,
    time: String,
}

fn body(event: &QueuedEvent) -> Option<Body> {
    serde_json::from_str(&event.body).ok()
}

fn id(event: &QueuedEvent) -> String {
    body(event).map(|body| body.id).unwrap_or_default()
}

fn happened(event: &QueuedEvent) -> Option<UnixTime> {
    let time = humantime::parse_rfc3339(&body(event)?.time).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(UnixTime::from_secs(since.as_secs()))
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
