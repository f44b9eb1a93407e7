//! The library's messages as ours.

use std::io;

use keelson_proto::raft as pb;
use keelson_storage::wal::{EntryKind, EntryRecord};
use openraft::raft::{StreamAppendError, VoteRequest, VoteResponse};

use crate::log::{entry_from_record, entry_record};
use crate::types::{
    Append, AppendResult, Entry, LogId, Types, Vote, inner_vote, log_id, outer_id, outer_vote,
};

pub(crate) fn id(id: LogId) -> pb::LogId {
    let outer = outer_id(id);
    pb::LogId { term: outer.term, index: outer.index }
}

pub(crate) fn from_id(id: Option<pb::LogId>) -> Option<LogId> {
    id.and_then(|id| log_id(id.term, id.index))
}

pub(crate) fn vote(vote: &Vote) -> pb::Vote {
    let outer = outer_vote(vote);
    pb::Vote { term: outer.term, node: outer.node, committed: outer.committed }
}

pub(crate) fn from_vote(vote: Option<pb::Vote>) -> io::Result<Vote> {
    let vote = vote.ok_or_else(|| missing("vote"))?;
    let pb::Vote { term, node, committed } = vote;
    Ok(inner_vote(keelson_storage::wal::Vote { term, node, committed }))
}

pub(crate) fn append(request: &Append) -> pb::Append {
    pb::Append {
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.map(id),
        entries: request.entries.iter().map(entry).collect(),
        committed: request.leader_commit.map(id),
    }
}

pub(crate) fn from_append(message: pb::Append) -> io::Result<Append> {
    Ok(Append {
        vote: from_vote(message.vote)?,
        prev_log_id: from_id(message.previous),
        entries: message.entries.into_iter().map(from_entry).collect::<io::Result<_>>()?,
        leader_commit: from_id(message.committed),
    })
}

fn entry(entry: &Entry) -> pb::Entry {
    let record = entry_record(entry);
    pb::Entry {
        term: record.id.term,
        index: record.id.index,
        kind: record.kind as u32,
        payload: record.payload,
    }
}

fn from_entry(entry: pb::Entry) -> io::Result<Entry> {
    let kind = u8::try_from(entry.kind).ok().and_then(EntryKind::from_number);
    let kind = kind.ok_or_else(|| missing("known entry kind"))?;
    let id = keelson_storage::wal::LogId { term: entry.term, index: entry.index };
    entry_from_record(EntryRecord { id, kind, payload: entry.payload })
}

pub(crate) fn appended(result: AppendResult) -> pb::Appended {
    use pb::appended::Result as Wire;
    let result = match result {
        Ok(matching) => Wire::Matching(pb::Matching { id: matching.map(id) }),
        Err(StreamAppendError::Conflict(at)) => Wire::Conflict(id(at)),
        Err(StreamAppendError::HigherVote(higher)) => Wire::Higher(vote(&higher)),
    };
    pb::Appended { result: Some(result) }
}

pub(crate) fn from_appended(message: pb::Appended) -> io::Result<AppendResult> {
    use pb::appended::Result as Wire;
    Ok(match message.result.ok_or_else(|| missing("result"))? {
        Wire::Matching(matching) => Ok(from_id(matching.id)),
        Wire::Conflict(at) => {
            let at = from_id(Some(at)).ok_or_else(|| missing("conflicting entry"))?;
            Err(StreamAppendError::Conflict(at))
        }
        Wire::Higher(higher) => Err(StreamAppendError::HigherVote(from_vote(Some(higher))?)),
    })
}

pub(crate) fn ballot(request: &VoteRequest<Types>, rehearsal: bool) -> pb::Ballot {
    pb::Ballot {
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.map(id),
        transfer: request.leadership_transfer,
        rehearsal,
    }
}

pub(crate) fn from_ballot(message: pb::Ballot) -> io::Result<VoteRequest<Types>> {
    Ok(VoteRequest {
        vote: from_vote(message.vote)?,
        last_log_id: from_id(message.last),
        leadership_transfer: message.transfer,
    })
}

pub(crate) fn ballot_reply(reply: &VoteResponse<Types>) -> pb::BallotReply {
    pb::BallotReply {
        vote: Some(vote(&reply.vote)),
        granted: reply.vote_granted,
        last: reply.last_log_id.map(id),
    }
}

pub(crate) fn from_ballot_reply(message: pb::BallotReply) -> io::Result<VoteResponse<Types>> {
    Ok(VoteResponse {
        vote: from_vote(message.vote)?,
        vote_granted: message.granted,
        last_log_id: from_id(message.last),
    })
}

fn missing(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a peer message without {what}"))
}
