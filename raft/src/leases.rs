//! Leases: the leader's deadlines over the rules of `keelson_storage::lease`. Renewals live in its
//! memory; endings and checkpoints go through the log.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keelson_failpoint::failpoint;
use keelson_proto::raft as pb;
use keelson_proto::raft::keep_alive_reply::Fate;
use keelson_storage::command::{LeaseCheckpoints, LeaseRevoke, Op, command};
use keelson_storage::lease::Expiry;
use keelson_storage::view::View;
use openraft::Raft;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::LeaseError;
use crate::leadership::Leadership;
use crate::machine::Machine;
use crate::peers::Peers;
use crate::propose::Propose;
use crate::reads::confirmed_index;
use crate::runtime::{Moment, Runtime};
use crate::types::Types;

/// Leases of one proposal.
const LEASES_A_PROPOSAL: usize = 1000;
/// A new leader may end a lease this much too late.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);
/// What is committed is applied within this, or it is not waited for.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// Before a failed proposal is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The deadlines; clones share them.
#[derive(Clone)]
pub(crate) struct Leases {
    view: View,
    raft: Raft<Types, Machine>,
    applied: watch::Receiver<u64>,
    expiry: Arc<Mutex<Option<Expiry>>>,
}

impl Leases {
    pub(crate) fn new(
        view: View,
        raft: Raft<Types, Machine>,
        applied: watch::Receiver<u64>,
    ) -> Self {
        Self { view, raft, applied, expiry: Arc::default() }
    }

    /// A lease that another member has just granted may be committed and not applied here yet.
    async fn settle(&self, id: i64) {
        if self.view.lease(id).is_none() {
            self.caught_up().await;
        }
    }

    /// Boxed: the library's futures are no part of those of each caller.
    fn caught_up(&self) -> BoxFuture<'static, ()> {
        let (raft, mut applied) = (self.raft.clone(), self.applied.clone());
        async move {
            let Ok(index) = confirmed_index(&raft).await else { return };
            let caught_up = async { applied.wait_for(|now| *now >= index).await.map(|_| ()) };
            let _ = Runtime::timeout(SETTLE_MAX, caught_up).await;
        }
        .boxed()
    }

    /// Renews a lease if this member leads.
    pub(crate) async fn renew_here(&self, id: i64) -> pb::KeepAliveReply {
        self.settle(id).await;
        failpoint!(await beforeCheckpointInLeaseRenew);
        let mut expiry = self.expiry.lock();
        let Some(expiry) = expiry.as_mut() else {
            return pb::KeepAliveReply { fate: Fate::NotLeader as i32, ttl_seconds: 0 };
        };
        if self.view.lease(id).is_none() {
            return answer(None);
        }
        let now = Moment::now().since_start();
        if expiry.remaining(id, now).is_none() {
            // Granted a moment ago.
            expiry.reconcile(&self.view.leases(), now);
        }
        answer(expiry.renew(id, now))
    }

    /// What is left of a lease, in whole seconds, if this member leads.
    pub(crate) async fn remaining_here(&self, id: i64) -> pb::KeepAliveReply {
        self.settle(id).await;
        let expiry = self.expiry.lock();
        let Some(expiry) = expiry.as_ref() else {
            return pb::KeepAliveReply { fate: Fate::NotLeader as i32, ttl_seconds: 0 };
        };
        let left = self.view.lease(id).map(|lease| {
            let left = expiry.remaining(id, Moment::now().since_start());
            left.unwrap_or(Duration::from_secs(lease.ttl_seconds.unsigned_abs()))
        });
        answer(left.map(|left| i64::try_from(left.as_secs()).unwrap_or(i64::MAX)))
    }

    /// Asks whoever leads.
    pub(crate) async fn renew(
        &self,
        id: i64,
        leadership: &Leadership,
        peers: &Peers,
    ) -> Result<i64, LeaseError> {
        let reply = match leadership.leader {
            _ if leadership.is_own => self.renew_here(id).await,
            Some(leader) => peers.keep_alive(leader, id).await.map_err(|_| LeaseError::NoLeader)?,
            None => return Err(LeaseError::NoLeader),
        };
        read(&reply)
    }

    /// Asks whoever leads.
    pub(crate) async fn remaining(
        &self,
        id: i64,
        leadership: &Leadership,
        peers: &Peers,
    ) -> Result<i64, LeaseError> {
        let reply = match leadership.leader {
            _ if leadership.is_own => {
                failpoint!(await beforeLookupWhenLeaseTimeToLive);
                self.remaining_here(id).await
            }
            Some(leader) => {
                peers.time_to_live(leader, id).await.map_err(|_| LeaseError::NoLeader)?
            }
            None => return Err(LeaseError::NoLeader),
        };
        read(&reply)
    }
}

