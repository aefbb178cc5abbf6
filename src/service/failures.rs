//! Logs failed requests: each kind of failure when it begins, at most once a minute while it lasts, and when it ends.
//!
//! Single requests are in the access log. Shared by all workers; a successful request costs one load of a flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::api::endpoint::Endpoint;
use crate::problem::Problem;
use crate::proxy::RequestId;
use crate::telemetry::Episode;

/// The failures of one gate.
#[derive(Debug, Default)]
pub struct Failures {
    /// Forwarded requests.
    pub(super) dashboard: Area<()>,
    /// The licensing API, by endpoint.
    pub(super) licensing: Area<Endpoint>,
    /// Refusals of the gate itself.
    pub(super) gate: Area<()>,
    /// The addresses of `server.redirect`.
    pub(super) redirect: Area<Redirected>,
}

/// What an address of `server.redirect` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirected {
    /// With a redirect.
    Elsewhere,
    /// With a challenge of `server.acme_dir`.
    Challenge,
}

/// The failures of one area. Those at the same place end together.
#[derive(Debug)]
pub(super) struct Area<P> {
    is_failing: AtomicBool,
    kinds: Mutex<Vec<Kind<P>>>,
}

/// One code at one place. Both are from small fixed sets.
#[derive(Debug)]
struct Kind<P> {
    place: P,
    code: String,
    episode: Episode,
}

// Not derived: `derive` would require `P: Default`.
impl<P> Default for Area<P> {
    fn default() -> Self {
        Self { is_failing: AtomicBool::new(false), kinds: Mutex::default() }
    }
}

impl<P: Copy + PartialEq> Area<P> {
    /// Counts `problem`, and logs it unless its kind was logged within the last minute.
    #[cold]
    pub(super) fn failed(&self, place: P, problem: &Problem, id: &RequestId) {
        let (status, code) = (problem.status().as_u16(), problem.code());
        let report = {
            let mut kinds = self.kinds();
            let known = kinds.iter().position(|kind| kind.place == place && kind.code == code);
            let at = known.unwrap_or_else(|| {
                kinds.push(Kind { place, code: code.to_owned(), episode: Episode::default() });
                kinds.len() - 1
            });
            self.is_failing.store(true, Ordering::Relaxed);
            kinds[at].episode.failed(Instant::now())
        };
        let Some(report) = report else { return };
        let message = if report.failures == 1 { "a request failed" } else { "requests fail" };
        tracing::warn!(
            event = "request.failed",
            request_id = id.as_str(),
            status,
            code,
            cause = problem.causes(),
            failures = report.failures,
            duration_ms = report.duration_ms(),
            "{message}"
        );
    }

    /// A request at `place` succeeded: ends the failures there.
    pub(super) fn works(&self, place: P) {
        if self.is_failing.load(Ordering::Relaxed) {
            self.ended(place);
        }
    }

    #[cold]
    fn ended(&self, place: P) {
        let now = Instant::now();
        let mut kinds = self.kinds();
        for kind in kinds.iter_mut().filter(|kind| kind.place == place) {
            if let Some(report) = kind.episode.ended(now) {
                tracing::info!(
                    event = "request.recovered",
                    code = kind.code,
                    failures = report.failures,
                    duration_ms = report.duration_ms(),
                    "requests no longer fail"
                );
            }
        }
        let is_failing = kinds.iter().any(|kind| kind.episode.is_on());
        self.is_failing.store(is_failing, Ordering::Relaxed);
    }

    fn kinds(&self) -> MutexGuard<'_, Vec<Kind<P>>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
