//! The store client trait and its gRPC implementation.
//!
//! What stands above the store (the API server first of all) knows it through [`Store`] alone:
//! the store in the same process and any etcd v3 endpoint answer alike.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod grpc;
mod json;
mod keys;
mod watch;

pub use error::StoreError;
pub use grpc::{GrpcStore, GrpcStoreConfig};
pub use json::{change, key_value};
pub use keys::prefix_end;
pub use watch::{WatchItem, WatchSpec, Watcher, WatcherHandle};

use async_trait::async_trait;
use keelson_proto::etcdserverpb as pb;

/// The store as its clients see it; the messages are etcd's own.
///
/// A write that fails with [`StoreError::is_unknown`] may have happened.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads keys at one revision.
    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, StoreError>;

    /// Writes one key.
    async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, StoreError>;

    /// Deletes a range of keys.
    async fn delete_range(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, StoreError>;

    /// Runs one transaction.
    async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, StoreError>;

    /// Forgets history up to a revision.
    async fn compact(&self, revision: i64, physical: bool) -> Result<(), StoreError>;

    /// Opens a watcher. It is registered when this returns: an event after that is seen.
    async fn watch(&self, spec: WatchSpec) -> Result<Watcher, StoreError>;

    /// Grants a lease of `ttl_seconds`; `id` 0 lets the store choose. Returns the lease's id.
    async fn lease_grant(&self, id: i64, ttl_seconds: i64) -> Result<i64, StoreError>;

    /// Renews a lease once; returns the seconds granted, 0 where there is no such lease.
    async fn lease_keep_alive(&self, id: i64) -> Result<i64, StoreError>;

    /// Ends a lease and deletes its keys.
    async fn lease_revoke(&self, id: i64) -> Result<(), StoreError>;

    /// State of the member that answers: sizes, leader, indexes.
    async fn status(&self) -> Result<pb::StatusResponse, StoreError>;

    /// The newest revision a linearizable read would see now. Cheap where the store is near.
    async fn revision(&self) -> Result<i64, StoreError> {
        let request = pb::RangeRequest {
            key: bytes::Bytes::from_static(b"\0"),
            count_only: true,
            limit: 1,
            ..Default::default()
        };
        Ok(self.range(request).await?.header.map_or(0, |header| header.revision))
    }
}
