//! Commands of the log, what applying them answers, and both on the wire.

use keelson_proto::etcdserverpb as pb;
pub use keelson_proto::raft::{
    Command, LeaseCheckpoint, LeaseCheckpoints, LeaseRevoke, MemberAttributes, command::Op,
};
use keelson_proto::raft::{Done, Outcome, outcome::Result as Wire};
use thiserror::Error;

/// What applying one entry gave.
pub type ApplyResult = Result<Reply, ApplyError>;

/// The answer to a command; `header.revision` is filled, the rest of the header is the face's.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To a put.
    Put(pb::PutResponse),
    /// To a delete.
    DeleteRange(pb::DeleteRangeResponse),
    /// To a transaction.
    Txn(pb::TxnResponse),
    /// To a compaction: agreed, not yet carried out.
    Compaction(pb::CompactionResponse),
    /// To a grant.
    LeaseGrant(pb::LeaseGrantResponse),
    /// To a revocation, or to the expiry of leases.
    LeaseRevoke(pb::LeaseRevokeResponse),
    /// To an alarm raised or ended.
    Alarm(pb::AlarmResponse),
    /// To what has no answer of its own: blank entries, memberships, checkpoints, attributes.
    Done {
        /// The store's revision after it.
        revision: i64,
    },
}

/// A command refused at apply, on every member alike; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// The lease does not exist.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A lease of this id exists.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// A revision that is no longer kept.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// The revision asked for.
        wanted: i64,
        /// The compacted revision.
        oldest: i64,
    },
    /// A revision that is not reached.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision {
        /// The revision asked for.
        wanted: i64,
        /// The current revision.
        current: i64,
    },
    /// The quota is used up.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The members' data differ.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
    /// A command of a kind that this version does not know.
    #[error("etcdserver: unknown command in the log")]
    UnknownCommand,
}

/// An outcome from another member that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("outcome of an unknown kind")]
pub struct UnknownOutcome;

/// The result as it is sent to the member that forwarded the command.
pub fn encode_result(result: ApplyResult) -> Outcome {
    let wire = match result {
        Ok(Reply::Put(response)) => Wire::Put(response),
        Ok(Reply::DeleteRange(response)) => Wire::DeleteRange(response),
        Ok(Reply::Txn(response)) => Wire::Txn(response),
        Ok(Reply::Compaction(response)) => Wire::Compaction(response),
        Ok(Reply::LeaseGrant(response)) => Wire::LeaseGrant(response),
        Ok(Reply::LeaseRevoke(response)) => Wire::LeaseRevoke(response),
        Ok(Reply::Alarm(response)) => Wire::Alarm(response),
        Ok(Reply::Done { revision }) => Wire::Done(Done { revision }),
        Err(error) => Wire::Error(encode_error(&error)),
    };
    Outcome { result: Some(wire) }
}

/// The result as another member sent it.
pub fn decode_result(outcome: Outcome) -> Result<ApplyResult, UnknownOutcome> {
    Ok(match outcome.result.ok_or(UnknownOutcome)? {
        Wire::Put(response) => Ok(Reply::Put(response)),
        Wire::DeleteRange(response) => Ok(Reply::DeleteRange(response)),
        Wire::Txn(response) => Ok(Reply::Txn(response)),
        Wire::Compaction(response) => Ok(Reply::Compaction(response)),
        Wire::LeaseGrant(response) => Ok(Reply::LeaseGrant(response)),
        Wire::LeaseRevoke(response) => Ok(Reply::LeaseRevoke(response)),
        Wire::Alarm(response) => Ok(Reply::Alarm(response)),
        Wire::Done(Done { revision }) => Ok(Reply::Done { revision }),
        Wire::Error(error) => Err(decode_error(&error)?),
    })
}

fn encode_error(error: &ApplyError) -> keelson_proto::raft::ApplyError {
    use keelson_proto::raft::apply_error::Code;
    let (code, wanted, bound) = match *error {
        ApplyError::KeyNotFound => (Code::KeyNotFound, 0, 0),
        ApplyError::LeaseNotFound => (Code::LeaseNotFound, 0, 0),
        ApplyError::LeaseExists => (Code::LeaseExists, 0, 0),
        ApplyError::Compacted { wanted, oldest } => (Code::Compacted, wanted, oldest),
        ApplyError::FutureRevision { wanted, current } => (Code::FutureRevision, wanted, current),
        ApplyError::NoSpace => (Code::NoSpace, 0, 0),
        ApplyError::Corrupt => (Code::Corrupt, 0, 0),
        ApplyError::UnknownCommand => (Code::EmptyCommand, 0, 0),
    };
    keelson_proto::raft::ApplyError { code: code as i32, wanted, bound }
}

fn decode_error(error: &keelson_proto::raft::ApplyError) -> Result<ApplyError, UnknownOutcome> {
    use keelson_proto::raft::apply_error::Code;
    let (wanted, bound) = (error.wanted, error.bound);
    Ok(match error.code() {
        Code::Unspecified => return Err(UnknownOutcome),
        Code::KeyNotFound => ApplyError::KeyNotFound,
        Code::LeaseNotFound => ApplyError::LeaseNotFound,
        Code::LeaseExists => ApplyError::LeaseExists,
        Code::Compacted => ApplyError::Compacted { wanted, oldest: bound },
        Code::FutureRevision => ApplyError::FutureRevision { wanted, current: bound },
        Code::NoSpace => ApplyError::NoSpace,
        Code::Corrupt => ApplyError::Corrupt,
        Code::EmptyCommand => ApplyError::UnknownCommand,
    })
}

/// One command, wrapped.
pub fn command(op: Op) -> Command {
    Command { op: Some(op) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_the_way_to_another_member() {
        for result in [
            Ok(Reply::Done { revision: 7 }),
            Ok(Reply::Put(pb::PutResponse::default())),
            Err(ApplyError::Compacted { wanted: 3, oldest: 9 }),
            Err(ApplyError::FutureRevision { wanted: 30, current: 9 }),
            Err(ApplyError::LeaseNotFound),
        ] {
            assert_eq!(decode_result(encode_result(result.clone())), Ok(result));
        }
        assert_eq!(decode_result(Outcome { result: None }), Err(UnknownOutcome));
    }
}
