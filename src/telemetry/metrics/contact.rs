//! Contacts with the dashboard: when one last succeeded, when one last failed, and what follows for `upstream_up`.
//!
//! A contact succeeds if a response begins, whatever its status, or if a probe is satisfied. It fails if no connection is
//! made, or no valid response comes. Successes are noted by each worker on its own, failures in one place.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::histogram::nanoseconds;
use crate::text::chain;

/// A failure counts once no contact has succeeded for this time: one of many requests that fails is not an outage.
const DOUBT: Duration = Duration::from_secs(1);

/// Whether the dashboard can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reached {
    /// There was no contact yet, or only one that failed within the last second.
    #[default]
    Unknown,
    /// The last contact succeeded.
    Up,
    /// The last contact failed, and none succeeded within the last second.
    Down,
}

/// The last contacts as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contacts {
    /// What they show.
    pub reached: Reached,
    /// When the last one ended, well or not.
    pub last: Option<Instant>,
    /// When a failure may turn [`reached`](Self::reached) to [`Reached::Down`], if no contact succeeds until then.
    pub doubt_ends: Option<Instant>,
}

/// The failures of all workers, and the time scale of their successes.
#[derive(Debug)]
pub(super) struct Failed {
    epoch: Instant,
    /// Time of the last failure; 0: none.
    at: AtomicU64,
    cause: Mutex<String>,
    news: Notify,
}

impl Default for Failed {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            at: AtomicU64::new(0),
            cause: Mutex::default(),
            news: Notify::new(),
        }
    }
}

impl Failed {
    /// Nanoseconds from the epoch to `at`, never 0.
    pub(super) fn time(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.epoch)).max(1)
    }

    /// A contact failed. Its cause is kept, but not described anew for each of many failures.
    #[cold]
    pub(super) fn note(&self, at: Instant, error: &(dyn Error + 'static)) {
        let at = self.time(at);
        let before = self.at.fetch_max(at, Ordering::Relaxed);
        if before == 0 || before.saturating_add(nanoseconds(DOUBT)) <= at {
            *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = chain(error);
            self.news.notify_one();
        }
    }

    /// The cause of a recent failure.
    pub(super) fn cause(&self) -> String {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resolves when a contact has failed, at most once a second.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// The contacts, if the last that succeeded did so at `succeeded`; 0: none.
    pub(super) fn contacts(&self, succeeded: u64, now: Instant) -> Contacts {
        let failed = self.at.load(Ordering::Relaxed);
        let moment = |time: u64| self.epoch + Duration::from_nanos(time);
        // Without any success, the doubt begins with the gate.
        let doubt_ends = moment(succeeded) + DOUBT;
        let reached = match (succeeded, failed) {
            (0, 0) => Reached::Unknown,
            _ if succeeded >= failed => Reached::Up,
            _ if doubt_ends <= now => Reached::Down,
            (0, _) => Reached::Unknown,
            _ => Reached::Up,
        };
        let last = succeeded.max(failed);
        Contacts {
            reached,
            last: (last > 0).then(|| moment(last)),
            doubt_ends: (failed > succeeded && reached != Reached::Down).then_some(doubt_ends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_contact_decides_unless_others_succeed_within_the_second() {
        let failed = Failed::default();
        let at = |millis| failed.epoch + Duration::from_millis(millis);
        let reached = |succeeded: Option<u64>, now| {
            let succeeded = succeeded.map_or(0, |millis| failed.time(at(millis)));
            failed.contacts(succeeded, at(now)).reached
        };
        assert_eq!(reached(None, 60_000), Reached::Unknown);
        assert_eq!(reached(Some(500), 60_000), Reached::Up, "an old success is the last contact");
        failed.note(at(10_000), &std::fmt::Error);
        // A success just before: it takes a second of silence.
        assert_eq!(reached(Some(9_900), 10_001), Reached::Up);
        assert_eq!(reached(Some(9_900), 10_899), Reached::Up);
        assert_eq!(reached(Some(9_900), 10_900), Reached::Down);
        // None for long: at once. One after it: never.
        assert_eq!(reached(Some(500), 10_001), Reached::Down);
        assert_eq!(reached(Some(10_001), 60_000), Reached::Up);
        assert_eq!(reached(None, 10_001), Reached::Down);
    }

    #[test]
    fn the_first_failure_of_a_young_gate_is_in_doubt() {
        let failed = Failed::default();
        failed.note(failed.epoch + Duration::from_millis(10), &std::fmt::Error);
        let contacts = |millis| failed.contacts(0, failed.epoch + Duration::from_millis(millis));
        assert_eq!(contacts(20).reached, Reached::Unknown);
        assert_eq!(contacts(20).doubt_ends, Some(failed.epoch + DOUBT));
        assert_eq!(contacts(1_000).reached, Reached::Down);
        assert_eq!(contacts(1_000).doubt_ends, None);
    }
}
