//! Leadership: who leads, as this member knows; a watch that everybody shares.

use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::error::MoveLeaderError;
use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::ticker::Heard;
use crate::timeline::Timeline;
use crate::types::{Member, StoredMembership, Types};

/// What a member knows of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// The leader, if there is one that a quorum follows.
    pub leader: Option<u64>,
    /// Whether it is this member.
    pub is_own: bool,
}

/// Translates the library's metrics into `sender` until the library stops; then nobody leads.
pub(crate) async fn follow(
    raft: Raft<Types, Machine>,
    sender: watch::Sender<Leadership>,
    membership: watch::Sender<StoredMembership>,
    timeline: Timeline,
    heard: Heard,
) {
    let mut metrics = raft.server_metrics();
    loop {
        let (now, members) = {
            let metrics = metrics.borrow_and_update();
            let leader = metrics.current_leader;
            let term = metrics.vote.leader_id.term;
            let state = (term, metrics.state.into(), leader);
            timeline.write(state, metrics.id, |leader| heard.age(leader));
            let now = Leadership {
                term,
                leader,
                is_own: leader == Some(metrics.id) && metrics.state.is_leader(),
            };
            let members = metrics.membership_config.as_ref().clone();
            (now, members)
        };
        membership.send_if_modified(|known| {
            let changed = *known != members;
            *known = members;
            changed
        });
        sender.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        if metrics.changed().await.is_err() {
            let term = sender.borrow().term;
            sender.send_replace(Leadership { term, leader: None, is_own: false });
            return;
        }
    }
}

/// A member's entry in the membership.
pub(crate) fn member(membership: &watch::Receiver<StoredMembership>, id: u64) -> Option<Member> {
    membership.borrow().membership().get_node(&id).cloned()
}

/// Hands leadership over; clones share all.
#[derive(Clone)]
pub(crate) struct Transfer {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) own: u64,
    /// How long that may take.
    pub(crate) limit: Duration,
}

impl Transfer {
    /// To whichever voter is furthest; whether somebody else leads now.
    pub(crate) async fn to_another(&self) -> bool {
        match self.voters_but_own().into_iter().next() {
            Some(successor) => self.to(successor).await.is_ok(),
            None => false,
        }
    }

    /// To a voter; returns when it leads.
    pub(crate) async fn to(&self, target: u64) -> Result<(), MoveLeaderError> {
        let mut leadership = self.leadership.clone();
        if !leadership.borrow_and_update().is_own {
            return Err(MoveLeaderError::NotLeader);
        }
        if target == self.own {
            return Ok(());
        }
        if !self.voters_but_own().contains(&target) {
            return Err(MoveLeaderError::BadTransferee);
        }
        let asked = self.raft.trigger().transfer_leader(target).await;
        asked.map_err(|_| MoveLeaderError::Stopped)?;
        let done = leadership.wait_for(|now| !now.is_own && now.leader.is_some());
        let done = Runtime::timeout(self.limit, async { done.await.map(|_| ()) });
        match done.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(MoveLeaderError::Stopped),
            Err(_) => Err(MoveLeaderError::Timeout),
        }
    }

    /// Other voters, the one whose log is furthest first.
    fn voters_but_own(&self) -> Vec<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matching = |id: &u64| {
            let replication = metrics.replication.as_ref()?;
            replication.get(id).copied().flatten().map(|id| id.index)
        };
        let membership = metrics.membership_config.membership();
        let mut voters: Vec<u64> = membership.voter_ids().filter(|id| *id != self.own).collect();
        voters.sort_by_key(|id| std::cmp::Reverse(matching(id)));
        voters
    }
}
