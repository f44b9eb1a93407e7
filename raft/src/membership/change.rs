//! Reconfigurer: changes the members, as their leader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keelson_storage::command::{Command, MemberAttributes, Op, command};
use keelson_storage::view::View;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Raft};
use tokio::sync::{Mutex, watch};

use super::checks::Standing;
use super::{MemberChange, MemberError, MemberLimits, Members, Refused, outcome, request};
use crate::leadership::{Leadership, Transfer};
use crate::machine::Machine;
use crate::peers::Peers;
use crate::propose::Propose;
use crate::runtime::{Moment, Runtime};
use crate::types::{Member, Membership, StoredMembership, Types, outer_index};

/// Before a change that meets another one is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

type Changes = ChangeMembers<u64, Member>;

/// Makes changes, one at a time; clones share the turn.
#[derive(Clone)]
pub(crate) struct Reconfigurer {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) view: View,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) transfer: Transfer,
    pub(crate) propose: Propose,
    /// A change is given up after this long.
    pub(crate) limit: Duration,
    /// Who has not answered for this long is not reached.
    pub(crate) election: Duration,
    pub(crate) turn: Arc<Mutex<()>>,
}

impl Reconfigurer {
    /// Has the leader, wherever it is, make a change; the members after it.
    pub(crate) async fn request(
        &self,
        change: &MemberChange,
        limits: MemberLimits,
    ) -> Result<Members, MemberError> {
        let begun = Moment::now();
        let mut leadership = self.leadership.clone();
        // A leader that was lost on the way may have done what was asked.
        let mut unknown = false;
        loop {
            let now = *leadership.borrow_and_update();
            let outcome = match now.leader {
                _ if now.is_own => self.change(change, limits).await,
                Some(leader) if leader != self.peers.directory.own() => {
                    match self.peers.reconfigure(leader, &request(change, limits)).await {
                        Ok(reply) => outcome(reply),
                        Err(error) => {
                            unknown |= error.kind() != std::io::ErrorKind::NotConnected;
                            Err(Refused::NotLeader)
                        }
                    }
                }
                Some(_) | None => Err(Refused::NotLeader),
            };
            match (outcome, change) {
                (Ok(members), _) => return Ok(members),
                (Err(Refused::Because(MemberError::NotFound)), MemberChange::Remove(_))
                | (Err(Refused::Because(MemberError::NotLearner)), MemberChange::Promote(_))
                    if unknown =>
                {
                    return Ok(self.known());
                }
                (Err(Refused::Because(error)), _) => return Err(error),
                (Err(Refused::NotLeader), _) if begun.age() >= self.limit => {
                    return Err(match now.leader {
                        Some(_) => MemberError::Timeout,
                        None => MemberError::NoLeader,
                    });
                }
                (Err(Refused::NotLeader), _) => {
                    unknown |= now.is_own;
                    let changed = Runtime::timeout(BUSY_PAUSE, leadership.changed()).await;
                    if matches!(changed, Ok(Err(_))) {
                        return Err(MemberError::Stopped);
                    }
                }
            }
        }
    }

    /// The members, as they are known here.
    fn known(&self) -> Members {
        members(self.peers.membership.borrow().membership())
    }

    /// Makes a change, if this member leads; the members after it.
    pub(crate) async fn change(
        &self,
        change: &MemberChange,
        limits: MemberLimits,
    ) -> Result<Members, Refused> {
        let made = Runtime::timeout(self.limit, async {
            let _turn = self.turn.lock().await;
            self.make(change, limits).await
        });
        made.await.unwrap_or(Err(Refused::Because(MemberError::Timeout)))
    }

    async fn make(&self, change: &MemberChange, limits: MemberLimits) -> Result<Members, Refused> {
        let known = self.settled().await?;
        let membership = known.membership();
        let standing = self.standing(membership);
        if !standing.check(change, limits)? {
            return Ok(standing.members);
        }
        let is_voter = |id: u64| membership.voter_ids().any(|voter| voter == id);
        let changes = match change {
            MemberChange::Add { id, member } => Changes::AddNodes([(*id, member.clone())].into()),
            MemberChange::Remove(id) => {
                if *id == self.peers.directory.own() && self.transfer.to_another().await {
                    // Whoever leads now removes this member, which need not do it to itself.
                    return Err(Refused::NotLeader);
                }
                match is_voter(*id) {
                    true => Changes::RemoveVoters([*id].into()),
                    false => Changes::RemoveNodes([*id].into()),
                }
            }
            MemberChange::Update { id, peer_urls } => {
                let mut member = standing.members.get(id).cloned().unwrap_or_default();
                member.peer_urls.clone_from(peer_urls);
                Changes::SetNodes([(*id, member)].into())
            }
            MemberChange::Promote(id) => {
                let mut member = standing.members.get(id).cloned().unwrap_or_default();
                member.learner = false;
                Changes::Batch(vec![
                    Changes::SetNodes([(*id, member)].into()),
                    Changes::AddVoterIds([*id].into()),
                ])
            }
        };
        let after = self.write(changes).await?;
        if let MemberChange::Remove(id) = change {
            self.bury(*id).await;
            if let Some(member) = standing.members.get(id) {
                self.peers.farewell(*id, member).await;
            }
        }
        Ok(members(&after))
    }

