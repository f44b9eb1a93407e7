//! Prometheus' text form, version 0.0.4.

use std::fmt::{Display, Write as _};

use keelson_storage::measures::Histogram;

/// A page of metrics being written.
pub(super) struct Text(String);

impl Text {
    pub(super) fn new() -> Self {
        Self(String::with_capacity(64 << 10))
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// What a metric means; its lines follow.
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A line of it.
    pub(super) fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _infallible = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    /// How long things took, in seconds.
    pub(super) fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        self.scaled_histogram(name, labels, histogram, 1.0);
    }

    /// The same with its head, and no labels.
    pub(super) fn whole_histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        self.histogram(name, "", histogram);
    }

    /// The same in another unit, of which a second has `scale`.
    pub(super) fn scaled_histogram(
        &mut self,
        name: &str,
        labels: &str,
        histogram: &Histogram,
        scale: f64,
    ) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (bound, all) in histogram.buckets() {
            let bound = if bound.is_finite() { shortest(bound * scale) } else { "+Inf".to_owned() };
            self.line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), all);
            count = all;
        }
        self.line(&format!("{name}_sum"), labels, histogram.sum().as_secs_f64() * scale);
        self.line(&format!("{name}_count"), labels, count);
    }

    /// A metric with one line, whose value may fall.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    /// A metric with one line, whose value only rises.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.line(name, "", value);
    }
}

/// A bound as Go prints it: 0.001, 0.002, .. 8.192.
fn shortest(bound: f64) -> String {
    let text = format!("{bound:.7}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_histogram_has_etcds_bounds() {
        let histogram = Histogram::new(0.001, 14);
        for millis in [0, 1, 3, 20_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut text = Text::new();
        text.histogram("x_seconds", "a=\"b\"", &histogram);
        text.scaled_histogram("y_milliseconds", "", &histogram, 1000.0);
        let text = text.finish();
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line}: {text}");
        has("x_seconds_bucket{a=\"b\",le=\"0.001\"} 2");
        has("x_seconds_bucket{a=\"b\",le=\"8.192\"} 3");
        has("x_seconds_bucket{a=\"b\",le=\"+Inf\"} 4");
        has("x_seconds_sum{a=\"b\"} 20.004");
        has("x_seconds_count{a=\"b\"} 4");
        has("y_milliseconds_bucket{le=\"4\"} 3");
    }
}
