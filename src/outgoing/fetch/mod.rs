//! A document that is fetched from a URL and kept fresh: `license.jwks_url`, and `license.revocations` if it is a URL.
//!
//! A [`Fetch`] repeats the request as often as the responses allow, and passes new content to a [`Recipient`], which accepts or
//! rejects it. After a failure the last good content stays in use, and the request is repeated with exponential backoff, or
//! after `Retry-After`. A [`Refresher`] requests an early fetch.
mod freshness;

use std::future::Future;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Answer, Call, Endpoint, Error};
use crate::backoff::Backoff;
use crate::clock::{Clock, UnixTime};
use crate::random;
use crate::text::chain;

/// Largest document.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// Shortest time between two early fetches.
const COOLDOWN: Duration = Duration::from_secs(60);

/// Between two attempts after failures.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(10), most: Duration::from_secs(60 * 60) };

/// Different failures that are logged until the next success.
const MAX_LOGGED: usize = 16;

/// The user of a document.
pub trait Recipient: Send {
    /// Takes new content into use, or returns in one line what is wrong with it.
    fn take(&mut self, content: Bytes) -> impl Future<Output = Result<(), String>> + Send;
}

/// Keeps one document fresh.
#[derive(Debug)]
pub struct Fetch<R> {
    /// The setting that contains the URL, for the log.
    key: &'static str,
    endpoint: Endpoint,
    recipient: R,
    clock: Clock,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    /// Why the last attempt failed, if it did.
    failing: watch::Sender<Option<String>>,
    fraction: fn() -> f64,
    taken: Option<Taken>,
    failures: u32,
    /// When the first of these failures occurred.
    failing_since: Instant,
    /// Failures that were logged since the last success; at most [`MAX_LOGGED`].
    logged: Vec<String>,
    last_early: Option<UnixTime>,
    /// When `Retry-After` was received, and its value.
    retry_after: Option<(UnixTime, Duration)>,
}

/// Requests early fetches of a document.
#[derive(Clone, Debug)]
pub struct Refresher {
    key: &'static str,
    requests: mpsc::Sender<oneshot::Sender<()>>,
    failing: watch::Receiver<Option<String>>,
}

/// The content in use.
#[derive(Debug)]
struct Taken {
    digest: digest::Digest,
    etag: Option<HeaderValue>,
    /// How long it stays fresh, as its fields state.
    lifetime: Option<Duration>,
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Call(#[from] Error),
    #[error("{0}")]
    Unusable(String),
}

impl Refresher {
    /// Fetches the document before it is due, and returns after the fetch, so that the caller can check whether the new content
    /// has what was missing. Concurrent callers share one request. Within a minute of an early fetch, and while `Retry-After`
    /// applies, this returns at once. The shared fetch may have begun before this call: if something is still missing, call
    /// this once more.
    pub async fn refresh(&self) {
        let (waiter, ended) = oneshot::channel();
        // An error means that the fetch has ended: return at once.
        if self.requests.send(waiter).await.is_ok() {
            let _ = ended.await;
        }
    }

    /// The setting that contains the document's URL.
    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// Why the last fetch failed, in one line that names the setting; `None`: it succeeded.
    pub fn failing(&self) -> Option<String> {
        self.failing.borrow().clone()
    }
}

impl<R: Recipient> Fetch<R> {
    /// Fetches the document at `endpoint`, the URL in the setting `key`.
    pub fn new(
        key: &'static str,
        endpoint: Endpoint,
        recipient: R,
        clock: Clock,
    ) -> (Self, Refresher) {
        let (sender, requests) = mpsc::channel(16);
        let (failing, failed) = watch::channel(None);
        let this = Self {
            key,
            endpoint,
            recipient,
            clock,
            requests,
            failing,
            fraction: random::fraction,
            taken: None,
            failures: 0,
            failing_since: Instant::now(),
            logged: Vec::new(),
            last_early: None,
            retry_after: None,
        };
        (this, Refresher { key, requests: sender, failing: failed })
    }

