//! When the requests of an open loop are due on one connection.

use std::time::{Duration, Instant};

/// A schedule and how far it has been followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    first: Duration,
    interval: Duration,
    taken: u32,
}

impl Pace {
    /// The share of connection `index` of `connections` in `rate` requests a second.
    pub(crate) fn new(rate: f64, index: usize, connections: usize) -> Self {
        Self {
            first: Duration::from_secs_f64(index as f64 / rate),
            interval: Duration::from_secs_f64(connections as f64 / rate),
            taken: 0,
        }
    }

    /// When the next request was due; or, if it is not yet, when it will be.
    pub(crate) fn take(&mut self, start: Instant, now: Instant) -> Result<Instant, Instant> {
        let due = start + self.first + self.interval * self.taken;
        if due > now {
            return Err(due);
        }
        self.taken += 1;
        Ok(due)
    }

    /// How many were due, an interval ago at least, and have not been taken.
    pub(crate) fn unsent(&self, start: Instant, now: Instant) -> u64 {
        let begun = now.saturating_duration_since(start + self.first);
        let due = (begun.as_nanos() / self.interval.as_nanos().max(1)) as u64;
        due.saturating_sub(u64::from(self.taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_their_times_however_late_they_are_taken() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        // The second of two connections at 200 a second: 5 ms, 15 ms, 25 ms...
        let mut pace = Pace::new(200.0, 1, 2);
        assert_eq!(pace.take(start, at(4)), Err(at(5)));
        assert_eq!(pace.unsent(start, at(4)), 0);
        assert_eq!(pace.take(start, at(16)), Ok(at(5)));
        assert_eq!(pace.take(start, at(16)), Ok(at(15)));
        assert_eq!(pace.take(start, at(16)), Err(at(25)));
        assert_eq!(pace.unsent(start, at(49)), 2);
    }
}
