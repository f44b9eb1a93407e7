//! What can go wrong with a store, as its clients tell cases apart.

use thiserror::Error;
use tonic::{Code, Status};

/// An error of the store. Texts are etcd's.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The revision asked for is no longer kept.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision asked for is not reached yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// No answer now (no leader, stopping, connection lost); nothing is known of a write.
    #[error("{0}")]
    Unavailable(String),
    /// The time ran out; a write may have happened.
    #[error("{0}")]
    TimedOut(String),
    /// The request is larger than the store takes.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// The lease does not exist.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// The store refused the request; it had no effect.
    #[error("{message}")]
    Refused {
        /// The gRPC code.
        code: i32,
        /// The store's own words.
        message: String,
    },
}

impl StoreError {
    /// Whether a write that failed so may nevertheless have happened.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut(_))
    }

    /// Whether the same request may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        self.is_unknown()
    }
}

impl From<Status> for StoreError {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match message.as_str() {
            "etcdserver: mvcc: required revision has been compacted" => return Self::Compacted,
            "etcdserver: mvcc: required revision is a future revision" => {
                return Self::FutureRevision;
            }
            "etcdserver: request is too large" => return Self::TooLarge,
            "etcdserver: requested lease not found" => return Self::LeaseNotFound,
            _ => {}
        }
        if message.starts_with("etcdserver: request timed out") {
            return Self::TimedOut(message);
        }
        // Made on this side: the connection broke, and whatever was sent may have arrived.
        if std::error::Error::source(&status).is_some() {
            return Self::Unavailable(message);
        }
        match status.code() {
            Code::Unavailable => Self::Unavailable(message),
            Code::DeadlineExceeded | Code::Cancelled => Self::TimedOut(message),
            code => Self::Refused { code: code as i32, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_leaves_a_write_open_and_a_refusal_does_not() {
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert_eq!(broken.code(), Code::Unknown);
        assert!(StoreError::from(broken).is_unknown());
        let refused = Status::unknown("etcdserver: too many requests");
        assert!(!StoreError::from(refused).is_unknown());
    }
}
