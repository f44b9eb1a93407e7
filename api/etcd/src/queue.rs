//! Queues: keys under a prefix, each of a lease, whose turn comes in the order they were created.
//! Locks and elections are queues; a key's create revision grows from turn to turn, so that it
//! serves as a fencing token.
// upstream: etcd v3 API, "Lock", "Election"

use bytes::Bytes;
use keelson_client::{Store, WatchItem, WatchSpec, prefix_end};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::{KeyValue, event::EventType};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request;
use pb::response_op::Response;

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::{kv, lease};

/// Who comes without a lease gets one for so long.
const LEASE_TTL_SECONDS: i64 = 60;

/// A key in a queue; dropping it armed takes the key away again.
pub(crate) struct Place {
    face: EtcdFace,
    prefix: Bytes,
    pub(crate) key: Bytes,
    pub(crate) lease: i64,
    pub(crate) create_revision: i64,
    /// Of the answer that gave the place.
    pub(crate) header: Option<pb::ResponseHeader>,
    /// What stood there before, where the lease had its place already.
    pub(crate) existing: Option<KeyValue>,
    kept: bool,
}

/// The lease given, or a new one.
pub(crate) async fn lease_or_new(face: &EtcdFace, lease: i64) -> Result<i64, FaceError> {
    if lease != 0 {
        return Ok(lease);
    }
    let request = pb::LeaseGrantRequest { id: 0, ttl: LEASE_TTL_SECONDS };
    Ok(lease::grant(face.clone(), request).await?.id)
}

impl Place {
    /// Takes the lease's place in the queue of this name, or finds it there.
    pub(crate) async fn take(
        face: &EtcdFace,
        name: &[u8],
        lease: i64,
        value: Bytes,
    ) -> Result<Self, FaceError> {
        let lease = lease_or_new(face, lease).await?;
        let prefix = prefix(name);
        let key = Bytes::from([&prefix[..], format!("{lease:x}").as_bytes()].concat());
        let put = pb::PutRequest { key: key.clone(), value, lease, ..Default::default() };
        let get = pb::RangeRequest { key: key.clone(), ..Default::default() };
        let request = pb::TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![op(Request::RequestPut(put))],
            failure: vec![op(Request::RequestRange(get))],
        };
        let mut answer = kv::txn(face.clone(), request).await?;
        let existing = match answer.responses.pop().and_then(|one| one.response) {
            Some(Response::ResponseRange(mut range)) => range.kvs.pop(),
            _ => None,
        };
        let now = answer.header.as_ref().map_or(0, |header| header.revision);
        Ok(Self {
            face: face.clone(),
            prefix,
            key,
            lease,
            create_revision: existing.as_ref().map_or(now, |kv| kv.create_revision),
            header: answer.header,
            existing,
            kept: false,
        })
    }

    /// Waits until no older key is left.
    pub(crate) async fn wait(&self) -> Result<(), FaceError> {
        loop {
            let request = pb::RangeRequest {
                max_create_revision: self.create_revision - 1,
                ..by_age(&self.prefix, SortOrder::Descend)
            };
            let mut answer = kv::range(self.face.clone(), request).await?;
            let Some(before) = answer.kvs.pop() else { return Ok(()) };
            let revision = answer.header.map_or(0, |header| header.revision);
            self.until_deleted(before.key, revision).await?;
        }
    }

    /// The place stays when this is dropped.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    async fn until_deleted(&self, key: Bytes, revision: i64) -> Result<(), FaceError> {
        let _asked = self.face.authorize(|auth, by| auth.may_read(by, &key, b""))?;
        let spec = WatchSpec { key, start_revision: revision, ..Default::default() };
        let watcher = self.face.watch(spec).await;
        let Ok(mut watcher) = watcher else { return Ok(()) };
        // Where the watcher ends in another way, the queue is looked at once more.
        while let Some(Ok(item)) = watcher.next().await {
            let WatchItem::Events { events, .. } = item else { continue };
            if events.iter().any(|event| event.r#type() == EventType::Delete) {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    /// Who breaks off while waiting is not waited for.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.kept {
            return;
        }
        let (face, key, revision) = (self.face.clone(), self.key.clone(), self.create_revision);
        runtime.spawn(async move {
            if let Err(error) = withdraw(&face, key, revision).await {
                tracing::debug!(%error, "a place in a queue is left to its lease");
            }
        });
    }
}

/// Deletes a key if it is still the one created then.
pub(crate) async fn withdraw(
    face: &EtcdFace,
    key: Bytes,
    create_revision: i64,
) -> Result<pb::TxnResponse, FaceError> {
    let delete = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
    let request = pb::TxnRequest {
        compare: vec![created_at(&key, create_revision)],
        success: vec![op(Request::RequestDeleteRange(delete))],
        failure: Vec::new(),
    };
    kv::txn(face.clone(), request).await
}

/// Sets a key if it is still the one created then; whether it was.
pub(crate) async fn replace(
    face: &EtcdFace,
    key: Bytes,
    create_revision: i64,
    lease: i64,
    value: Bytes,
) -> Result<pb::TxnResponse, FaceError> {
    let put = pb::PutRequest { key: key.clone(), value, lease, ..Default::default() };
    let request = pb::TxnRequest {
        compare: vec![created_at(&key, create_revision)],
        success: vec![op(Request::RequestPut(put))],
        failure: Vec::new(),
    };
    kv::txn(face.clone(), request).await
}

/// The oldest key of a queue.
pub(crate) async fn oldest(face: &EtcdFace, name: &[u8]) -> Result<pb::RangeResponse, FaceError> {
    kv::range(face.clone(), by_age(&prefix(name), SortOrder::Ascend)).await
}

/// What the keys of a queue begin with.
pub(crate) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

fn by_age(prefix: &Bytes, order: SortOrder) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: order as i32,
        sort_target: SortTarget::Create as i32,
        ..Default::default()
    }
}

fn created_at(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Default::default()
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}
