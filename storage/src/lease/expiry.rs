//! When leases end: kept by the leader alone, on its own clock. Late by a bound, never early.
//!
//! Time is a duration since any fixed moment of a clock that never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keelson_failpoint::planted::{self, Bug};
use keelson_proto::raft::LeaseCheckpoint;

use super::{Lease, News};
use crate::view::View;

#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Duration,
    ttl_seconds: i64,
    /// What the log knows to be left.
    checkpointed_seconds: i64,
}

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease has its full time, in seconds, from when it was asked for.
    Renewed(i64),
    /// The log says that less is left, and the next leader would believe it: it must say this
    /// first.
    CheckpointFirst(LeaseCheckpoint),
    /// There is no such lease, or its time had passed when it was asked for.
    Ended,
    /// Its time has passed since it was asked for: it counts only if this member leads even now.
    AskAgain,
}

/// The leader's deadlines.
#[derive(Debug, Default)]
pub struct Expiry {
    deadlines: BTreeMap<i64, Deadline>,
    order: BTreeSet<(Duration, i64)>,
    /// Changes of the leases that are known here.
    seen: u64,
}

impl Expiry {
    /// For a member that has just become leader: the leases that there are.
    pub fn of_new_leader(view: &View, now: Duration, extend: Duration) -> Self {
        let mut seen = 0;
        let leases = match view.lease_news(&mut seen) {
            News::Some(_) => view.leases(),
            News::All(leases) => leases,
        };
        Self { seen, ..Self::promoted(leases.into_values(), now, extend) }
    }

    /// Each lease gets what the log says is left and
    /// `extend` on top, since its holder could not renew while there was no leader.
    fn promoted(leases: impl IntoIterator<Item = Lease>, now: Duration, extend: Duration) -> Self {
        let mut expiry = Self::default();
        for lease in leases {
            let left = match lease.remaining_ttl_seconds {
                0 => lease.ttl_seconds,
                left => left,
            };
            if planted::is(Bug::ExpireLeaseEarly) {
                expiry.set(lease, now + seconds(left) / 2);
                continue;
            }
            expiry.set(lease, now + seconds(left) + extend);
        }
        expiry
    }

    /// Takes up leases that were granted since and forgets those that ended. A new one gets its
    /// full time from now on: late by the time since its grant was applied.
    pub fn follow(&mut self, view: &View, now: Duration) {
        match view.lease_news(&mut self.seen) {
            News::All(leases) => self.reconcile(&leases, now),
            News::Some(changes) => {
                for (id, lease) in changes {
                    match lease {
                        None => self.remove(id),
                        Some(lease) => self.take_up(lease, now),
                    }
                }
            }
        }
    }

    fn reconcile(&mut self, leases: &BTreeMap<i64, Lease>, now: Duration) {
        let gone: Vec<i64> =
            self.deadlines.keys().filter(|id| !leases.contains_key(id)).copied().collect();
        for id in gone {
            self.remove(id);
        }
        for lease in leases.values() {
            self.take_up(*lease, now);
        }
    }

    fn take_up(&mut self, lease: Lease, now: Duration) {
        if !self.deadlines.contains_key(&lease.id) {
            self.set(lease, now + seconds(lease.ttl_seconds));
        }
    }

    /// Renews a lease as of when that was asked for; `now` is later.
    pub fn renew(&mut self, id: i64, asked: Duration, now: Duration) -> Renewal {
        let Some(&deadline) = self.deadlines.get(&id) else { return Renewal::Ended };
        if deadline.at <= asked {
            return Renewal::Ended;
        }
        if deadline.at <= now {
            return Renewal::AskAgain;
        }
        if deadline.checkpointed_seconds < deadline.ttl_seconds {
            let remaining_ttl_seconds = deadline.ttl_seconds;
            return Renewal::CheckpointFirst(LeaseCheckpoint { id, remaining_ttl_seconds });
        }
        let at = deadline.at.max(asked + seconds(deadline.ttl_seconds));
        self.order.remove(&(deadline.at, id));
        self.deadlines.insert(id, Deadline { at, ..deadline });
        self.order.insert((at, id));
        Renewal::Renewed(deadline.ttl_seconds)
    }

    /// The log knows this to be left.
    pub fn checkpointed(&mut self, checkpoint: &LeaseCheckpoint) {
        if let Some(deadline) = self.deadlines.get_mut(&checkpoint.id) {
            deadline.checkpointed_seconds = checkpoint.remaining_ttl_seconds;
        }
    }

    /// What is left of a lease; zero once it has ended and waits to be revoked.
    pub fn remaining(&self, id: i64, now: Duration) -> Option<Duration> {
        Some(self.deadlines.get(&id)?.at.saturating_sub(now))
    }

    /// Leases whose time has passed, the longest ago first, at most `max`. They stay here until
    /// the log says that they ended: a revocation that got lost is asked for again.
    pub fn expired(&self, now: Duration, max: usize) -> Vec<i64> {
        self.order.iter().take_while(|(at, _)| *at <= now).take(max).map(|(_, id)| *id).collect()
    }

    /// All leases, the first to end first.
    pub fn by_end(&self) -> impl Iterator<Item = i64> {
        self.order.iter().map(|(_, id)| *id)
    }