    /// The membership, once no change of it is on its way.
    async fn settled(&self) -> Result<StoredMembership, Refused> {
        loop {
            if !self.leadership.borrow().is_own {
                return Err(Refused::NotLeader);
            }
            let asked = self.raft.with_raft_state(|state| {
                let effective = state.membership_state.effective();
                let settled = state.membership_state.committed().log_id() == effective.log_id();
                (effective.as_ref().clone(), settled)
            });
            let (membership, settled) =
                asked.await.map_err(|_| Refused::Because(MemberError::Stopped))?;
            if settled && membership.get_joint_config().len() == 1 {
                return Ok(membership);
            }
            if settled {
                self.finish().await?;
            }
            Runtime::sleep(BUSY_PAUSE).await;
        }
    }

    /// Ends a change whose leader was lost in the middle of it.
    async fn finish(&self) -> Result<(), Refused> {
        self.write(Changes::AddVoterIds(BTreeSet::new())).await.map(drop)
    }

    /// Has consensus make a change, once it has made all others.
    async fn write(&self, changes: Changes) -> Result<Membership, Refused> {
        loop {
            let error = match self.raft.change_membership(changes.clone(), false).await {
                Ok(response) => return Ok(response.membership.unwrap_or_default()),
                Err(error) => error,
            };
            let RaftError::APIError(error) = error else {
                return Err(MemberError::Stopped.into());
            };
            match error {
                ClientWriteError::ForwardToLeader(_) => return Err(Refused::NotLeader),
                ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                    Runtime::sleep(BUSY_PAUSE).await;
                }
                ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::EmptyMembership(_),
                ) => return Err(MemberError::NotEnoughStarted.into()),
                ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::LearnerNotFound(_),
                ) => return Err(MemberError::NotFound.into()),
                error => {
                    tracing::warn!(%error, "consensus refuses a change of the members");
                    return Err(MemberError::Timeout.into());
                }
            }
        }
    }

    /// Has everybody know for ever that a member has been removed.
    async fn bury(&self, id: u64) {
        let gone = MemberAttributes { member_id: id, removed: true, ..Default::default() };
        (self.propose)(Command { trusted: true, ..command(Op::MemberAttributes(gone)) }).await;
    }

    fn standing(&self, membership: &Membership) -> Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let own = self.peers.directory.own();
        let last = metrics.last_log_index.map_or(0, outer_index).max(1);
        let matching = metrics.replication.iter().flatten();
        let percent = matching
            .map(|(id, at)| (*id, at.as_ref().map_or(0, |at| outer_index(at.index)) * 100 / last));
        let members = members(membership);
        let attributes = self.view.member_attributes();
        let reachable = self.peers.directory.reachable();
        let is_heard = |id: &u64| *id == own || reachable.is_heard(*id, self.election);
        let heard: BTreeSet<u64> = members.keys().copied().filter(is_heard).collect();
        let is_healthy = |id: &u64| *id == own || reachable.is_healthy(*id);
        Standing {
            removed: attributes
                .values()
                .filter(|one| one.removed)
                .map(|one| one.member_id)
                .collect(),
            started: attributes
                .values()
                .filter(|one| !one.removed && !one.name.is_empty())
                .map(|one| one.member_id)
                .collect(),
            healthy: heard.iter().copied().filter(is_healthy).collect(),
            heard,
            percent: percent.collect(),
            members,
        }
    }

    /// What is left to be done for the members to be as they were asked for; whether there is
    /// something that cannot be done yet.
    pub(super) async fn tend(&self) -> Result<bool, Refused> {
        let _turn = self.turn.lock().await;
        let known = self.settled().await?;
        let membership = known.membership();
        let standing = self.standing(membership);
        for attributes in self.view.member_attributes().values() {
            let id = attributes.member_id;
            if !attributes.removed && !standing.members.contains_key(&id) {
                self.bury(id).await;
            }
        }
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let mut waits = false;
        for (id, member) in &standing.members {
            if member.learner || voters.contains(id) {
                continue;
            }
            let has_caught_up = standing.percent.get(id).is_some_and(|percent| *percent >= 99);
            if has_caught_up && standing.heard.contains(id) {
                tracing::info!(member = format!("{id:x}"), "a member that has caught up now votes");
                self.write(Changes::AddVoterIds([*id].into())).await?;
            } else {
                waits = true;
            }
        }
        Ok(waits)
    }

    /// Whether there is nothing to tend.
    pub(super) fn is_settled(&self, membership: &StoredMembership) -> bool {
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let mut nodes = membership.nodes();
        membership.get_joint_config().len() == 1
            && nodes.all(|(id, member)| member.learner || voters.contains(id))
    }
}

fn members(membership: &Membership) -> Members {
    membership.nodes().map(|(id, member)| (*id, member.clone())).collect()
}
