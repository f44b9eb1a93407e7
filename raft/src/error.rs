//! What can go wrong with a member: starting it, proposing, reading.

use keelson_storage::command::ApplyError;

use crate::log::OpenLogError;

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// Timings or members that make no sense.
    #[error("invalid configuration: {0}")]
    Config(String),
    /// The consensus library refuses, or stopped at once.
    #[error("consensus cannot start: {0}")]
    Consensus(String),
    /// Threads, files, sockets.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Why a proposal has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader was found in time; the command never reached a log.
    #[error("no leader")]
    NoLeader,
    /// The leader changed while the command was on its way; whether it will be applied is unknown.
    #[error("leader changed")]
    LeaderChanged,
    /// No outcome in time; whether it will be applied is unknown.
    #[error("request timed out")]
    Timeout,
    /// Too much is waiting already; never reached a log.
    #[error("too many requests")]
    TooManyRequests,
    /// This member is stopping, or has failed.
    #[error("stopped")]
    Stopped,
    /// Applied, and refused by the state machine.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Why a linearizable read cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed by a quorum in time.
    #[error("no leader")]
    NoLeader,
    /// The state machine did not catch up in time.
    #[error("request timed out")]
    Timeout,
    /// This member is stopping, or has failed.
    #[error("stopped")]
    Stopped,
}

/// Why a lease cannot be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The lease does not exist, or has expired.
    #[error("requested lease not found")]
    NotFound,
    /// No leader in time.
    #[error("no leader")]
    NoLeader,
    /// This member is stopping, or has failed.
    #[error("stopped")]
    Stopped,
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoveLeaderError {
    /// Only the leader can.
    #[error("not leader")]
    NotLeader,
    /// No voter of this id.
    #[error("bad leader transferee")]
    BadTransferee,
    /// Nobody else leads after an election timeout.
    #[error("leader transfer took too long")]
    Timeout,
    /// This member is stopping, or has failed.
    #[error("stopped")]
    Stopped,
}
