//! What a request can end in, and its form on the wire: etcd's codes and exact words.

use keelson_client::StoreError;
use keelson_raft::{LeaseError, MemberError, ProposeError, ReadError as ReadIndexError};
use keelson_storage::auth::AuthError;
use keelson_storage::command::ApplyError;
use keelson_storage::mvcc::ReadError;
use keelson_storage::mvcc::check::RequestError;
use thiserror::Error;
use tonic::{Code, Status};

/// Why a request has no answer.
#[derive(Debug, Clone, Error)]
pub enum FaceError {
    /// It can never succeed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It is refused in the present state.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Reading fails.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Larger than allowed.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// A lease for longer than allowed.
    #[error("etcdserver: too large lease TTL")]
    TtlTooLarge,
    /// No leader is known.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// The leader changed; a write may have happened.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    /// The time ran out; a write may have happened.
    #[error("etcdserver: request timed out")]
    TimedOut,
    /// Too much waits already.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// The member stops.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// Not a version.
    #[error("etcdserver: wrong downgrade target version format")]
    DowngradeFormat,
    /// Not the version before.
    #[error("etcdserver: invalid downgrade target version")]
    DowngradeTarget,
    /// Tokens are only checked here.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// Only the leader can do this.
    #[error("etcdserver: not leader")]
    NotLeader,
    /// No voter of this id.
    #[error("etcdserver: bad leader transferee")]
    BadTransferee,
    /// Nobody else leads yet.
    #[error("etcdserver: request timed out, leader transfer took too long")]
    TransferTimedOut,
    /// No URLs, or such as no member can have.
    #[error("etcdserver: given member URLs are invalid")]
    BadMemberUrls,
    /// The members stay as they are.
    #[error(transparent)]
    Member(#[from] Unchanged),
    /// A learner answers few requests.
    #[error("etcdserver: rpc not supported for learner")]
    Learner,
    /// Who proclaims or resigns does not lead.
    #[error("election: not leader")]
    NotElected,
    /// Nobody leads.
    #[error("election: no leader")]
    NobodyElected,
    /// A leader must be named.
    #[error("\"leader\" field must be provided")]
    LeaderMissing,
    /// The key was deleted while it waited.
    #[error("mutex: session is expired")]
    SessionExpired,
    /// A failure of a request that a recipe made on a client's behalf.
    #[error("{0}")]
    Recipe(Box<FaceError>),
    /// A request of a form that the method does not take.
    #[error("unsupported range stream request")]
    Unimplemented,
    /// An answer of the wrong kind: a bug.
    #[error("etcdserver: unexpected answer")]
    Unexpected,
}

/// Why the members stay as they are, in etcd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    /// No such member.
    #[error("etcdserver: member not found")]
    NotFound,
    /// Another member is reached there.
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    /// A member has this id.
    #[error("etcdserver: member ID already exist")]
    IdExists,
    /// As many learners as there may be.
    #[error("etcdserver: too many learner members in cluster")]
    TooManyLearners,
    /// Too few would be there.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// Too few are reached.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    /// Only learners are promoted.
    #[error("etcdserver: can only promote a learner member")]
    NotLearner,
    /// The learner is behind.
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
}

impl FaceError {
    /// etcd's code for it.
    // upstream: etcd v3 API, error table
    pub fn code(&self) -> Code {
        match self {
            Self::Request(error) => match error {
                RequestError::EmptyKey
                | RequestError::EmptyOperation
                | RequestError::ValueProvided
                | RequestError::LeaseProvided
                | RequestError::TooManyOperations
                | RequestError::DuplicateKey
                | RequestError::InvalidSort => Code::InvalidArgument,
            },
            Self::Apply(error) => match error {
                ApplyError::KeyNotFound => Code::InvalidArgument,
                ApplyError::LeaseNotFound => Code::NotFound,
                ApplyError::LeaseExists => Code::FailedPrecondition,
                ApplyError::Compacted { .. } | ApplyError::FutureRevision { .. } => {
                    Code::OutOfRange
                }
                ApplyError::DowngradeInProgress | ApplyError::NoDowngrade => {
                    Code::FailedPrecondition
                }
                ApplyError::NoSpace => Code::ResourceExhausted,
                ApplyError::Corrupt => Code::DataLoss,
                ApplyError::Auth(error) => auth_code(*error),
                ApplyError::UnknownCommand => Code::Unknown,
            },
            Self::Read(error) => match error {
                ReadError::Compacted { .. } | ReadError::FutureRevision { .. } => Code::OutOfRange,
                ReadError::Engine(_) | ReadError::Damaged(_) => Code::Internal,
            },
            Self::TooLarge
            | Self::DowngradeFormat
            | Self::DowngradeTarget
            | Self::BadMemberUrls => Code::InvalidArgument,
            Self::Member(Unchanged::NotFound) => Code::NotFound,
            Self::Member(Unchanged::Unhealthy) => Code::Unavailable,
            Self::Member(_) | Self::Learner => Code::FailedPrecondition,
            Self::TtlTooLarge => Code::OutOfRange,
            Self::NoLeader | Self::LeaderChanged | Self::TimedOut | Self::Stopped => {
                Code::Unavailable
            }
            Self::TooManyRequests | Self::Unexpected => Code::Unknown,
            Self::NotLeader | Self::BadTransferee => Code::FailedPrecondition,
            Self::VerifyOnly
            | Self::TransferTimedOut
            | Self::NotElected
            | Self::NobodyElected
            | Self::LeaderMissing
            | Self::SessionExpired
            | Self::Recipe(_) => Code::Unknown,
            Self::Unimplemented => Code::Unimplemented,
        }
    }

