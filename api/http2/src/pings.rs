//! Clients that ping too often are sent away, as Go's gRPC does: after three pings too close to
//! each other, with nothing said by the server in between, `GOAWAY` with the text that clients know
//! and answer by pinging less often.
//!
//! Unlike Go's, this rule is the same while a connection has no streams.
// upstream: gRPC, "Server-side keepalive enforcement"

use std::time::{Duration, Instant};

/// Pings too early that are let pass.
const STRIKES_MAX: u32 = 2;
/// What a client is told that has to go.
pub(crate) const TOO_MANY: &[u8] = b"too_many_pings";

/// Counts the pings of one connection.
#[derive(Debug)]
pub(crate) struct Pings {
    /// Closer ones are too close.
    min: Duration,
    last: Option<Instant>,
    strikes: u32,
}

impl Pings {
    pub(crate) fn new(min: Duration) -> Self {
        Self { min, last: None, strikes: 0 }
    }

    /// A ping came; whether the client is to go.
    pub(crate) fn received(&mut self, now: Instant) -> bool {
        let is_early = self.last.is_some_and(|last| now.duration_since(last) < self.min);
        self.strikes += u32::from(is_early);
        self.last = Some(now);
        self.strikes > STRIKES_MAX
    }

    /// Something is answered: that allows a ping at any time.
    pub(crate) fn answered(&mut self) {
        (self.strikes, self.last) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_early_ping_is_too_many() {
        let start = Instant::now();
        let mut pings = Pings::new(Duration::from_secs(5));
        let came = [0, 1, 2, 3].map(|second| pings.received(start + Duration::from_secs(second)));
        assert_eq!(came, [false, false, false, true]);
    }

    #[test]
    fn late_pings_and_answers_are_well() {
        let start = Instant::now();
        let mut pings = Pings::new(Duration::from_secs(5));
        assert!((0..20).all(|number| !pings.received(start + Duration::from_secs(number * 6))));
        let mut busy = Pings::new(Duration::from_secs(5));
        for _ in 0..20 {
            assert!(!busy.received(start));
            busy.answered();
        }
    }
}
