//! Leases: what the log says of them, and the pure rules of when they end.

mod expiry;
mod table;

pub use expiry::{Expiry, Renewal};
pub use table::News;
pub(crate) use table::Table;

use keelson_proto::raft::StoredLease;

/// Shortest time to live that is granted, at etcd's default election timeout.
pub const TTL_SECONDS_MIN: i64 = 2;
/// Longest time to live that is granted.
pub const TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// A lease, as every member knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Never 0.
    pub id: i64,
    /// The time it is granted for, and again at each renewal.
    pub ttl_seconds: i64,
    /// What was left at the last checkpoint; 0: none was made.
    pub remaining_ttl_seconds: i64,
}

impl Lease {
    /// As it lies in the engine.
    pub fn stored(&self) -> StoredLease {
        StoredLease {
            id: self.id,
            ttl_seconds: self.ttl_seconds,
            remaining_ttl_seconds: self.remaining_ttl_seconds,
        }
    }

    /// The inverse of [`Lease::stored`].
    pub fn from_stored(stored: &StoredLease) -> Self {
        Self {
            id: stored.id,
            ttl_seconds: stored.ttl_seconds,
            remaining_ttl_seconds: stored.remaining_ttl_seconds,
        }
    }
}
