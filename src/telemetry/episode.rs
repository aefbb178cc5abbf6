//! A failure that repeats, as it is logged: when it begins, at most once a minute while it lasts, when it ends.

use std::time::{Duration, Instant};

/// Between two lines about the same failure.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// One kind of failure. One that ends and begins again within a minute is told of in the next minute, so that a failure that
/// comes and goes costs two lines a minute at most, and the last line is true.
#[derive(Debug, Default)]
pub struct Episode {
    /// When the first failure came; `None`: there is none now.
    since: Option<Instant>,
    failures: u64,
    /// Failures that no line has told of.
    untold: u64,
    told_at: Option<Instant>,
    /// Whether the last line says that there is a failure.
    is_told: bool,
}

/// What a line about an episode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// While it lasts, those since the last line; at its end, all.
    pub failures: u64,
    /// Since the first of this episode.
    pub duration: Duration,
}

impl Report {
    /// [`duration`](Self::duration) as logs have it.
    pub fn duration_ms(self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Episode {
    /// Counts a failure: what is to be logged now, if anything.
    pub fn failed(&mut self, now: Instant) -> Option<Report> {
        let since = *self.since.get_or_insert(now);
        self.failures += 1;
        self.untold += 1;
        if self.told_at.is_some_and(|at| now.saturating_duration_since(at) < BETWEEN_LINES) {
            return None;
        }
        (self.told_at, self.is_told) = (Some(now), true);
        let failures = std::mem::take(&mut self.untold);
        Some(Report { failures, duration: now.saturating_duration_since(since) })
    }

    /// It works again: what is to be logged now, if anything.
    pub fn ended(&mut self, now: Instant) -> Option<Report> {
        let since = self.since.take()?;
        let failures = std::mem::take(&mut self.failures);
        if !std::mem::take(&mut self.is_told) {
            return None;
        }
        self.untold = 0;
        Some(Report { failures, duration: now.saturating_duration_since(since) })
    }

    /// Whether it has not ended.
    pub const fn is_on(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_minutes_and_end_are_told() {
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        let told = |failures, secs| Some(Report { failures, duration: Duration::from_secs(secs) });
        let mut episode = Episode::default();
        assert_eq!(episode.ended(at(0)), None, "there was none");
        assert_eq!(episode.failed(at(0)), told(1, 0));
        for second in 1..60 {
            assert_eq!(episode.failed(at(second)), None);
        }
        assert_eq!(episode.failed(at(60)), told(60, 60));
        assert_eq!(episode.failed(at(61)), None);
        assert_eq!(episode.ended(at(70)), told(62, 70));
        assert_eq!(episode.ended(at(71)), None);
    }

    #[test]
    fn what_comes_and_goes_costs_two_lines_a_minute_and_none_is_lost() {
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        let mut episode = Episode::default();
        let mut told = Vec::new();
        for second in (0..180).step_by(2) {
            told.extend(episode.failed(at(second)).map(|report| report.failures));
            told.extend(episode.ended(at(second + 1)).map(|report| report.failures));
        }
        // Of each minute one failure that is told with those before it, and the end of that one.
        assert_eq!(told, [1, 1, 30, 1, 30, 1]);
        assert!(!episode.is_on());
    }
}
