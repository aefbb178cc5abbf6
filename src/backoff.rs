//! The wait after a number of consecutive failures.

use std::time::Duration;

/// A wait that doubles with each failure.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
}

impl Backoff {
    /// The wait after `failures` in a row; at least `retry_after`. It is shortened by a `fraction` (0 to 1) of a quarter, so
    /// that gates that failed together do not retry together.
    pub fn after(self, failures: u32, retry_after: Option<Duration>, fraction: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let wait = self.first.saturating_mul(doubled).min(self.most);
        let wait = wait - share(wait / 4, fraction);
        wait.max(retry_after.unwrap_or_default())
    }
}

/// A `fraction` (0 to 1) of `duration`.
pub fn share(duration: Duration, fraction: f64) -> Duration {
    // NaN counts as 0.
    duration.mul_f64(if fraction > 0.0 { fraction.min(1.0) } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_only_shortens_them() {
        let backoff = Backoff { first: Duration::from_secs(60), most: Duration::from_secs(3600) };
        let after = |failures, retry_after: Option<u64>, fraction| {
            backoff.after(failures, retry_after.map(Duration::from_secs), fraction).as_secs()
        };
        let cases = [
            (0, None, 0.0, 60),
            (1, None, 0.0, 60),
            (2, None, 0.0, 120),
            (6, None, 0.0, 1920),
            (7, None, 0.0, 3600),
            (33, None, 0.0, 3600),
            (u32::MAX, None, 0.0, 3600),
            (1, None, 1.0, 45),
            (1, None, 0.5, 52),
            (7, None, 1.0, 2700),
            (1, None, 7.0, 45),
            (1, None, -7.0, 60),
            (1, None, f64::NAN, 60),
            (1, Some(50), 1.0, 50),
            (1, Some(50), 0.0, 60),
            (7, Some(86_400), 0.5, 86_400),
        ];
        for (failures, retry_after, fraction, expected) in cases {
            let found = after(failures, retry_after, fraction);
            assert_eq!(found, expected, "{failures} {retry_after:?} {fraction}");
        }
    }
}
