//! Membership: who belongs to the cluster, and changes of that, made by the leader.
//!
//! Consensus counts a new voter from the moment its entry is in the log: a cluster of one that adds
//! a second member would stand still until that has started. So a member that is added as a voter
//! first follows without a vote; the leader gives it one when it has caught up ([`keeper`]). To
//! clients it is a voter from the beginning: [`Member::learner`] says what it was added as.

mod change;
mod checks;
mod keeper;
mod reachable;
mod seeker;

use std::collections::BTreeMap;

use keelson_proto::raft as pb;

pub(crate) use change::Reconfigurer;
pub(crate) use keeper::MembershipKeeper;
pub(crate) use reachable::Reachable;
pub(crate) use seeker::Seeker;

use crate::log::{peer_member, peer_message};
use crate::types::Member;

/// The members, by id.
pub type Members = BTreeMap<u64, Member>;

/// A change of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// One more.
    Add {
        /// Its id, which no member has or had.
        id: u64,
        /// Where it will be reached, and whether it stays without a vote.
        member: Member,
    },
    /// One less, for ever.
    Remove(u64),
    /// Other peer URLs.
    Update {
        /// Whose.
        id: u64,
        /// The new ones.
        peer_urls: Vec<String>,
    },
    /// A learner becomes a voter.
    Promote(u64),
}

/// What is wanted of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberLimits {
    /// Refuse what would leave a majority of members that do not run or cannot be reached.
    pub strict: bool,
    /// Most learners.
    pub learners_max: u32,
}

/// Why the members stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// No such member.
    #[error("member not found")]
    NotFound,
    /// Another member is reached there.
    #[error("peer URLs already exist")]
    PeerUrlExists,
    /// A member has or had this id.
    #[error("member id already exists")]
    IdExists,
    /// As many learners as there may be.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// Too few of those who would vote have started.
    #[error("not enough started members")]
    NotEnoughStarted,
    /// Too few of those who would vote are reached.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// Only learners are promoted.
    #[error("can only promote a learner member")]
    NotLearner,
    /// The learner is too far behind.
    #[error("learner is not in sync with leader")]
    LearnerNotReady,
    /// No leader in time.
    #[error("no leader")]
    NoLeader,
    /// No outcome in time; whether the change will happen is unknown.
    #[error("request timed out")]
    Timeout,
    /// This member is stopping, or has failed.
    #[error("stopped")]
    Stopped,
}

/// How the leader answers, for the wire.
pub(crate) fn reply(outcome: Result<Members, Refused>) -> pb::ReconfigureReply {
    use pb::reconfigure_reply::Refusal;
    let (refusal, members) = match outcome {
        Ok(members) => (Refusal::None, members),
        Err(Refused::NotLeader) => (Refusal::NotLeader, Members::new()),
        Err(Refused::Because(error)) => (refusal(error), Members::new()),
    };
    let members = members.iter().map(|(id, member)| peer_message(*id, member)).collect();
    pb::ReconfigureReply { refusal: refusal.into(), members }
}

/// The leader's answer.
pub(crate) fn outcome(reply: pb::ReconfigureReply) -> Result<Members, Refused> {
    use pb::reconfigure_reply::Refusal;
    let error = match reply.refusal() {
        Refusal::None => return Ok(reply.members.into_iter().map(peer_member).collect()),
        Refusal::NotLeader => return Err(Refused::NotLeader),
        Refusal::Timeout => MemberError::Timeout,
        Refusal::MemberNotFound => MemberError::NotFound,
        Refusal::PeerUrlExists => MemberError::PeerUrlExists,
        Refusal::IdExists => MemberError::IdExists,
        Refusal::TooManyLearners => MemberError::TooManyLearners,
        Refusal::NotEnoughStarted => MemberError::NotEnoughStarted,
        Refusal::Unhealthy => MemberError::Unhealthy,
        Refusal::NotALearner => MemberError::NotLearner,
        Refusal::LearnerNotReady => MemberError::LearnerNotReady,
    };
    Err(Refused::Because(error))
}

