//! Succession: the process that led is gone, and its followers do not wait for a timeout.
//!
//! A connection that ends, and an address at which nobody listens any more, say more than silence.
//! Who sees that of its leader asks the other voters whether they see it too. Where most do, nobody
//! is left to be led, and the first of them in the order of ids stands at once, for votes that do
//! not wait for the end of the dead leader's lease. Each agrees with one of them only, so that votes
//! are not split. Terms and logs decide as in every election; a machine without power, or a link
//! that is cut, is left to the timeout.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use keelson_proto::raft as pb;
use openraft::Raft;
use openraft::raft::TransferLeaderRequest;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::leadership::Leadership;
use crate::log::LogStore;
use crate::machine::Machine;
use crate::peer::wire;
use crate::peers::Peers;
use crate::runtime::Runtime;
use crate::types::{LogId, StoredMembership, Types, Vote};

/// Ended connections that wait to be looked at; one of them is enough.
pub(crate) const QUEUE_ENDS: usize = 8;
/// A dying process closes one socket after the other: how often its address is tried.
const KNOCKS: usize = 10;
/// Between two tries.
const KNOCK_PAUSE: Duration = Duration::from_millis(3);

/// Looks at leaders that may be gone; clones share all.
#[derive(Clone)]
pub(crate) struct Succession {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) log: LogStore,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) membership: watch::Receiver<StoredMembership>,
    /// So long each waits for those before it.
    pub(crate) turn: Duration,
    /// How long the others are asked.
    pub(crate) limit: Duration,
    /// Whom this member sees as the one to follow the leader with this vote.
    pub(crate) heir: Arc<Mutex<Option<(Vote, u64)>>>,
}

impl Succession {
    /// Runs until nobody reports the ends of connections any more.
    pub(crate) async fn run(self, mut ends: mpsc::Receiver<u64>) {
        while let Some(from) = ends.recv().await {
            let now = *self.leadership.borrow();
            if now.leader == Some(from) && !now.is_own {
                self.follow(now, from).await;
            }
        }
    }

    /// Stands for election if the leader is gone, most others see it, and nobody is faster.
    async fn follow(&self, now: Leadership, leader: u64) {
        let own = self.peers.directory.own();
        let voters: Vec<u64> = self.membership.borrow().voter_ids().collect();
        let others: Vec<u64> =
            voters.iter().copied().filter(|id| ![own, leader].contains(id)).collect();
        let Some(vote) = self.vote_for(leader) else { return };
        if !voters.contains(&own) || !self.is_gone(leader).await {
            return;
        }
        let before = others.iter().filter(|id| **id < own).count();
        let turn = self.turn * u32::try_from(before).unwrap_or(u32::MAX);
        let mut leadership = self.leadership.clone();
        let changed = leadership.wait_for(|known| *known != now);
        if Runtime::timeout(turn, async { changed.await.map(|_| ()) }).await.is_ok() {
            return;
        }
        if !self.settles_on(vote, own) {
            return;
        }
        let question = pb::Vacancy {
            leader: Some(wire::vote(&vote)),
            last: self.log.last().map(wire::id),
            candidate: own,
        };
        let mut answers: FuturesUnordered<_> =
            others.iter().map(|other| self.peers.vacancy(*other, &question)).collect();
        let mut agreed = 1;
        let most = async {
            while agreed * 2 <= voters.len() {
                let Some(answer) = answers.next().await else { return false };
                agreed += usize::from(answer.is_ok_and(|answer| answer.agreed));
            }
            true
        };
        if Runtime::timeout(self.limit, most).await != Ok(true) {
            return;
        }
        tracing::info!(
            "lost-leader-member-id" = format!("{leader:x}"),
            term = now.term,
            "the leader's process is gone; standing for election"
        );
        let request = TransferLeaderRequest::new(vote, own, None);
        let _ = self.raft.handle_transfer_leader(request).await;
    }

    /// Whether this member too has lost the leader that another one stands to succeed, and would
    /// vote for it.
    pub(crate) async fn agrees(&self, question: pb::Vacancy) -> io::Result<bool> {
        let vote = wire::from_vote(question.leader)?;
        let last: Option<LogId> = wire::from_id(question.last);
        let leader = vote.leader_id.voted_for;
        Ok(self.vote_for(leader) == Some(vote)
            && self.log.last() <= last
            && self.is_gone(leader).await
            && self.settles_on(vote, question.candidate))
    }

    /// Whether this candidate is the first that this member has heard of, or is itself.
    fn settles_on(&self, vote: Vote, candidate: u64) -> bool {
        let mut heir = self.heir.lock();
        match *heir {
            Some((known, first)) if known == vote => first == candidate,
            _ => {
                *heir = Some((vote, candidate));
                true
            }
        }
    }

    /// The own vote, if it is for this leader and it has won.
    fn vote_for(&self, leader: u64) -> Option<Vote> {
        self.log.vote().filter(|vote| vote.committed && vote.leader_id.voted_for == leader)
    }

    /// Whether nobody listens where the leader was.
    async fn is_gone(&self, leader: u64) -> bool {
        for _ in 0..KNOCKS {
            match Runtime::timeout(self.limit, self.peers.directory.knock(leader)).await {
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return true,
                Ok(Err(_)) => Runtime::sleep(KNOCK_PAUSE).await,
                Ok(Ok(())) | Err(_) => return false,
            }
        }
        false
    }
}
