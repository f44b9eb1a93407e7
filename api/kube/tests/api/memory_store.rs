//! A store in memory with etcd's semantics, as far as the API server uses them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use keelson_client::{Store, StoreError, WatchItem, WatchSpec, Watcher};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Every version of every key, and who watches.
#[derive(Default)]
struct State {
    revision: i64,
    compacted: i64,
    history: Vec<mvccpb::Event>,
    watchers: Vec<(WatchSpec, mpsc::Sender<Result<WatchItem, StoreError>>)>,
}

/// Clones are the same store.
#[derive(Clone)]
pub(crate) struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    pub(crate) fn new() -> Self {
        MemoryStore(Arc::new(Mutex::new(State { revision: 1, ..State::default() })))
    }
}

fn within(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == start,
        b"\0" => key >= start,
        end => key >= start && key < end,
    }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

impl State {
    fn at(&self, revision: i64) -> BTreeMap<Bytes, mvccpb::KeyValue> {
        let mut keys = BTreeMap::new();
        for event in &self.history {
            let Some(kv) = event.kv.clone() else { continue };
            if revision > 0 && kv.mod_revision > revision {
                break;
            }
            if event.r#type == mvccpb::event::EventType::Delete as i32 {
                keys.remove(&kv.key);
            } else {
                keys.insert(kv.key.clone(), kv);
            }
        }
        keys
    }

    fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, StoreError> {
        if request.revision > self.revision {
            return Err(StoreError::FutureRevision);
        }
        if request.revision > 0 && request.revision < self.compacted {
            return Err(StoreError::Compacted);
        }
        let mut kvs: Vec<_> = self
            .at(request.revision)
            .into_values()
            .filter(|kv| within(&kv.key, &request.key, &request.range_end))
            .collect();
        let count = kvs.len() as i64;
        let limit = usize::try_from(request.limit).ok().filter(|l| *l > 0).unwrap_or(usize::MAX);
        let more = kvs.len() > limit;
        kvs.truncate(if request.count_only { 0 } else { limit });
        Ok(pb::RangeResponse { header: header(self.revision), kvs, more, count })
    }

    fn write(&mut self, op: pb::request_op::Request) -> pb::ResponseOp {
        let response = match op {
            pb::request_op::Request::RequestPut(put) => {
                self.revision += 1;
                let old = self.at(0).remove(&put.key);
                let kv = mvccpb::KeyValue {
                    key: put.key,
                    value: put.value,
                    lease: put.lease,
                    create_revision: old.as_ref().map_or(self.revision, |o| o.create_revision),
                    mod_revision: self.revision,
                    version: old.map_or(1, |o| o.version + 1),
                };
                self.publish(mvccpb::Event { kv: Some(kv), ..Default::default() });
                pb::response_op::Response::ResponsePut(pb::PutResponse::default())
            }
            pb::request_op::Request::RequestDeleteRange(delete) => {
                if self.at(0).contains_key(&delete.key) {
                    self.revision += 1;
                    let kv = mvccpb::KeyValue {
                        key: delete.key,
                        mod_revision: self.revision,
                        ..Default::default()
                    };
                    let r#type = mvccpb::event::EventType::Delete as i32;
                    self.publish(mvccpb::Event { r#type, kv: Some(kv), prev_kv: None });
                }
                pb::response_op::Response::ResponseDeleteRange(pb::DeleteRangeResponse::default())
            }
            pb::request_op::Request::RequestRange(range) => {
                let answer = self.range(&range).expect("the newest revision is there");
                pb::response_op::Response::ResponseRange(answer)
            }
            pb::request_op::Request::RequestTxn(_) => unreachable!("nobody nests transactions"),
        };
        pb::ResponseOp { response: Some(response) }
    }

    fn publish(&mut self, event: mvccpb::Event) {
        self.history.push(event.clone());
        let key = event.kv.as_ref().map(|kv| kv.key.clone()).unwrap_or_default();
        let revision = self.revision;
        self.watchers.retain(|(spec, sender)| {
            let item = WatchItem::Events { revision, events: vec![event.clone()] };
            !within(&key, &spec.key, &spec.range_end) || sender.try_send(Ok(item)).is_ok()
        });
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, StoreError> {
        self.0.lock().range(&request)
    }

    async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, StoreError> {
        let mut state = self.0.lock();
        state.write(pb::request_op::Request::RequestPut(request));
        Ok(pb::PutResponse { header: header(state.revision), prev_kv: None })
    }

    async fn delete_range(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, StoreError> {
        self.0.lock().write(pb::request_op::Request::RequestDeleteRange(request));
        Ok(pb::DeleteRangeResponse::default())
    }

    async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, StoreError> {
        let mut state = self.0.lock();
        let keys = state.at(0);
        let succeeded = request.compare.iter().all(|compare| {
            let revision = keys.get(&compare.key).map_or(0, |kv| kv.mod_revision);
            compare.target_union == Some(pb::compare::TargetUnion::ModRevision(revision))
        });
        let branch = if succeeded { request.success } else { request.failure };
        let responses =
            branch.into_iter().filter_map(|op| op.request).map(|op| state.write(op)).collect();
        Ok(pb::TxnResponse { header: header(state.revision), succeeded, responses })
    }

    async fn compact(&self, revision: i64, _physical: bool) -> Result<(), StoreError> {
        self.0.lock().compacted = revision;
        Ok(())
    }

    async fn watch(&self, spec: WatchSpec) -> Result<Watcher, StoreError> {
        let mut state = self.0.lock();
        let (items, receiver) = mpsc::channel(100_000);
        let (ask, mut asked) = mpsc::channel(1);
        for event in &state.history {
            let Some(kv) = &event.kv else { continue };
            let wanted = spec.start_revision > 0 && kv.mod_revision >= spec.start_revision;
            if wanted && within(&kv.key, &spec.key, &spec.range_end) {
                let revision = kv.mod_revision;
                let item = WatchItem::Events { revision, events: vec![event.clone()] };
                items.try_send(Ok(item)).expect("the channel is large");
            }
        }
        let (store, progress) = (self.clone(), items.clone());
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                let state = store.0.lock();
                let item = WatchItem::Progress { revision: state.revision };
                if progress.try_send(Ok(item)).is_err() {
                    return;
                }
            }
        });
        state.watchers.push((spec, items));
        Ok(Watcher::new(receiver, ask, state.revision))
    }

    async fn lease_grant(&self, _id: i64, _ttl_seconds: i64) -> Result<i64, StoreError> {
        Ok(7)
    }

    async fn lease_keep_alive(&self, _id: i64) -> Result<i64, StoreError> {
        Ok(1)
    }

    async fn lease_revoke(&self, _id: i64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn status(&self) -> Result<pb::StatusResponse, StoreError> {
        Ok(pb::StatusResponse::default())
    }
}