fn refusal(error: MemberError) -> pb::reconfigure_reply::Refusal {
    use pb::reconfigure_reply::Refusal;
    match error {
        MemberError::NotFound => Refusal::MemberNotFound,
        MemberError::PeerUrlExists => Refusal::PeerUrlExists,
        MemberError::IdExists => Refusal::IdExists,
        MemberError::TooManyLearners => Refusal::TooManyLearners,
        MemberError::NotEnoughStarted => Refusal::NotEnoughStarted,
        MemberError::Unhealthy => Refusal::Unhealthy,
        MemberError::NotLearner => Refusal::NotALearner,
        MemberError::LearnerNotReady => Refusal::LearnerNotReady,
        MemberError::NoLeader | MemberError::Stopped => Refusal::NotLeader,
        MemberError::Timeout => Refusal::Timeout,
    }
}

/// Why a member does not make a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It does not lead, or not any more; the change may have happened.
    NotLeader,
    /// The change itself.
    Because(MemberError),
}

impl From<MemberError> for Refused {
    fn from(error: MemberError) -> Self {
        Self::Because(error)
    }
}

/// A change as it is sent.
pub(crate) fn request(change: &MemberChange, limits: MemberLimits) -> pb::Reconfigure {
    use pb::reconfigure::Change;
    let change = match change {
        MemberChange::Add { id, member } => Change::Add(peer_message(*id, member)),
        MemberChange::Remove(id) => Change::Remove(*id),
        MemberChange::Update { id, peer_urls } => {
            let peer_urls = peer_urls.clone();
            Change::Update(pb::Peer { id: *id, peer_urls, ..Default::default() })
        }
        MemberChange::Promote(id) => Change::Promote(*id),
    };
    let MemberLimits { strict, learners_max } = limits;
    let limits = Some(pb::ReconfigureLimits { strict, learners_max });
    pb::Reconfigure { limits, change: Some(change) }
}

/// A change that was sent; `None`: of a kind that is not known here.
pub(crate) fn from_request(message: pb::Reconfigure) -> Option<(MemberChange, MemberLimits)> {
    use pb::reconfigure::Change;
    let limits = message.limits.unwrap_or_default();
    let limits = MemberLimits { strict: limits.strict, learners_max: limits.learners_max };
    let change = match message.change? {
        Change::Add(peer) => {
            let (id, member) = peer_member(peer);
            MemberChange::Add { id, member }
        }
        Change::Remove(id) => MemberChange::Remove(id),
        Change::Update(peer) => MemberChange::Update { id: peer.id, peer_urls: peer.peer_urls },
        Change::Promote(id) => MemberChange::Promote(id),
    };
    Some((change, limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_answers_pass_the_wire() {
        let member = Member {
            name: "m".to_owned(),
            peer_urls: vec!["http://127.0.0.1:1".to_owned()],
            client_urls: vec!["http://127.0.0.1:2".to_owned()],
            learner: true,
        };
        let limits = MemberLimits { strict: true, learners_max: 3 };
        for change in [
            MemberChange::Add { id: 7, member: member.clone() },
            MemberChange::Remove(7),
            MemberChange::Update { id: 7, peer_urls: member.peer_urls.clone() },
            MemberChange::Promote(7),
        ] {
            assert_eq!(from_request(request(&change, limits)), Some((change, limits)));
        }
        assert_eq!(from_request(pb::Reconfigure::default()), None);
        let members = Members::from([(7, member)]);
        assert_eq!(outcome(reply(Ok(members.clone()))), Ok(members));
        for error in [
            MemberError::NotFound,
            MemberError::PeerUrlExists,
            MemberError::IdExists,
            MemberError::TooManyLearners,
            MemberError::NotEnoughStarted,
            MemberError::Unhealthy,
            MemberError::NotLearner,
            MemberError::LearnerNotReady,
            MemberError::Timeout,
        ] {
            assert_eq!(outcome(reply(Err(error.into()))), Err(Refused::Because(error)));
        }
        assert_eq!(outcome(reply(Err(Refused::NotLeader))), Err(Refused::NotLeader));
    }
}
