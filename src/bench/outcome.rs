//! What one load came to.

use std::time::Duration;

use super::crew::Took;
use super::tally::Tally;

/// Its figures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// What was done.
    pub(crate) name: String,
    /// Clients at once, or watchers.
    pub(crate) clients: usize,
    /// Connections that they shared.
    pub(crate) connections: usize,
    /// Streams that watchers shared.
    pub(crate) streams: Option<usize>,
    /// Requests a second asked for, in an open loop.
    pub(crate) asked_rate: Option<f64>,
    /// What came of the requests.
    pub(crate) tally: Tally,
    /// What watchers were told, in a load of watchers: the latencies are from put to event.
    pub(crate) events: Option<Tally>,
    /// What slow ones were.
    pub(crate) slow: Option<Tally>,
    /// What it took.
    pub(crate) took: Took,
}

impl Outcome {
    /// What counts as done in this load: events where watchers are loaded, else requests.
    pub(crate) fn main(&self) -> &Tally {
        self.events.as_ref().unwrap_or(&self.tally)
    }

    /// How much of it was done.
    pub(crate) fn count(&self) -> u64 {
        self.events.as_ref().map_or(self.tally.latency.len(), |events| events.events)
    }

    /// The same a second.
    pub(crate) fn rate(&self) -> f64 {
        self.per_second(self.count())
    }

    /// So many in all, a second.
    pub(crate) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.took.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Errors of all kinds.
    pub(crate) fn errors(&self) -> u64 {
        self.tally.errors + self.events.as_ref().map_or(0, |events| events.errors)
    }

    /// Whether the server does not have what was asked for.
    pub(crate) fn skipped(&self) -> bool {
        self.tally.unimplemented && self.tally.latency.is_empty()
    }

    /// Server CPU microseconds each.
    pub(crate) fn server_micros(&self) -> Option<f64> {
        self.took.server_cpu.map(|cpu| micros(cpu, self.count()))
    }

    /// Server CPU microseconds a request, where that is not the same.
    pub(crate) fn server_micros_a_request(&self) -> Option<f64> {
        self.took.server_cpu.map(|cpu| micros(cpu, self.tally.latency.len()))
    }

    /// The load tool's own CPU microseconds each.
    pub(crate) fn client_micros(&self) -> f64 {
        micros(self.took.client_cpu, self.count())
    }

    /// Latency in milliseconds.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        self.main().latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

fn micros(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count.max(1) as f64
}
