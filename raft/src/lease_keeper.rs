//! The leases' keeper: while this member leads, it ends leases whose time has passed.
//!
//! A leader that was stopped for a while, or cut off, believes that it still leads. So it proves
//! that it leads before it takes over the leases and before it ends one; and what it writes into
//! the log names its term, and has no effect in an entry of another leader.

use std::time::Duration;

use keelson_storage::command::{LeaseCheckpoints, LeaseRevoke, Op};
use keelson_storage::lease::Expiry;
use tokio::sync::watch;

use crate::leadership::Leadership;
use crate::leases::Leases;
use crate::runtime::{Moment, Runtime};

/// Leases of one proposal.
const LEASES_A_PROPOSAL: usize = 1000;
/// A new leader may end a lease this much too late, and by its grace.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);
/// Before something that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The keeper's task.
pub(crate) struct LeaseKeeper {
    pub(crate) leases: Leases,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// Added to each lease when this member becomes leader.
    pub(crate) grace: Duration,
}

impl LeaseKeeper {
    /// Runs until leadership is no longer watched.
    pub(crate) async fn run(mut self) {
        let mut granted = self.leases.view().leases_changed();
        // The term for which the deadlines stand.
        let mut kept = None;
        let mut checkpointed = Moment::now();
        loop {
            let leadership = *self.leadership.borrow_and_update();
            let leads = leadership.is_own.then_some(leadership.term);
            let mut pause = Some(CHECKPOINT_INTERVAL);
            if leads != kept {
                self.leases.set_deadlines(None);
                kept = None;
                if let Some(term) = leads {
                    kept = self.take_over(term).await.then_some(term);
                    checkpointed = Moment::now();
                    pause = kept.is_none().then_some(RETRY_PAUSE);
                }
            }
            if let Some(term) = kept {
                granted.borrow_and_update();
                let next = self.next_end();
                pause = next;
                if next == Some(Duration::ZERO) {
                    if !self.end_expired(term).await {
                        Runtime::sleep(RETRY_PAUSE).await;
                    }
                    continue;
                }
                if next.is_some() && checkpointed.age() >= CHECKPOINT_INTERVAL {
                    checkpointed = Moment::now();
                    self.checkpoint(term).await;
                }
            }
            let longest = pause.map(|pause| pause.min(CHECKPOINT_INTERVAL));
            tokio::select! {
                biased;
                changed = self.leadership.changed() => if changed.is_err() { return },
                changed = granted.changed() => if changed.is_err() { return },
                () = Runtime::sleep(longest.unwrap_or_default()), if longest.is_some() => {}
            }
        }
    }

    /// Gives each lease its deadline, once the own state holds all that former leaders wrote of
    /// it; whether this member leads in this term.
    async fn take_over(&self, term: u64) -> bool {
        if self.leases.proofs().leads().await != Some(term) {
            return false;
        }
        let now = Moment::now().since_start();
        let expiry = Expiry::of_new_leader(self.leases.view(), now, self.grace);
        self.leases.set_deadlines(Some((term, expiry)));
        true
    }

    /// Takes up new leases; the time until the next one ends.
    fn next_end(&self) -> Option<Duration> {
        let now = Moment::now().since_start();
        self.leases.with_deadlines(|expiry| {
            expiry.follow(self.leases.view(), now);
            Some(expiry.next()?.saturating_sub(now))
        })?
    }

    /// Ends what has expired; whether that could be tried.
    async fn end_expired(&self, term: u64) -> bool {
        let now = Moment::now().since_start();
        if self.leases.proofs().leads().await != Some(term) {
            return false;
        }
        // As of before the proof: this member led when their time was over. Renewals since count.
        let expired = |expiry: &mut Expiry| expiry.expired(now, LEASES_A_PROPOSAL);
        let ids = self.leases.with_deadlines(expired).unwrap_or_default();
        if ids.is_empty() {
            return true;
        }
        let revoke = LeaseRevoke { ids, expired: true, leader_term: term };
        self.leases.propose(Op::LeaseRevoke(revoke)).await
    }

    async fn checkpoint(&self, term: u64) {
        loop {
            let now = Moment::now().since_start();
            let due = |expiry: &mut Expiry| {
                expiry.checkpoints(now, CHECKPOINT_INTERVAL, LEASES_A_PROPOSAL)
            };
            let checkpoints = self.leases.with_deadlines(due).unwrap_or_default();
            if checkpoints.is_empty() {
                return;
            }
            let checkpoints = LeaseCheckpoints { checkpoints, leader_term: term };
            if !self.leases.propose(Op::LeaseCheckpoints(checkpoints)).await {
                return;
            }
        }
    }
}
