//! What a load's requests came to.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in microseconds.
const LATENCY_MAX: u64 = 60_000_000;
/// gRPC's code for a method that a server does not have.
const UNIMPLEMENTED: u32 = 12;

/// Counts and latencies.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// In microseconds, of what was answered well.
    pub(crate) latency: Histogram<u64>,
    /// Requests refused, lost, or answered wrongly.
    pub(crate) errors: u64,
    /// What the first of those was.
    pub(crate) first_error: Option<String>,
    /// Requests of an open loop that were due and never sent.
    pub(crate) unsent: u64,
    /// Events that watchers were told.
    pub(crate) events: u64,
    /// Whether the server does not have the method.
    pub(crate) unimplemented: bool,
}

impl Default for Tally {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3)
            .expect("the bounds are constants in order");
        Self { latency, errors: 0, first_error: None, unsent: 0, events: 0, unimplemented: false }
    }
}

impl Tally {
    /// One good answer.
    pub(crate) fn good(&mut self, latency: Duration) {
        let micros = latency.as_micros().clamp(1, u128::from(LATENCY_MAX));
        self.latency.saturating_record(micros as u64);
    }

    /// One bad one, with gRPC's code where there is one.
    pub(crate) fn bad(&mut self, code: u32, reason: impl FnOnce() -> String) {
        self.errors += 1;
        self.unimplemented |= code == UNIMPLEMENTED;
        self.first_error.get_or_insert_with(reason);
    }

    /// Another's, added.
    pub(crate) fn add(&mut self, other: &Self) {
        self.latency += &other.latency;
        self.errors += other.errors;
        self.unsent += other.unsent;
        self.events += other.events;
        self.unimplemented |= other.unimplemented;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }
}