    /// The next moment at which a lease ends.
    pub fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// What the log should know: leases of more than `interval` whose remaining time differs from
    /// what it knows by at least that, at most `max`. They count as known from here on.
    pub fn checkpoints(
        &mut self,
        now: Duration,
        interval: Duration,
        max: usize,
    ) -> Vec<LeaseCheckpoint> {
        let mut due = Vec::new();
        let interval = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
        for (id, deadline) in &mut self.deadlines {
            if due.len() == max {
                break;
            }
            let left = deadline.at.saturating_sub(now);
            // Rounded up: a new leader may end it late, never early.
            let left = i64::try_from(left.as_secs() + 1).unwrap_or(i64::MAX);
            let left = left.min(deadline.ttl_seconds);
            if deadline.ttl_seconds > interval
                && left.abs_diff(deadline.checkpointed_seconds) >= interval.unsigned_abs()
            {
                deadline.checkpointed_seconds = left;
                due.push(LeaseCheckpoint { id: *id, remaining_ttl_seconds: left });
            }
        }
        due
    }

    fn set(&mut self, lease: Lease, at: Duration) {
        let checkpointed_seconds = match lease.remaining_ttl_seconds {
            0 => lease.ttl_seconds,
            left => left,
        };
        let deadline = Deadline { at, ttl_seconds: lease.ttl_seconds, checkpointed_seconds };
        self.remove(lease.id);
        self.deadlines.insert(lease.id, deadline);
        self.order.insert((at, lease.id));
    }

    fn remove(&mut self, id: i64) {
        if let Some(deadline) = self.deadlines.remove(&id) {
            self.order.remove(&(deadline.at, id));
        }
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(id: i64, ttl_seconds: i64, remaining_ttl_seconds: i64) -> Lease {
        Lease { id, ttl_seconds, remaining_ttl_seconds }
    }

    #[test]
    fn a_new_leader_gives_what_is_left_and_the_extension() {
        let leases = [lease(1, 10, 0), lease(2, 10, 3)];
        let expiry = Expiry::promoted(leases, 100 * SECOND, SECOND);
        assert_eq!(expiry.remaining(1, 100 * SECOND), Some(11 * SECOND));
        assert_eq!(expiry.remaining(2, 100 * SECOND), Some(4 * SECOND));
        assert_eq!(expiry.expired(103 * SECOND, 9), Vec::<i64>::new());
        assert_eq!(expiry.expired(104 * SECOND, 9), vec![2]);
        assert_eq!(expiry.expired(111 * SECOND, 9), vec![2, 1]);
        assert_eq!(expiry.expired(111 * SECOND, 1), vec![2]);
    }

    #[test]
    fn a_renewal_counts_only_before_the_end() {
        let mut expiry = Expiry::promoted([lease(1, 10, 0)], Duration::ZERO, Duration::ZERO);
        assert_eq!(expiry.renew(1, 8 * SECOND, 9 * SECOND), Renewal::Renewed(10));
        assert_eq!(expiry.remaining(1, 9 * SECOND), Some(9 * SECOND), "from when it was asked");
        assert_eq!(expiry.renew(1, 7 * SECOND, 9 * SECOND), Renewal::Renewed(10));
        assert_eq!(expiry.remaining(1, 9 * SECOND), Some(9 * SECOND), "an older one is no less");
        assert_eq!(expiry.renew(1, 17 * SECOND, 18 * SECOND), Renewal::AskAgain);
        assert_eq!(expiry.renew(1, 18 * SECOND, 18 * SECOND), Renewal::Ended);
        assert_eq!(expiry.renew(2, SECOND, SECOND), Renewal::Ended);
    }

    #[test]
    fn the_log_decides_which_leases_there_are() {
        let mut expiry = Expiry::promoted([lease(1, 10, 0)], Duration::ZERO, Duration::ZERO);
        let now = BTreeMap::from([(2, lease(2, 5, 0))]);
        expiry.reconcile(&now, SECOND);
        assert_eq!(expiry.remaining(1, SECOND), None);
        assert_eq!(expiry.remaining(2, SECOND), Some(5 * SECOND));
        assert_eq!(expiry.next(), Some(6 * SECOND));
    }

    #[test]
    fn checkpoints_are_due_once_an_interval() {
        let minute = 60 * SECOND;
        let mut expiry =
            Expiry::promoted([lease(1, 600, 0), lease(2, 30, 0)], Duration::ZERO, Duration::ZERO);
        assert_eq!(expiry.checkpoints(30 * SECOND, minute, 9), vec![]);
        let due = expiry.checkpoints(61 * SECOND, minute, 9);
        assert_eq!(due, vec![LeaseCheckpoint { id: 1, remaining_ttl_seconds: 540 }]);
        assert_eq!(expiry.checkpoints(62 * SECOND, minute, 9), vec![]);
    }

    #[test]
    fn a_renewal_waits_until_the_log_no_longer_says_that_less_is_left() {
        let mut expiry = Expiry::promoted([lease(1, 600, 540)], Duration::ZERO, Duration::ZERO);
        let full = LeaseCheckpoint { id: 1, remaining_ttl_seconds: 600 };
        assert_eq!(expiry.renew(1, SECOND, SECOND), Renewal::CheckpointFirst(full));
        assert_eq!(expiry.remaining(1, SECOND), Some(539 * SECOND), "nothing is promised yet");
        expiry.checkpointed(&full);
        assert_eq!(expiry.renew(1, SECOND, SECOND), Renewal::Renewed(600));
        assert_eq!(expiry.remaining(1, SECOND), Some(600 * SECOND));
    }
}
