//! Exponential back-off with jitter, for loops that talk to a server which may be away.

use std::time::Duration;

/// Doubles from `first` to `last`, with up to half of jitter so that many loops spread out.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    step: Duration,
}

impl Backoff {
    /// A back-off that starts at `first` and stops growing at `last`.
    pub fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, step: first }
    }

    /// How long to wait now; the next answer is longer.
    pub fn wait(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.last);
        step.mul_f64(1.0 + rand::random::<f64>() / 2.0)
    }

    /// Starts again at `first`, after a success.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}
