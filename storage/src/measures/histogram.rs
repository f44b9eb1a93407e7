//! How long things took, in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Most buckets that any of etcd's histograms has, and one for what is longer.
const BUCKETS_MAX: usize = 25;

/// Counts of durations below bounds that double from one to the next.
#[derive(Debug)]
pub struct Histogram {
    first: f64,
    count: usize,
    /// Of these `count` are used, and one for what is longer.
    buckets: [AtomicU64; BUCKETS_MAX],
    nanos: AtomicU64,
}

impl Histogram {
    /// `count` buckets, the first up to `first` seconds.
    pub fn new(first: f64, count: usize) -> Self {
        assert!(count < BUCKETS_MAX, "{count} buckets");
        Self { first, count, buckets: Default::default(), nanos: AtomicU64::new(0) }
    }

    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut bound = self.first;
        let mut index = 0;
        while index < self.count && seconds > bound {
            bound *= 2.0;
            index += 1;
        }
        self.buckets[index].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Bounds in seconds, each with how many lie at or below it; the last bound is infinite.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut all = 0;
        let mut bound = self.first;
        let mut found = Vec::with_capacity(self.count + 1);
        for bucket in &self.buckets[..self.count] {
            all += bucket.load(Ordering::Relaxed);
            found.push((bound, all));
            bound *= 2.0;
        }
        all += self.buckets[self.count].load(Ordering::Relaxed);
        found.push((f64::INFINITY, all));
        found
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets().last().map_or(0, |(_, all)| *all)
    }

    /// The sum of all.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_all_that_is_shorter() {
        let histogram = Histogram::new(0.001, 14);
        for millis in [0, 1, 3, 20_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.len(), 15);
        assert_eq!(buckets[0], (0.001, 2));
        assert_eq!(buckets[2], (0.004, 3));
        assert_eq!(buckets[13].1, 3);
        assert_eq!(buckets[14], (f64::INFINITY, 4));
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.sum(), Duration::from_millis(20_004));
    }
}
