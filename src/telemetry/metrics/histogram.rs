//! Histograms of durations: plain relaxed atomics, as the other counts of a worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of [`Histogram`] buckets, in microseconds. One more bucket has no bound.
pub(super) type Bounds<const N: usize> = [u64; N];

/// Of requests. The gate itself takes less than 1 ms, panels take 10 ms to 10 s, proxies and data sources commonly give up
/// after 30 s or 60 s, and what takes longer than 300 s is a stream.
pub(super) const REQUEST: Bounds<16> = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// Of new connections. A sidecar takes less than 0.5 ms, a TLS handshake some milliseconds; 5 s is the default of
/// `upstream.connect_timeout`.
pub(super) const CONNECT: Bounds<11> =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// Durations of one kind, counted by one thread.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    above: AtomicU64,
    /// Enough for 584 years.
    nanoseconds: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    pub(super) const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Counts a duration of so many nanoseconds.
    pub(super) fn observe(&self, bounds: &Bounds<N>, nanoseconds: u64) {
        let mut slots = bounds.iter().zip(&self.buckets);
        let slot = slots.find(|(bound, _)| nanoseconds <= **bound * 1_000);
        add(slot.map_or(&self.above, |(_, slot)| slot), 1);
        add(&self.nanoseconds, nanoseconds);
    }
}

/// Only the thread of the worker writes: no locked instruction is needed, and a scrape reads the old or the new value.
pub(super) fn add(count: &AtomicU64, by: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Histograms of several workers, added up.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    /// Of each bucket alone; the last has no bound.
    buckets: Vec<u64>,
    nanoseconds: u64,
}

impl Sums {
    pub(super) fn add<const N: usize>(&mut self, histogram: &Histogram<N>) {
        self.buckets.resize(N + 1, 0);
        let counts = histogram.buckets.iter().chain([&histogram.above]);
        for (sum, count) in self.buckets.iter_mut().zip(counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        self.nanoseconds += histogram.nanoseconds.load(Ordering::Relaxed);
    }

    /// Number of observations.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Sum of the observations in seconds.
    pub(super) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanoseconds).as_secs_f64()
    }

    /// Upper bounds in seconds, each with the count of its bucket alone.
    pub(super) fn buckets(&self, bounds: &[u64]) -> Vec<(f64, u64)> {
        let seconds = bounds.iter().map(|bound| Duration::from_micros(*bound).as_secs_f64());
        seconds.chain([f64::INFINITY]).zip(self.buckets.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let bounds = [1_000, 5_000];
        let histogram = Histogram::new();
        for nanoseconds in [0, 1_000_000, 1_000_001, 5_000_000, 5_000_001, 7_000_000_000] {
            histogram.observe(&bounds, nanoseconds);
        }
        let mut sums = Sums::default();
        sums.add(&histogram);
        assert_eq!(sums.buckets(&bounds), [(0.001, 2), (0.005, 2), (f64::INFINITY, 2)]);
        assert_eq!(sums.count(), 6);
        assert!((sums.seconds() - 7.012_000_002).abs() < 1e-9, "{}", sums.seconds());
        sums.add(&histogram);
        assert_eq!(sums.count(), 12);
    }

    #[test]
    fn bounds_ascend() {
        assert!(REQUEST.is_sorted_by(|a, b| a < b) && CONNECT.is_sorted_by(|a, b| a < b));
    }
}
