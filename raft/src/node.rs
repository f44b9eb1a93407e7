//! Node: a running member. What the faces of the store call; clones share it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use keelson_storage::command::{Command, Reply};
use keelson_storage::machine::StateMachine;
use keelson_storage::view::View;
use keelson_storage::watch::WatchHub;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::NodeConfig;
use crate::corruption;
use crate::error::{LeaseError, MoveLeaderError, ProposeError, ReadError, StartError};
use crate::leadership::{Leadership, Transfer};
use crate::leases::{Leases, Question};
use crate::log::LogStore;
use crate::machine::Machine;
use crate::membership::{MemberChange, MemberError, MemberLimits, Members, Reconfigurer};
use crate::peer::PeerMeasures;
use crate::peers::Peers;
use crate::pressure::{self, Pressure};
use crate::proposals::Proposals;
use crate::propose::{Proposer, Work};
use crate::reads::Reader;
use crate::renewals::Renewals;
use crate::start;
use crate::status::Status;
use crate::timeline::{RoleChange, Timeline};
use crate::types::{Member, StoredMembership, Types, log_id, outer_index};

/// Why a member has stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// It belongs to the cluster no more.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    /// It cannot go on.
    #[error("{0}")]
    Failed(String),
}

/// A member of a cluster.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node_id: u64,
    pub(crate) cluster_id: u64,
    /// It began without a log, in a cluster that others founded.
    pub(crate) joins: bool,
    pub(crate) view: View,
    pub(crate) hub: WatchHub,
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) log: LogStore,
    pub(crate) proposals: Proposals,
    pub(crate) proposer: Proposer,
    pub(crate) pressure: Pressure,
    pub(crate) readers: mpsc::Sender<Reader>,
    pub(crate) leases: Leases,
    pub(crate) renewals: Renewals,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) timeline: Timeline,
    pub(crate) membership: watch::Receiver<StoredMembership>,
    pub(crate) applied: watch::Receiver<u64>,
    pub(crate) transfer: Transfer,
    pub(crate) reconfigurer: Reconfigurer,
    /// Told when the member has stopped, with the reason.
    pub(crate) stopped: watch::Receiver<Option<Stop>>,
    /// Consensus and peers have threads of their own; `None` in a simulation.
    pub(crate) threads: Option<tokio::runtime::Runtime>,
}

