//! Contacts with the dashboard: when one last succeeded, when one last failed, and what follows for `upstream_up`.
//!
//! A contact succeeds if a response begins, whatever its status, or if a probe succeeds. It fails if no connection is made,
//! or no valid response comes. Each worker notes successes on its own; failures are noted in one place.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Moment;
use crate::text::chain;

/// A failure counts once no contact has succeeded for this time: one of many requests that fails is not an outage.
const DOUBT: Duration = Duration::from_secs(1);

/// Whether the dashboard can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reached {
    /// There was no contact yet.
    #[default]
    Unknown,
    /// The last contact succeeded, or one did within the last second.
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
    pub last: Option<Moment>,
    /// When a failure will turn [`reached`](Self::reached) to [`Reached::Down`], unless a contact succeeds before.
    pub doubt_ends: Option<Moment>,
}

/// The failures of all workers.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// Moment of the last one; 0: none.
    at: AtomicU64,
    /// Moment of the one that `cause` describes; 0: none.
    described: AtomicU64,
    cause: Mutex<String>,
    news: Notify,
}

impl Failed {
    /// Notes that a contact failed. Of many failures in a row, one in a second is described.
    #[cold]
    pub(super) fn note(&self, at: Moment, error: &(dyn Error + 'static)) {
        self.at.fetch_max(at.to_bits(), Ordering::Relaxed);
        let described = Moment::from_bits(self.described.load(Ordering::Relaxed));
        if described == Moment::NEVER || described.after(DOUBT) <= at {
            self.described.store(at.to_bits(), Ordering::Relaxed);
            *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = chain(error);
        }
        self.news.notify_one();
    }

    /// The cause of a recent failure.
    pub(super) fn cause(&self) -> String {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resolves when a contact has failed since the last call.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// The contacts after `since`, if the last that succeeded did so at `succeeded`.
    pub(super) fn contacts(&self, succeeded: Moment, since: Moment, now: Moment) -> Contacts {
        let counts = |moment: Moment| if moment > since { moment } else { Moment::NEVER };
        let succeeded = counts(succeeded);
        let failed = counts(Moment::from_bits(self.at.load(Ordering::Relaxed)));
        let last = succeeded.max(failed);
        let doubt_ends = succeeded.after(DOUBT);
        let reached = match failed > succeeded {
            false if succeeded == Moment::NEVER => Reached::Unknown,
            false => Reached::Up,
            true if succeeded != Moment::NEVER && now < doubt_ends => Reached::Up,
            true => Reached::Down,
        };
        Contacts {
            reached,
            last: (last != Moment::NEVER).then_some(last),
            doubt_ends: (failed > succeeded && reached == Reached::Up).then_some(doubt_ends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_contact_decides_unless_another_succeeded_within_the_second() {
        let failed = Failed::default();
        let boot = Moment::now();
        let at = |millis| boot.after(Duration::from_millis(millis));
        let contacts = |succeeded: Option<u64>, now| {
            failed.contacts(succeeded.map_or(Moment::NEVER, at), Moment::NEVER, at(now))
        };
        let reached = |succeeded, now| contacts(succeeded, now).reached;
        assert_eq!(reached(None, 60_000), Reached::Unknown);
        assert_eq!(reached(Some(500), 60_000), Reached::Up, "an old success is the last contact");
        failed.note(at(10_000), &std::fmt::Error);
        // A success just before: it takes a second without another.
        assert_eq!(reached(Some(9_900), 10_001), Reached::Up);
        assert_eq!(reached(Some(9_900), 10_899), Reached::Up);
        assert_eq!(contacts(Some(9_900), 10_899).doubt_ends, Some(at(10_900)));
        assert_eq!(reached(Some(9_900), 10_900), Reached::Down);
        assert_eq!(contacts(Some(9_900), 10_900).doubt_ends, None);
        // None for long: at once. One after it: never.
        assert_eq!(reached(Some(500), 10_001), Reached::Down);
        assert_eq!(reached(None, 10_001), Reached::Down);
        assert_eq!(reached(Some(10_001), 60_000), Reached::Up);
        assert_eq!(contacts(Some(10_001), 60_000).last, Some(at(10_001)));
        assert_eq!(contacts(Some(500), 60_000).last, Some(at(10_000)));
        // Contacts with another dashboard do not count.
        let none = failed.contacts(at(9_900), at(10_000), at(10_001));
        assert_eq!((none.reached, none.last), (Reached::Unknown, None));
        assert_eq!(failed.contacts(at(10_002), at(10_001), at(10_003)).reached, Reached::Up);
    }

    #[test]
    fn of_many_failures_one_in_a_second_is_described() {
        let (failed, boot) = (Failed::default(), Moment::now());
        let cases =
            [(0, "first"), (600, "first"), (1_000, "third"), (1_900, "third"), (2_100, "fifth")];
        for ((millis, expected), error) in
            cases.into_iter().zip(["first", "second", "third", "fourth", "fifth"])
        {
            failed.note(boot.after(Duration::from_millis(millis)), &std::io::Error::other(error));
            assert_eq!(failed.cause(), expected, "{error}");
        }
    }

    #[test]
    fn each_failure_is_news_however_soon_after_another() {
        use futures_util::FutureExt;

        let (failed, boot) = (Failed::default(), Moment::now());
        assert!(failed.news().now_or_never().is_none());
        for millis in [0, 900, 1_001] {
            failed.note(boot.after(Duration::from_millis(millis)), &std::fmt::Error);
            assert!(failed.news().now_or_never().is_some(), "after {millis} ms");
        }
    }
}
