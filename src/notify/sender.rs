//! Sends events to `notify.url`: one signed `POST` each.
//!
//! Input: due events from the store's queue. Output: what to do with each. One task sends one event at a time, so that
//! nothing else waits for the receiver. An event without a 2xx response is sent again, after 10 s at first, then with
//! backoff up to an hour, or after `Retry-After`. It is dropped three days after it happened.
//!
//! A reload replaces the [`Receiver`] between two events: a response that is under way still counts, so that no event is sent twice.
//! The new receiver gets all waiting events at once. An upgrade waits a few seconds for a response that is under way; after that, the
//! new process sends the event again, with the same id.
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::sync::{Mutex, watch};

use super::Config;
use super::events::Wake;
use super::secret::{Secret, SecretError};
use crate::backoff::Backoff;
use crate::clock::{Clock, UnixTime};
use crate::outgoing::{self, Call, Cause, Client, Endpoint};
use crate::random;
use crate::store::{Error, Housekeeping, Lease, QueuedEvent, Settled};

/// Between two attempts to send an event.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(10), most: Duration::from_secs(3600) };
/// Between two attempts while the receiver fails, for all events together. Until this reaches its maximum, events are sent in
/// order; then an event that always fails no longer blocks the others.
const RECEIVER: Backoff = Backoff { first: BACKOFF.first, most: Duration::from_secs(300) };
/// Time from an event until it is dropped.
const KEEP_TRYING: Duration = Duration::from_secs(3 * 86_400);
/// How often the queue is read without a wake-up: another replica may have added an event.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long a gate holds the lease to send, and how often the other gates try to get it.
const LEASE: Duration = Duration::from_secs(60);
const LEASE_RETRY: Duration = Duration::from_secs(15);
/// Upper limit for a pause, for example after the clock was set back.
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);
/// Of a response only the status counts. So much of the body is read, so that the connection ends cleanly.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Different failures that are logged until the next success. Error texts vary: without a limit, the list would grow for ever.
const MAX_LOGGED: usize = 16;