impl Node {
    /// Starts a member on a data directory and the state that belongs to it. When this returns,
    /// the state is replayed to what was known to be committed, and a cluster of one is ready for
    /// proposals.
    pub fn start(
        config: NodeConfig,
        machine: StateMachine,
    ) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(async move { start::start(config, machine).await })
    }

    /// Has a command applied. The reply is this member's own: what it says can be read here.
    pub async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        self.inner.pressure.check()?;
        let (payload, sequence, outcome) = self.inner.proposals.register(&command)?;
        let bytes = payload.0.len();
        self.inner.pressure.enter(bytes);
        if let Err(error) = self.inner.proposer.try_submit(Work::Local { sequence, payload }) {
            self.inner.pressure.leave(1, bytes);
            self.inner.proposals.forget(sequence);
            return Err(error);
        }
        match outcome.await {
            Ok(outcome) => outcome?.map_err(ProposeError::Apply),
            Err(_) => Err(ProposeError::Stopped),
        }
    }

    /// Returns when the own state holds everything that was acknowledged before the call.
    pub async fn read_index(&self) -> Result<(), ReadError> {
        let (reader, ready) = oneshot::channel();
        self.inner.readers.send(reader).await.map_err(|_| ReadError::Stopped)?;
        ready.await.map_err(|_| ReadError::Stopped)?
    }

    /// The state, for reads.
    pub fn view(&self) -> &View {
        &self.inner.view
    }

    /// Where watchers subscribe.
    pub fn hub(&self) -> &WatchHub {
        &self.inner.hub
    }

    /// Renews a lease; its time to live in seconds.
    pub async fn renew_lease(&self, id: i64) -> Result<i64, LeaseError> {
        self.inner.renewals.renew(id).await
    }

    /// Seconds that are left of a lease, as the leader knows.
    pub async fn lease_remaining(&self, id: i64) -> Result<i64, LeaseError> {
        let inner = self.inner.clone();
        let asked = self.on_own_threads(async move {
            let (leadership, peers) = (inner.leadership.clone(), &inner.peers);
            let ids = vec![id];
            inner.leases.ask(Question::Remaining, ids, leadership, peers, peers.limit).await
        });
        let answer = asked.await.and_then(|answers| answers.into_iter().next());
        answer.unwrap_or(Err(LeaseError::Stopped))
    }

    /// All leases this member knows; where it leads, the first to end first.
    pub fn leases(&self) -> Vec<i64> {
        self.inner.leases.list()
    }

    /// Whether the log holds this very entry, or did until it was released.
    pub fn holds(&self, term: u64, index: u64) -> bool {
        self.inner.log.holds(log_id(term, index))
    }

    /// This member's id.
    pub fn node_id(&self) -> u64 {
        self.inner.node_id
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> u64 {
        self.inner.cluster_id
    }

    /// What goes to and comes from the others, by member.
    pub fn peer_measures(&self) -> BTreeMap<u64, Arc<PeerMeasures>> {
        self.inner.peers.directory.measures().all()
    }

    /// Who leads, and changes of it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// What the member was, when and why, as far back as it remembers.
    pub fn timeline(&self) -> Vec<RoleChange> {
        self.inner.timeline.changes()
    }

    /// The applied index, counted from 1, and changes of it.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.applied.clone()
    }

    /// Where this member stands.
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        Status {
            member_id: inner.node_id,
            cluster_id: inner.cluster_id,
            leader: metrics.current_leader,
            term: metrics.current_term,
            last_index: metrics.last_log_index.map_or(0, outer_index),
            committed: metrics.local_committed.map_or(0, |id| outer_index(id.index)),
            applied: *inner.applied.borrow(),
            is_learner: self.is_learner(),
            proposals_pending: inner.proposals.len(),
            proposals_pending_bytes: inner.pressure.queued().1,
            proposals_refused: inner.pressure.refused(),
        }
    }

    /// Entries that each follower has not got yet; empty where this member does not lead.
    pub fn follower_lags(&self) -> Vec<(u64, u64)> {
        pressure::lags(&self.inner.raft)
    }

    /// Whether this member was added without a vote, and has none yet. One that joins, and has not
    /// heard yet as what, counts as one.
    pub fn is_learner(&self) -> bool {
        let membership = self.inner.membership.borrow();
        match membership.get_node(&self.inner.node_id) {
            Some(own) => own.learner,
            None => self.inner.joins || membership.nodes().next().is_some(),
        }
    }

    /// The members, learners included.
    pub fn members(&self) -> BTreeMap<u64, Member> {
        let membership = self.inner.membership.borrow();
        membership.membership().nodes().map(|(id, member)| (*id, member.clone())).collect()
    }

    /// The sets of voters of each of which most have to agree: those that are applied, and those that
    /// the log has.
    pub fn quorums(&self) -> Vec<BTreeSet<u64>> {
        let mut quorums = self.inner.membership.borrow().membership().get_joint_config().clone();
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        quorums.extend(metrics.membership_config.membership().get_joint_config().iter().cloned());
        quorums
    }

    /// The members whose history is not that of most, as far as they can be asked and compared.
    pub async fn corrupt_members(&self) -> Vec<u64> {
        let inner = self.inner.clone();
        let compared = self
            .on_own_threads(async move { corruption::compare(&inner.view, &inner.peers).await });
        compared.await.unwrap_or_default()
    }

    /// Hands leadership to another voter; returns when it leads.
    pub async fn move_leader(&self, target: u64) -> Result<(), MoveLeaderError> {
        let inner = self.inner.clone();
        self.on_own_threads(async move { inner.transfer.to(target).await })
            .await
            .unwrap_or(Err(MoveLeaderError::Stopped))
    }

    /// Waits until the member has stopped by itself, or by [`Node::shutdown`]; says why.
    pub async fn stopped(&self) -> Stop {
        let mut stopped = self.inner.stopped.clone();
        let stop = stopped.wait_for(Option::is_some).await;
        let stop = stop.ok().and_then(|stop| stop.clone());
        stop.unwrap_or_else(|| Stop::Failed("stopped".to_owned()))
    }

    /// Changes the members, here or at the leader; the members after it.
    pub fn change_members(
        &self,
        change: MemberChange,
        limits: MemberLimits,
    ) -> BoxFuture<'static, Result<Members, MemberError>> {
        let (node, inner) = (self.clone(), self.inner.clone());
        Box::pin(async move {
            node.on_own_threads(async move { inner.reconfigurer.request(&change, limits).await })
                .await
                .unwrap_or(Err(MemberError::Stopped))
        })
    }

    /// Hands leadership over to whoever is furthest, where this member leads others; it goes on as
    /// their follower. Returns when another one leads, or after an election timeout.
    pub async fn hand_over(&self) {
        let inner = self.inner.clone();
        let _ = self.on_own_threads(async move { inner.transfer.to_another().await }).await;
    }

    /// Hands leadership over where there is somebody to take it, and stops.
    pub async fn shutdown(&self) {
        let inner = self.inner.clone();
        let _ = self
            .on_own_threads(async move {
                inner.transfer.to_another().await;
                let _ = inner.raft.shutdown().await;
                inner.proposals.close();
                inner.log.close();
            })
            .await;
    }

    /// Sockets and tasks of peers belong to the threads of consensus, whoever asks.
    async fn on_own_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        match &self.inner.threads {
            Some(threads) => threads.spawn(work).await.ok(),
            None => Some(work.await),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.proposals.close();
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
