//! Leases never end early: whoever was granted or renewed one has it for its time from when that was
//! asked for, but for what clocks went wrong; and none is renewed after its end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Verdict;
use crate::model::LeaseEnd;

/// Clocks go at most so many thousandths wrong.
pub(crate) const RATE_MAX_THOUSANDTHS: u32 = 50;

#[derive(Debug, Clone, Copy, Default)]
struct Lease {
    /// When the renewal that lasts longest was asked for.
    asked: Duration,
    ttl: Duration,
    ended: Option<(Duration, bool)>,
}

/// All leases that clients have.
#[derive(Default)]
pub(crate) struct Leases {
    leases: BTreeMap<i64, Lease>,
    /// Clocks that jumped: when, and by how much.
    jumps: Vec<(Duration, Duration)>,
}

impl Leases {
    /// Some member's clock is this much further at once.
    pub(crate) fn jumped(&mut self, now: Duration, by: Duration) {
        self.jumps.push((now, by));
    }

    /// Until when the lease must be there, whatever happens.
    pub(crate) fn until(&self, id: i64) -> Duration {
        let Some(lease) = self.leases.get(&id) else { return Duration::ZERO };
        self.end(lease.asked, lease.ttl)
    }

    fn end(&self, asked: Duration, ttl: Duration) -> Duration {
        let jumps = self.jumps.iter().filter(|(at, _)| *at >= asked).map(|(_, by)| *by);
        let wrong = ttl * RATE_MAX_THOUSANDTHS / 1000 + jumps.sum::<Duration>();
        (asked + ttl).saturating_sub(wrong)
    }

    /// A grant or a renewal was answered; it was asked for at this time.
    pub(crate) fn renewed(&mut self, id: i64, asked: Duration, ttl: Duration) -> Verdict {
        let end = self.end(asked, ttl);
        let lease = self.leases.entry(id).or_default();
        if let Some((ended, expired)) = lease.ended {
            if asked > ended {
                return Err(format!(
                    "lease {id} was renewed at {asked:?}, and had ended at {ended:?}"
                ));
            }
            if expired && end > ended {
                return Err(format!(
                    "lease {id}, renewed at {asked:?} for {ttl:?}, had ended at {ended:?}"
                ));
            }
        }
        if asked + ttl > lease.asked + lease.ttl {
            (lease.asked, lease.ttl) = (asked, ttl);
        }
        Ok(())
    }

    /// A lease is gone from the state.
    pub(crate) fn ended(&mut self, now: Duration, end: LeaseEnd) -> Verdict {
        let (id, expired) = match end {
            LeaseEnd::Expired(id) => (id, true),
            LeaseEnd::Revoked(id) => (id, false),
        };
        let until = self.until(id);
        let lease = self.leases.entry(id).or_default();
        lease.ended = Some((now, expired));
        if expired && now < until {
            let (asked, ttl) = (lease.asked, lease.ttl);
            return Err(format!("lease {id}, renewed at {asked:?} for {ttl:?}, ended at {now:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_early_end_and_a_late_renewal_are_found() {
        let mut leases = Leases::default();
        leases.renewed(1, SECOND, SECOND * 2).unwrap();
        leases.renewed(1, SECOND * 2, SECOND * 2).unwrap();
        assert!(leases.ended(SECOND * 3, LeaseEnd::Expired(1)).is_err());
        leases.renewed(2, SECOND, SECOND * 2).unwrap();
        leases.ended(SECOND * 3, LeaseEnd::Expired(2)).unwrap();
        assert!(leases.renewed(2, SECOND * 4, SECOND * 2).is_err());
        assert!(leases.renewed(2, SECOND * 2, SECOND * 2).is_err(), "it ended within that time");
        leases.renewed(3, SECOND, SECOND * 2).unwrap();
        leases.ended(SECOND * 2, LeaseEnd::Revoked(3)).unwrap();
        leases.renewed(3, SECOND, SECOND * 2).unwrap();
    }

    #[test]
    fn a_clock_that_jumped_is_no_fault_of_the_store() {
        let mut leases = Leases::default();
        leases.renewed(1, SECOND * 2, SECOND * 2).unwrap();
        leases.jumped(SECOND * 3, SECOND / 2);
        leases.ended(SECOND * 3 + SECOND / 2, LeaseEnd::Expired(1)).unwrap();
    }
}
