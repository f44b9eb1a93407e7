//! When a node last gave a sign of life.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

/// The signs of life that a node gives: a renewed lease, a reported status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pulse {
    renewed: Option<Timestamp>,
    reported: Option<Timestamp>,
}

impl Pulse {
    pub(super) fn of(node: &Node, lease: Option<&Lease>) -> Self {
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready = conditions.and_then(|all| all.iter().find(|one| one.type_ == "Ready"));
        Self {
            renewed: renewed.map(|time| time.0),
            reported: ready.and_then(|ready| ready.last_heartbeat_time.as_ref()).map(|time| time.0),
        }
    }
}

/// The last sign of life, and when it was seen here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    pulse: Pulse,
    seen: Instant,
}

impl Health {
    /// That of a node of which nothing has been seen yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { pulse: Pulse::default(), seen: now }
    }

    /// Takes in the newest signs. Answers how long there has been no new one.
    pub(super) fn observe(&mut self, pulse: Pulse, now: Instant) -> Duration {
        if pulse != self.pulse {
            *self = Self { pulse, seen: now };
        }
        now.duration_since(self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_is_a_sign_of_life_whatever_its_clock_says() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let beat = |second: i64| Pulse {
            renewed: Timestamp::from_second(second).ok(),
            ..Pulse::default()
        };
        let mut health = Health::new(start);
        assert_eq!(health.observe(beat(1000), at(10)), Duration::ZERO);
        assert_eq!(health.observe(beat(1000), at(40)), Duration::from_secs(30));
        assert_eq!(health.observe(beat(500), at(50)), Duration::ZERO);
    }
}
