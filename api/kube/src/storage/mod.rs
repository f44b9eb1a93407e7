//! Storage: objects as keys of the store. Everything above sees keys, values and revisions only.

mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keelson_client::{Store, StoreError, Watcher, prefix_end};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb;

use crate::status::Status;

pub(crate) use wire::{stored_bytes, stored_value, wire_bytes};

/// All keys of the API server begin with this.
pub(crate) const ROOT: &str = "/registry/";
/// How long events are kept.
const EVENT_SECONDS: i64 = 3600;
/// Events of this long share one lease.
const LEASE_SHARED_FOR: Duration = Duration::from_secs(60);

/// One stored object.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) revision: i64,
}

impl From<mvccpb::KeyValue> for Stored {
    fn from(kv: mvccpb::KeyValue) -> Self {
        Stored { key: kv.key, value: kv.value, revision: kv.mod_revision }
    }
}

/// One page of a range.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Stored>,
    /// The store's revision when it answered.
    pub(crate) revision: i64,
    /// More keys follow.
    pub(crate) more: bool,
    /// Keys from the page's start to the range's end.
    pub(crate) count: i64,
}

/// What became of a conditional write.
#[derive(Debug)]
pub(crate) enum Written {
    /// Written at this revision.
    Done(i64),
    /// The condition did not hold; this is what is there.
    Lost(Option<Stored>),
}

#[derive(Debug, Default)]
struct SharedLease {
    id: i64,
    until: Option<Instant>,
}

/// The store as the API server uses it.
pub(crate) struct Storage {
    store: Arc<dyn Store>,
    event_lease: tokio::sync::Mutex<SharedLease>,
}

impl Storage {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Storage { store, event_lease: tokio::sync::Mutex::default() }
    }

    /// Reads one object, newest and linearizable.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Stored>, Status> {
        let request = pb::RangeRequest { key: key_bytes(key), ..Default::default() };
        let response = self.store.range(request).await.map_err(failure)?;
        Ok(response.kvs.into_iter().next().map(Stored::from))
    }

    /// Reads keys from `start` to the end of `prefix` at `revision` (0: newest).
    pub(crate) async fn list(
        &self,
        prefix: &str,
        start: &str,
        limit: i64,
        revision: i64,
    ) -> Result<Page, StoreError> {
        let request = pb::RangeRequest {
            key: key_bytes(start),
            range_end: prefix_end(prefix.as_bytes()),
            limit,
            revision,
            ..Default::default()
        };
        let response = self.store.range(request).await?;
        Ok(Page {
            revision: response.header.map_or(0, |h| h.revision),
            items: response.kvs.into_iter().map(Stored::from).collect(),
            more: response.more,
            count: response.count,
        })
    }

    /// The newest revision.
    pub(crate) async fn revision(&self) -> Result<i64, Status> {
        self.store.revision().await.map_err(failure)
    }

    /// Writes a key that must not exist.
    pub(crate) async fn create(
        &self,
        key: &str,
        value: Bytes,
        lease: i64,
    ) -> Result<Written, Status> {
        self.put_if(key, 0, value, lease).await
    }

    /// Writes a key whose modification revision must be `expected`.
    pub(crate) async fn update(
        &self,
        key: &str,
        expected: i64,
        value: Bytes,
        lease: i64,
    ) -> Result<Written, Status> {
        self.put_if(key, expected, value, lease).await
    }

    async fn put_if(
        &self,
        key: &str,
        expected: i64,
        value: Bytes,
        lease: i64,
    ) -> Result<Written, Status> {
        let put = pb::PutRequest { key: key_bytes(key), value, lease, ..Default::default() };
        self.write_if(key, expected, pb::request_op::Request::RequestPut(put)).await
    }

    /// Deletes a key whose modification revision must be `expected`.
    pub(crate) async fn delete(&self, key: &str, expected: i64) -> Result<Written, Status> {
        let delete = pb::DeleteRangeRequest { key: key_bytes(key), ..Default::default() };
        self.write_if(key, expected, pb::request_op::Request::RequestDeleteRange(delete)).await
    }

    async fn write_if(
        &self,
        key: &str,
        expected: i64,
        write: pb::request_op::Request,
    ) -> Result<Written, Status> {
        let read = pb::RangeRequest { key: key_bytes(key), ..Default::default() };
        let request = pb::TxnRequest {
            compare: vec![pb::Compare {
                result: pb::compare::CompareResult::Equal as i32,
                target: pb::compare::CompareTarget::Mod as i32,
                key: key_bytes(key),
                target_union: Some(pb::compare::TargetUnion::ModRevision(expected)),
                ..Default::default()
            }],
            success: vec![pb::RequestOp { request: Some(write) }],
            failure: vec![pb::RequestOp {
                request: Some(pb::request_op::Request::RequestRange(read)),
            }],
        };
        let response = self.store.txn(request).await.map_err(failure)?;
        if response.succeeded {
            return Ok(Written::Done(response.header.map_or(0, |h| h.revision)));
        }
        let now = response.responses.into_iter().find_map(|op| match op.response {
            Some(pb::response_op::Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        Ok(Written::Lost(now.map(Stored::from)))
    }

    /// A lease for an event that is written now. Events of one minute share one.
    pub(crate) async fn event_lease(&self) -> Result<i64, Status> {
        let mut shared = self.event_lease.lock().await;
        if shared.until.is_none_or(|until| until <= Instant::now()) {
            let seconds = EVENT_SECONDS + LEASE_SHARED_FOR.as_secs().cast_signed();
            shared.id = self.store.lease_grant(0, seconds).await.map_err(failure)?;
            shared.until = Some(Instant::now() + LEASE_SHARED_FOR);
        }
        Ok(shared.id)
    }

    /// Forgets what is older than `revision`. Somebody else may have done so already.
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), StoreError> {
        match self.store.compact(revision, false).await {
            Err(StoreError::Compacted) => Ok(()),
            done => done,
        }
    }

    /// Watches everything below [`ROOT`] after `revision`.
    pub(crate) async fn watch_all(&self, after: i64) -> Result<Watcher, StoreError> {
        let spec = keelson_client::WatchSpec {
            key: key_bytes(ROOT),
            range_end: prefix_end(ROOT.as_bytes()),
            start_revision: after + 1,
            prev_kv: false,
            progress_notify: true,
        };
        self.store.watch(spec).await
    }
}

fn key_bytes(key: &str) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

/// A store error as the API answers it.
pub(crate) fn failure(error: StoreError) -> Status {
    match error {
        StoreError::Compacted => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        StoreError::TimedOut(text) => Status::timeout(&text),
        StoreError::TooLarge => Status::generic(413, "RequestEntityTooLarge", error.to_string()),
        StoreError::Unavailable(text) => Status::unavailable(text),
        StoreError::FutureRevision | StoreError::LeaseNotFound | StoreError::Refused { .. } => {
            Status::internal(error)
        }
    }
}
