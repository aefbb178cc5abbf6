//! A document behind a URL, kept fresh: `license.jwks_url`, and `license.revocations` when it is a URL.
//!
//! A [`Fetch`] asks by itself as often as the answers say it may, and hands what is new to a [`Recipient`], who says whether
//! it can be used. What cannot be fetched or used changes nothing: what was good stays, and it is asked for again after a
//! wait that grows, or as long as the other side wants. An [`Early`] has it asked for before its time.

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

/// The longest document.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// Between two early requests.
const COOLDOWN: Duration = Duration::from_secs(60);

/// After failures.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(10), most: Duration::from_secs(60 * 60) };

/// So many kinds of failure in a row are logged.
const MOST_LOGGED: usize = 16;

/// Who wants the document.
pub trait Recipient: Send {
    /// Takes new content into use, or says what is wrong with it, in a line fit for the log.
    fn take(&mut self, content: Bytes) -> impl Future<Output = Result<(), String>> + Send;
}

/// Keeps one document fresh.
#[derive(Debug)]
pub struct Fetch<R> {
    /// The setting that names it, for the log.
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
    /// When the first of them came.
    failing_since: Instant,
    /// Kinds of failure since it last went well.
    logged: Vec<String>,
    came_early: Option<UnixTime>,
    /// The other side wants to be left alone for so long, from then on.
    left_alone: Option<(UnixTime, Duration)>,
}

/// Has a document asked for before its time.
#[derive(Clone, Debug)]
pub struct Early {
    key: &'static str,
    requests: mpsc::Sender<oneshot::Sender<()>>,
    failing: watch::Receiver<Option<String>>,
}

/// The content in use.
#[derive(Debug)]
struct Taken {
    digest: digest::Digest,
    etag: Option<HeaderValue>,
    /// How long it stays fresh, by its own fields.
    lifetime: Option<Duration>,
}

/// Why there is nothing new that is good.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Call(#[from] Error),
    #[error("{0}")]
    Unusable(String),
}

impl Early {
    /// Returns when the document has been asked for, so that a caller that missed something in it can look again. Many who ask at
    /// once get one request, and within a minute of it nobody gets another: then this returns at once. A request that was
    /// under way already does not count: who still misses something asks once more.
    pub async fn refresh(&self) {
        let (asking, ended) = oneshot::channel();
        // A fetch that has ended for good lets nobody wait either.
        if self.requests.send(asking).await.is_ok() {
            let _ = ended.await;
        }
    }

    /// The setting that names the document.
    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// Why the document could not be fetched when that was last tried, in a line that names the setting.
    pub fn failing(&self) -> Option<String> {
        self.failing.borrow().clone()
    }
}

impl<R: Recipient> Fetch<R> {
    /// The document at `endpoint`, which the setting `key` names.
    pub fn new(key: &'static str, endpoint: Endpoint, recipient: R, clock: Clock) -> (Self, Early) {
        let (asking, requests) = mpsc::channel(16);
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
            came_early: None,
            left_alone: None,
        };
        (this, Early { key, requests: asking, failing: failed })
    }

    /// Asks at once, and for ever.
    pub async fn run(mut self) {
        let mut next = self.clock.now();
        loop {
            tokio::select! {
                () = self.clock.reached(next) => next = self.refresh().await,
                Some(_asking) = self.requests.recv() => {
                    if self.may_come_early() {
                        self.came_early = Some(self.clock.now());
                        next = self.refresh().await;
                    }
                }
            }
            // Whoever asked meanwhile has got what was asked for: the end of their wait.
            while self.requests.try_recv().is_ok() {}
        }
    }

    fn may_come_early(&self) -> bool {
        let now = self.clock.now();
        // A moment still to come is one of a clock that was set back.
        let within = |since: UnixTime, span| since <= now && now < since.saturating_add(span);
        let came = self.came_early.is_some_and(|came| within(came, COOLDOWN));
        let left_alone = self.left_alone.is_some_and(|(since, span)| within(since, span));
        !came && !left_alone
    }

    /// Asks, and says when to ask again.
    async fn refresh(&mut self) -> UnixTime {
        let done = self.fetch().await;
        let now = self.clock.now();
        let fraction = (self.fraction)();
        let wait = match done {
            Ok(lifetime) => {
                self.went_well();
                freshness::wait(lifetime, fraction)
            }
            Err(failure) => {
                let asked = failure.retry_after();
                if self.failures == 0 {
                    self.failing_since = Instant::now();
                }
                self.failures = self.failures.saturating_add(1);
                self.left_alone = asked.map(|span| (now, span));
                self.tell(&failure);
                BACKOFF.after(self.failures, asked, fraction)
            }
        };
        now.saturating_add(wait)
    }

    /// Asks, and says how long what is in use now stays fresh.
    async fn fetch(&mut self) -> Result<Option<Duration>, Failure> {
        let mut call = Call::get(MAX_DOCUMENT_BYTES);
        if let Some(etag) = self.taken.as_ref().and_then(|taken| taken.etag.clone()) {
            call = call.field(IF_NONE_MATCH, etag);
        }
        let answer = self.endpoint.call(call).await?;
        let lifetime = freshness::lifetime(&answer.fields, answer.at);
        match (answer.status, &mut self.taken) {
            (StatusCode::OK, _) => self.take(answer, lifetime).await.map(|()| lifetime),
            // What it does not say anew counts as before (RFC 9111 section 4.3.4).
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

    fn went_well(&mut self) {
        if self.failures > 0 {
            let failures = self.failures;
            let duration_ms = self.failing_since.elapsed().as_millis();
            tracing::info!(failures, duration_ms, "{} is fetched again", self.key);
        }
        self.failures = 0;
        self.left_alone = None;
        self.failing.send_replace(None);
        self.logged.clear();
    }

    /// Says what went wrong, once for each kind until it goes well again.
    fn tell(&mut self, failure: &Failure) {
        let kind = failure.to_string();
        let error = chain(failure);
        let named = match failure {
            Failure::Call(_) => error.clone(),
            Failure::Unusable(_) => format!("{}: {error}", self.key),
        };
        self.failing.send_replace(Some(named));
        if self.logged.len() >= MOST_LOGGED || self.logged.contains(&kind) {
            return;
        }
        self.logged.push(kind);
        let key = self.key;
        tracing::warn!(
            event = "fetch.failed",
            error,
            "{key} could not be fetched; what was there stays in use, and it is asked for again"
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