    /// Fetches at once, and then again and again.
    pub async fn run(mut self) {
        let mut next = self.clock.now();
        loop {
            tokio::select! {
                () = self.clock.reached(next) => next = self.refresh().await,
                Some(_waiter) = self.requests.recv() => {
                    if self.may_refresh_early() {
                        self.last_early = Some(self.clock.now());
                        next = self.refresh().await;
                    }
                }
            }
            // Callers that arrived during the fetch have their result: dropping their senders wakes them.
            while self.requests.try_recv().is_ok() {}
        }
    }

    fn may_refresh_early(&self) -> bool {
        let now = self.clock.now();
        // A moment in the future means that the clock was set back.
        let within = |since: UnixTime, span| since <= now && now < since.saturating_add(span);
        let is_recent = self.last_early.is_some_and(|came| within(came, COOLDOWN));
        let must_wait = self.retry_after.is_some_and(|(since, span)| within(since, span));
        !is_recent && !must_wait
    }

    /// Fetches, and returns when to fetch again.
    async fn refresh(&mut self) -> UnixTime {
        let done = self.fetch().await;
        let now = self.clock.now();
        let fraction = (self.fraction)();
        let wait = match done {
            Ok(lifetime) => {
                self.succeeded();
                freshness::wait(lifetime, fraction)
            }
            Err(failure) => {
                let retry_after = failure.retry_after();
                if self.failures == 0 {
                    self.failing_since = Instant::now();
                }
                self.failures = self.failures.saturating_add(1);
                self.retry_after = retry_after.map(|span| (now, span));
                self.log(&failure);
                BACKOFF.after(self.failures, retry_after, fraction)
            }
        };
        now.saturating_add(wait)
    }

    /// Fetches, and returns how long the content stays fresh.
    async fn fetch(&mut self) -> Result<Option<Duration>, Failure> {
        let mut call = Call::get(MAX_DOCUMENT_BYTES);
        if let Some(etag) = self.taken.as_ref().and_then(|taken| taken.etag.clone()) {
            call = call.field(IF_NONE_MATCH, etag);
        }
        let answer = self.endpoint.call(call).await?;
        let lifetime = freshness::lifetime(&answer.fields, answer.at);
        match (answer.status, &mut self.taken) {
            (StatusCode::OK, _) => self.take(answer, lifetime).await.map(|()| lifetime),
            // Fields that a 304 does not repeat keep their values (RFC 9111 section 4.3.4).
            (StatusCode::NOT_MODIFIED, Some(Taken { etag: Some(_), lifetime: before, .. })) => {
                *before = lifetime.or(*before);
                Ok(*before)
            }
            _ => Err(self.endpoint.refused(&answer).into()),
        }
    }

    async fn take(&mut self, answer: Answer, lifetime: Option<Duration>) -> Result<(), Failure> {
        let digest = digest::digest(&digest::SHA256, &answer.body);
        let etag = answer.fields.get(ETAG).cloned();
        let known = |taken: &Taken| taken.digest.as_ref() == digest.as_ref();
        if !self.taken.as_ref().is_some_and(known) {
            self.recipient.take(answer.body).await.map_err(Failure::Unusable)?;
        }
        self.taken = Some(Taken { digest, etag, lifetime });
        Ok(())
    }

    fn succeeded(&mut self) {
        if self.failures > 0 {
            let failures = self.failures;
            let duration_ms = self.failing_since.elapsed().as_millis();
            tracing::info!(failures, duration_ms, "{} is fetched again", self.key);
        }
        self.failures = 0;
        self.retry_after = None;
        self.failing.send_replace(None);
        self.logged.clear();
    }

    /// Logs a failure, once for each kind until the next success.
    fn log(&mut self, failure: &Failure) {
        let kind = failure.to_string();
        let error = chain(failure);
        let named = match failure {
            Failure::Call(_) => error.clone(),
            Failure::Unusable(_) => format!("{}: {error}", self.key),
        };
        self.failing.send_replace(Some(named));
        if self.logged.len() >= MAX_LOGGED || self.logged.contains(&kind) {
            return;
        }
        self.logged.push(kind);
        let key = self.key;
        tracing::warn!(
            event = "fetch.failed",
            error,
            "{key} could not be fetched: the last good content stays in use, and the fetch is repeated"
        );
    }
}

impl Failure {
    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.retry_after(),
            Self::Unusable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
