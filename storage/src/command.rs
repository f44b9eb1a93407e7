//! Commands of the log, and what applying them answers.

use keelson_proto::etcdserverpb as pb;
pub use keelson_proto::raft::{
    AuthChange, Authenticate, Command, Downgrade, LeaseCheckpoint, LeaseCheckpoints, LeaseRevoke,
    MemberAttributes, auth_change::Change as AuthOp, command::Op,
};
use thiserror::Error;

use crate::auth::AuthError;

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
    /// To a user who has shown the password.
    Token(String),
    /// To what has no answer of its own: blank entries, memberships, checkpoints, attributes,
    /// changes of users and roles.
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
    /// Who asks may not, or a change of users and roles makes no sense.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// One change of the version is under way.
    #[error("etcdserver: cluster has a downgrade job in progress")]
    DowngradeInProgress,
    /// None is.
    #[error("etcdserver: no inflight downgrade job")]
    NoDowngrade,
    /// A command of a kind that this version does not know.
    #[error("etcdserver: unknown command in the log")]
    UnknownCommand,
}

/// One command, wrapped; on nobody's behalf.
pub fn command(op: Op) -> Command {
    Command { op: Some(op), ..Command::default() }
}