const EVENT: HeaderName = HeaderName::from_static("license-gate-event");
const TIMESTAMP: HeaderName = HeaderName::from_static("license-gate-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("license-gate-signature");

/// Why the webhook cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL, its trust anchors or its proxy cannot be used.
    #[error(transparent)]
    Receiver(#[from] outgoing::SetupError),
    /// `notify.url` is set and `notify.secret_file` is not.
    #[error("notify.secret_file is missing: name a file with the secret that signs the events")]
    NoSecret,
    /// The secret cannot be used.
    #[error("notify.secret_file cannot be used")]
    Secret(#[from] SecretError),
}

/// The queue of events.
pub trait Queue {
    /// Whether this gate is the one that sends, for the next minute.
    fn is_ours(&self) -> impl Future<Output = bool> + Send;
    /// A few due events, oldest first.
    fn due(&self, now: UnixTime) -> impl Future<Output = Result<Vec<QueuedEvent>, Error>> + Send;
    /// Removes or reschedules an event.
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

/// Where events are sent, and what signs them.
#[derive(Debug)]
pub struct Receiver {
    endpoint: Endpoint,
    secret: Secret,
}

impl Receiver {
    /// The webhook in `config`; `None` if `notify.url` is not set. Blocks on the file of the secret.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(config: &Config, client: &Client) -> Result<Option<Self>, SetupError> {
        let Some(url) = &config.url else { return Ok(None) };
        let endpoint = client.endpoint("notify.url", "the webhook", url)?;
        let file = config.secret_file.as_ref().ok_or(SetupError::NoSecret)?;
        Ok(Some(Self { endpoint, secret: Secret::read(file)? }))
    }

    /// Whether both sign with the same secret.
    pub fn has_secret_of(&self, other: &Self) -> bool {
        self.secret.is(&other.secret)
    }

    async fn send(&self, event: &QueuedEvent, now: UnixTime) -> Result<(), outgoing::Error> {
        let call = self.call(event, now).map_err(|error| self.endpoint.failed(error.into()))?;
        match self.endpoint.call(call).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(self.endpoint.refused(&answer)),
            // The status was 200; only the body is too long.
            Err(outgoing::Error { cause: Cause::TooLarge(_), .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn call(&self, event: &QueuedEvent, now: UnixTime) -> Result<Call, http::Error> {
        let signature = self.secret.sign(now, event.body.as_bytes());
        Ok(Call::post(event.body.clone(), MAX_ANSWER_BYTES)
            .field(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .field(EVENT, HeaderValue::try_from(id(event))?)
            .field(TIMESTAMP, now.as_secs().into())
            .field(SIGNATURE, HeaderValue::try_from(signature)?))
    }
}

/// The receiver in use, which a reload replaces; `None`: no events are sent.
pub type Receivers = watch::Sender<Option<Arc<Receiver>>>;

/// Sends queued events to the webhook.
#[derive(Debug)]
pub struct Notifier<Q> {
    receivers: watch::Receiver<Option<Arc<Receiver>>>,
    queue: Q,
    wake: Wake,
    clock: Clock,
    pace: Pace,
    /// Whether events are due before their time, because the receiver has changed since they failed.
    all_are_due: bool,
    /// Results that could not be written to the queue yet.
    unsettled: Vec<(String, Settled)>,
    /// Failures that were logged since the last success; at most [`MAX_LOGGED`].
    logged: Vec<String>,
    turn: Arc<Mutex<()>>,
}

/// When to send again.
#[derive(Debug, Default)]
struct Pace {
    /// Consecutive failures, of any events.
    failures: u32,
    /// Nothing is sent before this.
    not_before: UnixTime,
    /// When an event is due again.
    again: Option<UnixTime>,
}

impl<Q: Queue> Notifier<Q> {
    /// Sends the events in `queue` to the present one of `receivers`.
    pub fn new(receivers: &Receivers, queue: Q, wake: Wake, clock: Clock) -> Self {
        let (receivers, pace) = (receivers.subscribe(), Pace::default());
        let (unsettled, logged) = (Vec::new(), Vec::new());
        let turn = Arc::default();
        Self { receivers, queue, wake, clock, pace, all_are_due: false, unsettled, logged, turn }
    }

    /// Locked while events are sent. A caller that locks it prevents that, and the results of all events that were sent are stored.
    pub fn turn(&self) -> Arc<Mutex<()>> {
        self.turn.clone()
    }

    /// Sends events for ever.
    pub async fn run(mut self) {
        loop {
            if self.receivers.borrow().is_none() && self.unsettled.is_empty() {
                if self.receivers.changed().await.is_err() {
                    return;
                }
                self.receivers.mark_changed();
                continue;
            }
            let turn = self.turn.clone().lock_owned().await;
            let next = self.round().await;
            drop(turn);
            let changed = async {
                match self.receivers.changed().await {
                    Ok(()) => self.receivers.mark_changed(),
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.clock.reached(next) => {}
                () = self.wake.woken() => {}
                () = changed => {}
            }
        }
    }

    /// Sends all due events. Returns when to check again.
    async fn round(&mut self) -> UnixTime {
        if self.is_replaced() {
            self.receivers.mark_unchanged();
            // The failures of the former receiver say nothing about this one.
            self.pace = Pace::default();
            self.logged.clear();
            self.all_are_due = true;
        }
        let now = self.clock.now();
        if let Some(until) = self.pace.until(now) {
            return until;
        }
        let is_off = self.receivers.borrow().is_none();
        if !self.queue.is_ours().await {
            return now.saturating_add(LEASE_RETRY);
        }
        self.settle().await;
        if is_off {
            return now.saturating_add(LOOK_AGAIN);
        }
        let due_by = if self.all_are_due { UnixTime::LAST_DATE } else { now };
        let due = match self.queue.due(due_by).await {
            Ok(due) => due,
            Err(error) => {
                self.log(error, "the event queue cannot be read; it is read again in a minute");
                return now.saturating_add(LOOK_AGAIN);
            }
        };
        let is_unsettled =
            |event: &QueuedEvent| self.unsettled.iter().any(|(key, _)| *key == event.key);
        let due: Vec<_> = due.into_iter().filter(|event| !is_unsettled(event)).collect();
        self.all_are_due &= !due.is_empty();
        self.send_all(due).await
    }

    fn is_replaced(&self) -> bool {
        self.receivers.has_changed().unwrap_or(false)
    }

    /// Sends `due` until one fails. Returns when to check again.
    async fn send_all(&mut self, due: Vec<QueuedEvent>) -> UnixTime {
        let is_more = !due.is_empty();
        for event in due {
            // The lease may have expired while the previous event was sent.
            if !self.queue.is_ours().await {
                return self.clock.now().saturating_add(LEASE_RETRY);
            }
            if self.is_replaced() {
                return self.clock.now();
            }
            let Some(receiver) = self.receivers.borrow().clone() else { break };
            let settled = self.deliver(&receiver, &event).await;
            self.unsettled.push((event.key, settled));
            self.settle().await;
            if let Some(until) = self.pace.until(self.clock.now()) {
                return until;
            }
        }
        let now = self.clock.now();
        // The queue returns a few events at a time, and the same ones until they are settled.
        if is_more && self.unsettled.is_empty() { now } else { self.pace.next(now) }
    }

    /// Writes the results to the queue.
    async fn settle(&mut self) {
        for (key, settled) in std::mem::take(&mut self.unsettled) {
            if let Err(error) = self.queue.settle(&key, settled).await {
                self.log(error, "the result of an event cannot be stored; it is tried again");
                self.unsettled.push((key, settled));
            }
        }
    }

    async fn deliver(&mut self, receiver: &Receiver, event: &QueuedEvent) -> Settled {
        let Err(error) = receiver.send(event, self.clock.now()).await else {
            self.pace.succeeded();
            self.logged.clear();
            if event.attempts > 0 {
                tracing::info!(
                    event.key,
                    event.attempts,
                    "an event was accepted after earlier failures"
                );
            }
            return Settled::Done;
        };
        self.all_are_due = false;
        let now = self.clock.now();
        let due = self.pace.failed(now, event.attempts, error.retry_after());
        if happened(event).is_none_or(|at| at.saturating_add(KEEP_TRYING) <= now) {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::error!(
                event = "notify.given_up",
                event.key,
                event.attempts,
                error,
                "an event is dropped: the receiver has not accepted it for three days"
            );
            return Settled::Done;
        }
        self.log(error, "an event was not accepted; it is sent again");
        Settled::Again { due }
    }

    /// Logs a failure, unless the same one, or [`MAX_LOGGED`] others, were logged since the last success.
    fn log(&mut self, error: impl Into<anyhow::Error>, message: &str) {
        let error = error.into();
        if matches!(error.downcast_ref(), Some(Error::HandedOver)) {
            // Nothing is wrong: the process that has the queue sends its events.
            return;
        }
        let error = format!("{error:#}");
        if self.logged.len() < MAX_LOGGED && !self.logged.contains(&error) {
            tracing::warn!(event = "notify.failed", error, "{message}");
            self.logged.push(error);
        }
    }
}

impl Pace {
    /// Until when nothing may be sent; `None`: sending is allowed now.
    fn until(&self, now: UnixTime) -> Option<UnixTime> {
        // A clock that was set back must not delay it by as much.
        let until = self.not_before.min(now.saturating_add(LONGEST_PAUSE));
        (until > now).then_some(until)
    }

    /// When to read the queue again after all due events were sent.
    fn next(&mut self, now: UnixTime) -> UnixTime {
        self.again = self.again.filter(|again| *again > now);
        let next = now.saturating_add(LOOK_AGAIN);
        self.again.map_or(next, |again| again.min(next))
    }

    fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Sending an event failed, after `attempts` earlier attempts. Returns when to send that event again.
    fn failed(&mut self, now: UnixTime, attempts: u32, retry_after: Option<Duration>) -> UnixTime {
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

/// The members of an event's body that are needed for sending.
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
