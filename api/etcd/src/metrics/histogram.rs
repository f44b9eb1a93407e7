//! How long things took, in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::text::Text;

/// Most buckets that any of etcd's histograms has, and one for what is longer.
const BUCKETS_MAX: usize = 21;

/// Counts of durations below bounds that double from one to the next.
#[derive(Debug)]
pub(crate) struct Histogram {
    first: f64,
    count: usize,
    /// Of these `count` are used, and one for what is longer.
    buckets: [AtomicU64; BUCKETS_MAX],
    nanos: AtomicU64,
}

impl Histogram {
    /// `count` buckets, the first up to `first` seconds.
    pub(crate) fn new(first: f64, count: usize) -> Self {
        assert!(count < BUCKETS_MAX, "{count} buckets");
        Self { first, count, buckets: Default::default(), nanos: AtomicU64::new(0) }
    }

    /// Counts one.
    pub(crate) fn observe(&self, took: Duration) {
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

    /// Its lines, without the head.
    pub(super) fn write(&self, name: &str, labels: &str, out: &mut Text) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut all = 0;
        let mut bound = self.first;
        for bucket in &self.buckets[..self.count] {
            all += bucket.load(Ordering::Relaxed);
            let labels = format!("{labels}{comma}le=\"{}\"", shortest(bound));
            out.line(&format!("{name}_bucket"), &labels, all);
            bound *= 2.0;
        }
        all += self.buckets[self.count].load(Ordering::Relaxed);
        out.line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"+Inf\""), all);
        // Nobody reads a sum to more than fifteen digits.
        #[allow(clippy::cast_precision_loss)]
        let seconds = self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        out.line(&format!("{name}_sum"), labels, seconds);
        out.line(&format!("{name}_count"), labels, all);
    }
}

/// A bound as Go prints it: 0.001, 0.002, .. 8.192.
fn shortest(bound: f64) -> String {
    let text = format!("{bound:.7}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
        let mut text = Text::new();
        histogram.write("x_seconds", "a=\"b\"", &mut text);
        let text = text.finish();
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line}: {text}");
        has("x_seconds_bucket{a=\"b\",le=\"0.001\"} 2");
        has("x_seconds_bucket{a=\"b\",le=\"0.004\"} 3");
        has("x_seconds_bucket{a=\"b\",le=\"8.192\"} 3");
        has("x_seconds_bucket{a=\"b\",le=\"+Inf\"} 4");
        has("x_seconds_sum{a=\"b\"} 20.004");
        has("x_seconds_count{a=\"b\"} 4");
    }
}
