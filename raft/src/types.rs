//! The consensus library's type parameters, fixed once, and the aliases the rest of the crate uses.

use std::fmt;

use bytes::Bytes;
use keelson_storage::wal;
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;
use serde::{Deserialize, Serialize};

use crate::runtime::Runtime;

openraft::declare_raft_types!(
    /// Keelson's types: one leader a term, entries whose payload is already encoded.
    pub Types:
        D = Payload,
        R = Applied,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Append = openraft::raft::AppendEntriesRequest<Types>;
pub(crate) type AppendResult = openraft::raft::StreamAppendResult<Types>;
type LeaderId = openraft::alias::LeaderIdOf<Types>;
pub(crate) type CommittedLeader = openraft::alias::CommittedLeaderIdOf<Types>;

/// An entry's payload as it lies in the log: who proposed it, then the encoded command.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What the library hears of an apply: replies go to their callers by another way, see
/// [`crate::proposals`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied;

/// What everybody knows about a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Stays without a vote until it is promoted.
    pub learner: bool,
}

/// The library counts entries from 0, everything outside of it from 1: 0 is "none".
pub(crate) fn outer_index(index: u64) -> u64 {
    index + 1
}

pub(crate) fn outer_id(id: LogId) -> wal::LogId {
    wal::LogId { term: id.leader_id.term, index: outer_index(id.index) }
}

pub(crate) fn log_id(term: u64, outer_index: u64) -> Option<LogId> {
    let index = outer_index.checked_sub(1)?;
    Some(LogId { leader_id: term.into(), index })
}

pub(crate) fn inner_id(id: wal::LogId) -> Option<LogId> {
    log_id(id.term, id.index)
}

pub(crate) fn outer_vote(vote: &Vote) -> wal::Vote {
    let leader = &vote.leader_id;
    wal::Vote { term: leader.term, node: leader.voted_for, committed: vote.committed }
}

pub(crate) fn inner_vote(vote: wal::Vote) -> Vote {
    Vote { leader_id: LeaderId::new(vote.term, vote.node), committed: vote.committed }
}
