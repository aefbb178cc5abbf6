//! When to log a failure that repeats: when it begins, at most once a minute while it lasts, and when it ends.

use std::time::{Duration, Instant};

/// Shortest time between two lines about the same failure.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// One kind of failure. If it ends and begins again within a minute, the new begin is logged in the next minute. An
/// intermittent failure therefore costs at most two lines a minute, and the last line states the present state.
#[derive(Debug, Default)]
pub struct Episode {
    /// Time of the first failure; `None`: there is no failure now.
    since: Option<Instant>,
    failures: u64,
    /// Failures since the last line.
    unlogged: u64,
    logged_at: Option<Instant>,
    /// Whether the last line was about a failure rather than its end.
    is_logged: bool,
}

/// The figures of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// While the failure lasts: failures since the last line. At its end: all.
    pub failures: u64,
    /// Time since the first failure.
    pub duration: Duration,
}

impl Report {
    /// [`duration`](Self::duration) in milliseconds, for the field `duration_ms`.
    pub fn duration_ms(self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Episode {
    /// No failure so far.
    pub const fn new() -> Self {
        Self { since: None, failures: 0, unlogged: 0, logged_at: None, is_logged: false }
    }

    /// Counts a failure. `Some`: log it now.
    pub fn failed(&mut self, now: Instant) -> Option<Report> {
        let since = *self.since.get_or_insert(now);
        self.failures += 1;
        self.unlogged += 1;
        if self.logged_at.is_some_and(|at| now.saturating_duration_since(at) < BETWEEN_LINES) {
            return None;
        }
        (self.logged_at, self.is_logged) = (Some(now), true);
        let failures = std::mem::take(&mut self.unlogged);
        Some(Report { failures, duration: now.saturating_duration_since(since) })
    }

    /// Ends the failure. `Some`: log the end now.
    pub fn ended(&mut self, now: Instant) -> Option<Report> {
        let since = self.since.take()?;
        let failures = std::mem::take(&mut self.failures);
        if !std::mem::take(&mut self.is_logged) {
            return None;
        }
        self.unlogged = 0;
        Some(Report { failures, duration: now.saturating_duration_since(since) })
    }

    /// Whether the failure lasts.
    pub const fn is_on(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_minutes_and_end_are_logged() {
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        let line = |failures, secs| Some(Report { failures, duration: Duration::from_secs(secs) });
        let mut episode = Episode::default();
        assert_eq!(episode.ended(at(0)), None, "there was none");
        assert_eq!(episode.failed(at(0)), line(1, 0));
        for second in 1..60 {
            assert_eq!(episode.failed(at(second)), None);
        }
        assert_eq!(episode.failed(at(60)), line(60, 60));
        assert_eq!(episode.failed(at(61)), None);
        assert_eq!(episode.ended(at(70)), line(62, 70));
        assert_eq!(episode.ended(at(71)), None);
    }

    #[test]
    fn an_intermittent_failure_costs_two_lines_a_minute_and_every_failure_is_counted() {
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        let mut episode = Episode::default();
        let mut logged = Vec::new();
        for second in (0..180).step_by(2) {
            logged.extend(episode.failed(at(second)).map(|report| report.failures));
            logged.extend(episode.ended(at(second + 1)).map(|report| report.failures));
        }
        // Each minute: one failure with the count of those before it, and its end.
        assert_eq!(logged, [1, 1, 30, 1, 30, 1]);
        assert!(!episode.is_on());
    }
}