    /// The same as the failure of a recipe: clients get the words alone.
    pub(crate) fn of_recipe(error: Self) -> Self {
        Self::Recipe(Box::new(error))
    }

    /// Its form on the wire.
    pub fn status(&self) -> Status {
        Status::new(self.code(), self.to_string())
    }
}

// upstream: etcd v3 API, error table
fn auth_code(error: AuthError) -> Code {
    match error {
        AuthError::UserEmpty
        | AuthError::RoleEmpty
        | AuthError::Failed
        | AuthError::PermissionNotGiven
        | AuthError::InvalidManagement
        | AuthError::OldRevision => Code::InvalidArgument,
        AuthError::RootUserMissing
        | AuthError::RootRoleMissing
        | AuthError::UserExists
        | AuthError::UserNotFound
        | AuthError::RoleExists
        | AuthError::RoleNotFound
        | AuthError::RoleNotGranted
        | AuthError::PermissionNotGranted
        | AuthError::NotEnabled => Code::FailedPrecondition,
        AuthError::PermissionDenied => Code::PermissionDenied,
        AuthError::InvalidToken => Code::Unauthenticated,
        AuthError::NoPasswordUser => Code::Unknown,
    }
}

impl From<AuthError> for FaceError {
    fn from(error: AuthError) -> Self {
        Self::Apply(ApplyError::Auth(error))
    }
}

impl From<ProposeError> for FaceError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NoLeader => Self::NoLeader,
            ProposeError::LeaderChanged => Self::LeaderChanged,
            ProposeError::Timeout => Self::TimedOut,
            ProposeError::TooManyRequests => Self::TooManyRequests,
            ProposeError::Stopped => Self::Stopped,
            ProposeError::Apply(error) => Self::Apply(error),
        }
    }
}

impl From<MemberError> for FaceError {
    fn from(error: MemberError) -> Self {
        Self::Member(match error {
            MemberError::NoLeader => return Self::NoLeader,
            MemberError::Timeout => return Self::TimedOut,
            MemberError::Stopped => return Self::Stopped,
            MemberError::NotFound => Unchanged::NotFound,
            MemberError::PeerUrlExists => Unchanged::PeerUrlExists,
            MemberError::IdExists => Unchanged::IdExists,
            MemberError::TooManyLearners => Unchanged::TooManyLearners,
            MemberError::NotEnoughStarted => Unchanged::NotEnoughStarted,
            MemberError::Unhealthy => Unchanged::Unhealthy,
            MemberError::NotLearner => Unchanged::NotLearner,
            MemberError::LearnerNotReady => Unchanged::LearnerNotReady,
        })
    }
}

impl From<ReadIndexError> for FaceError {
    fn from(error: ReadIndexError) -> Self {
        match error {
            ReadIndexError::NoLeader => Self::NoLeader,
            ReadIndexError::Timeout => Self::TimedOut,
            ReadIndexError::Stopped => Self::Stopped,
        }
    }
}

impl From<LeaseError> for FaceError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::NotFound => Self::Apply(ApplyError::LeaseNotFound),
            LeaseError::NoLeader => Self::NoLeader,
            LeaseError::Stopped => Self::Stopped,
        }
    }
}

impl From<FaceError> for Status {
    fn from(error: FaceError) -> Self {
        error.status()
    }
}

impl From<FaceError> for StoreError {
    fn from(error: FaceError) -> Self {
        match &error {
            FaceError::Apply(ApplyError::Compacted { .. })
            | FaceError::Read(ReadError::Compacted { .. }) => Self::Compacted,
            FaceError::Apply(ApplyError::FutureRevision { .. })
            | FaceError::Read(ReadError::FutureRevision { .. }) => Self::FutureRevision,
            FaceError::Apply(ApplyError::LeaseNotFound) => Self::LeaseNotFound,
            FaceError::TooLarge => Self::TooLarge,
            FaceError::TimedOut => Self::TimedOut(error.to_string()),
            FaceError::NoLeader
            | FaceError::LeaderChanged
            | FaceError::Stopped
            | FaceError::TooManyRequests => Self::Unavailable(error.to_string()),
            FaceError::Request(_)
            | FaceError::Apply(_)
            | FaceError::Read(_)
            | FaceError::TtlTooLarge
            | FaceError::DowngradeFormat
            | FaceError::DowngradeTarget
            | FaceError::VerifyOnly
            | FaceError::NotLeader
            | FaceError::BadTransferee
            | FaceError::TransferTimedOut
            | FaceError::BadMemberUrls
            | FaceError::Member(_)
            | FaceError::Learner
            | FaceError::NotElected
            | FaceError::NobodyElected
            | FaceError::LeaderMissing
            | FaceError::SessionExpired
            | FaceError::Recipe(_)
            | FaceError::Unimplemented
            | FaceError::Unexpected => {
                Self::Refused { code: error.code() as i32, message: error.to_string() }
            }
        }
    }
}
