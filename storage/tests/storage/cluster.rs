//! One member's state machine, fed commands as a log would.

use std::sync::Arc;

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::{ApplyError, ApplyResult, Op, Reply, command};
use keelson_storage::engine::SortedMap;
use keelson_storage::entry::{LogEntry, Payload};
use keelson_storage::machine::{Options, StateMachine};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;

pub(crate) struct Member {
    pub(crate) engine: Arc<SortedMap>,
    pub(crate) machine: StateMachine,
}

impl Member {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(SortedMap::new()))
    }

    pub(crate) fn on(engine: Arc<SortedMap>) -> Self {
        let options = Options { compaction_thread: false, ..Options::default() };
        let machine = StateMachine::open(engine.clone(), options).unwrap();
        Self { engine, machine }
    }

    pub(crate) fn entry(&self, op: Op) -> LogEntry {
        let index = self.machine.applied().index + 1;
        LogEntry { term: 1, index, payload: Payload::Command(command(op)) }
    }

    pub(crate) fn apply(&mut self, op: Op) -> ApplyResult {
        let entry = self.entry(op);
        self.machine.apply(&[entry]).remove(0)
    }

    pub(crate) fn apply_all(&mut self, ops: Vec<Op>) -> Vec<ApplyResult> {
        let first = self.machine.applied().index + 1;
        let entries: Vec<LogEntry> = (first..)
            .zip(ops)
            .map(|(index, op)| LogEntry { term: 1, index, payload: Payload::Command(command(op)) })
            .collect();
        self.machine.apply(&entries)
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        match self.apply(Op::Put(put(key, value))) {
            Ok(Reply::Put(response)) => response.header.unwrap().revision,
            other => panic!("put {key}: {other:?}"),
        }
    }

    pub(crate) fn delete(&mut self, key: &str, end: &str) -> (i64, i64) {
        match self.apply(Op::DeleteRange(delete(key, end))) {
            Ok(Reply::DeleteRange(response)) => {
                (response.header.unwrap().revision, response.deleted)
            }
            other => panic!("delete {key}: {other:?}"),
        }
    }

    pub(crate) fn txn(&mut self, request: pb::TxnRequest) -> Result<pb::TxnResponse, ApplyError> {
        match self.apply(Op::Txn(request))? {
            Reply::Txn(response) => Ok(response),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), ApplyError> {
        let request = pb::CompactionRequest { revision, physical: false };
        self.apply(Op::Compaction(request)).map(drop)
    }

    pub(crate) fn carry_out_compaction(&self) {
        let compactor = self.machine.compactor();
        while compactor.step().unwrap() {}
    }

    /// The keys of a range at a revision as `key=value` and the count.
    pub(crate) fn keys(&self, key: &str, end: &str, revision: i64) -> (Vec<String>, i64) {
        let request = pb::RangeRequest { revision, ..range(key, end) };
        let response = self.machine.view().range(&request).unwrap();
        (shown(&response), response.count)
    }
}

pub(crate) fn shown(response: &pb::RangeResponse) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    response.kvs.iter().map(|kv| format!("{}={}", text(&kv.key), text(&kv.value))).collect()
}

pub(crate) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    }
}

pub(crate) fn delete(key: &str, end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        prev_kv: true,
    }
}

pub(crate) fn range(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..Default::default()
    }
}

pub(crate) fn op(request: impl Into<Request>) -> pb::RequestOp {
    pb::RequestOp { request: Some(request.into()) }
}

pub(crate) fn version_is(key: &str, version: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Version as i32,
        key: Bytes::copy_from_slice(key.as_bytes()),
        target_union: Some(TargetUnion::Version(version)),
        range_end: Bytes::new(),
    }
}