fn answer(ttl: Option<i64>) -> pb::KeepAliveReply {
    match ttl {
        Some(ttl_seconds) => pb::KeepAliveReply { fate: Fate::Renewed as i32, ttl_seconds },
        None => pb::KeepAliveReply { fate: Fate::NotFound as i32, ttl_seconds: 0 },
    }
}

fn read(reply: &pb::KeepAliveReply) -> Result<i64, LeaseError> {
    match reply.fate() {
        Fate::Renewed => Ok(reply.ttl_seconds),
        Fate::NotFound => Err(LeaseError::NotFound),
        Fate::NotLeader => Err(LeaseError::NoLeader),
    }
}

/// The keeper's task: while this member leads, it ends leases whose time has passed.
pub(crate) struct LeaseKeeper {
    pub(crate) leases: Leases,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// Added to each lease when this member becomes leader.
    pub(crate) grace: Duration,
    pub(crate) propose: Propose,
}

impl LeaseKeeper {
    /// Runs until leadership is no longer watched.
    pub(crate) async fn run(mut self) {
        let mut granted = self.leases.view.leases_changed();
        let mut term = None;
        let mut checkpointed = Moment::now();
        loop {
            let leadership = *self.leadership.borrow_and_update();
            let leads = leadership.is_own.then_some(leadership.term);
            if leads != term {
                term = leads;
                self.take_over(leads.is_some());
                checkpointed = Moment::now();
            }
            let mut pause = None;
            if term.is_some() {
                granted.borrow_and_update();
                let next = self.reconcile();
                pause = next;
                if next == Some(Duration::ZERO) {
                    if !self.end_expired().await {
                        Runtime::sleep(RETRY_PAUSE).await;
                    }
                    continue;
                }
                if next.is_some() && checkpointed.age() >= CHECKPOINT_INTERVAL {
                    checkpointed = Moment::now();
                    self.checkpoint().await;
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

    fn take_over(&self, leads: bool) {
        let now = Moment::now().since_start();
        *self.leases.expiry.lock() = leads
            .then(|| Expiry::promoted(self.leases.view.leases().into_values(), now, self.grace));
    }

    /// Takes up new leases; the time until the next one ends.
    fn reconcile(&self) -> Option<Duration> {
        let now = Moment::now().since_start();
        let mut expiry = self.leases.expiry.lock();
        let expiry = expiry.as_mut()?;
        expiry.reconcile(&self.leases.view.leases(), now);
        Some(expiry.next()?.saturating_sub(now))
    }

    async fn end_expired(&self) -> bool {
        let now = Moment::now().since_start();
        let ids = match self.leases.expiry.lock().as_ref() {
            Some(expiry) => expiry.expired(now, LEASES_A_PROPOSAL),
            None => Vec::new(),
        };
        if ids.is_empty() {
            return true;
        }
        let revoke = LeaseRevoke { ids, expired: true };
        (self.propose)(command(Op::LeaseRevoke(revoke))).await
    }

    async fn checkpoint(&self) {
        loop {
            let now = Moment::now().since_start();
            let checkpoints = match self.leases.expiry.lock().as_mut() {
                Some(expiry) => expiry.checkpoints(now, CHECKPOINT_INTERVAL, LEASES_A_PROPOSAL),
                None => Vec::new(),
            };
            if checkpoints.is_empty() {
                return;
            }
            let op = Op::LeaseCheckpoints(LeaseCheckpoints { checkpoints });
            if !(self.propose)(command(op)).await {
                return;
            }
        }
    }
}
