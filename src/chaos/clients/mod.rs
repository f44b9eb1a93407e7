//! Clients: each asks one member at a time, goes on to the next when that fails, and writes down what
//! it asked and was told.

mod append;
mod compactions;
mod holders;
mod kubernetes;
mod leases;
mod register;
mod transactions;
mod watchers;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keelson_check::{Line, Op, OpRequest, Outcome, Response};
use keelson_client::{GrpcStore, Store as _, StoreError};
use keelson_proto::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as RequestOp;
use pb::response_op::Response as ResponseOp;
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::options::Workload;
use super::record::Record;

pub use watchers::Watchers;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longer values are not written down, but what they are known by.
const TEXT_MAX: usize = 4096;
/// The longest pause between two requests.
const PAUSE_MS_MAX: u64 = 60;

/// A store, and the member's name.
pub type Named = (GrpcStore, String);

/// What all clients of a run share.
pub struct Shared {
    /// Where they write down what happened.
    pub record: Record,
    /// They are to end.
    pub stop: AtomicBool,
    /// The last value given out.
    values: AtomicU64,
}

impl Shared {
    /// For a new run.
    pub fn new(record: Record) -> Self {
        Self { record, stop: AtomicBool::new(false), values: AtomicU64::new(0) }
    }
}

/// One client.
pub struct Client {
    name: String,
    stores: Vec<Named>,
    at: usize,
    /// Its number among those of its workload.
    rank: usize,
    shared: Arc<Shared>,
    random: SmallRng,
}

impl Client {
    /// Client `number` of all, and `rank` of those of its workload.
    pub fn new(
        (number, rank): (usize, usize),
        stores: Vec<Named>,
        shared: Arc<Shared>,
        random: SmallRng,
    ) -> Self {
        let at = number % stores.len().max(1);
        Self { name: format!("c{number}"), stores, at, rank, shared, random }
    }

    /// Works until the run stops.
    pub async fn run(mut self, workload: Workload) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            match workload {
                Workload::Register => self.register().await,
                Workload::Append => self.append().await,
                Workload::Transactions => self.transaction().await,
                Workload::Kubernetes => self.kubernetes().await,
                Workload::Leases => self.lease().await,
                Workload::Locks => self.lock().await,
                Workload::Elections => self.election().await,
                Workload::Compactions => self.compaction().await,
            }
            let pause = self.random.random_range(0..PAUSE_MS_MAX);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// A value that nobody else writes.
    fn value(&self) -> String {
        format!("v{}", self.shared.values.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn store(&self) -> GrpcStore {
        self.stores[self.at].0.clone()
    }

    /// Asks, and writes down what came of it; the answer where there was one.
    async fn ask(
        &mut self,
        request: OpRequest,
        answer: impl Future<Output = Result<Response, StoreError>>,
    ) -> Option<Response> {
        let member = self.stores[self.at].1.clone();
        let call = self.shared.record.now();
        let answered = tokio::time::timeout(PATIENCE, answer).await;
        let returned = self.shared.record.now();
        let (outcome, response, error) = match answered {
            Ok(Ok(response)) => (Outcome::Ok, Some(response), String::new()),
            Ok(Err(error)) => (outcome(&error), None, error.to_string()),
            Err(_) => (Outcome::Unknown, None, format!("no answer in {} s", PATIENCE.as_secs())),
        };
        if response.is_none() {
            self.at = (self.at + 1) % self.stores.len();
        }
        self.shared.record.write(Line::Op(Op {
            client: self.name.clone(),
            member: Some(member),
            call,
            returned,
            request,
            outcome,
            response: response.clone().unwrap_or_default(),
            error,
        }));
        response
    }

    /// Puts `to` in the place of `from`.
    async fn swap(
        &mut self,
        key: &str,
        from: Option<String>,
        to: Option<String>,
    ) -> Option<Response> {
        let store = self.store();
        let delete = pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
        let then = match &to {
            Some(to) => put(key, to),
            None => RequestOp::RequestDeleteRange(delete),
        };
        let txn = pb::TxnRequest {
            compare: vec![is(key, from.as_deref())],
            success: ops([then]),
            failure: ops([get(key)]),
        };
        let request = OpRequest::Swap { key: key.to_owned(), from, to };
        self.ask(request, async move {
            let answer = store.txn(txn).await?;
            let found = if answer.succeeded { None } else { values(&answer).into_iter().next() };
            let (succeeded, revision) = (Some(answer.succeeded), revision(answer.header));
            Ok(Response { succeeded, value: found, revision, ..Response::default() })
        })
        .await
    }

    /// Reads a key.
    async fn read(&mut self, key: &str, serializable: bool) -> Option<Response> {
        let store = self.store();
        let range =
            pb::RangeRequest { key: key.to_owned().into(), serializable, ..Default::default() };
        let request = OpRequest::Read { key: key.to_owned(), serializable };
        self.ask(request, async move {
            let answer = store.range(range).await?;
            let value = answer.kvs.first().map(|kv| text(&kv.value));
            let revision = revision(answer.header);
            Ok(Response { value: Some(value), revision, ..Response::default() })
        })
        .await
    }
}

/// Codes by which a request is turned down before anything is done; as gRPC numbers them.
const REFUSALS: [i32; 9] = [3, 5, 6, 7, 8, 9, 11, 12, 16];

/// What is known after such an error.
fn outcome(error: &StoreError) -> Outcome {
    match error {
        StoreError::Unavailable(_) | StoreError::TimedOut(_) => Outcome::Unknown,
        StoreError::Refused { code, .. } if !REFUSALS.contains(code) => Outcome::Unknown,
        StoreError::Refused { .. }
        | StoreError::Compacted
        | StoreError::FutureRevision
        | StoreError::TooLarge
        | StoreError::LeaseNotFound => Outcome::Fail,
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> Option<i64> {
    header.map(|header| header.revision)
}

fn text(bytes: &[u8]) -> String {
    if bytes.len() > TEXT_MAX {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        return format!("{} bytes, {:x}", bytes.len(), hasher.finish());
    }
    String::from_utf8_lossy(bytes).into_owned()
}

fn put(key: &str, value: &str) -> RequestOp {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    RequestOp::RequestPut(pb::PutRequest { key, value, ..Default::default() })
}

fn get(key: &str) -> RequestOp {
    let key = key.to_owned().into();
    RequestOp::RequestRange(pb::RangeRequest { key, ..Default::default() })
}

fn ops(requests: impl IntoIterator<Item = RequestOp>) -> Vec<pb::RequestOp> {
    requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect()
}

/// The comparison with a value; `None`: the key is not there.
fn is(key: &str, value: Option<&str>) -> pb::Compare {
    let (target, union) = match value {
        Some(value) => (CompareTarget::Value, TargetUnion::Value(value.to_owned().into())),
        None => (CompareTarget::Version, TargetUnion::Version(0)),
    };
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: target as i32,
        key: key.to_owned().into(),
        target_union: Some(union),
        ..Default::default()
    }
}

/// What the reads of a transaction found.
fn values(answer: &pb::TxnResponse) -> Vec<Option<String>> {
    let read = answer.responses.iter().filter_map(|one| match &one.response {
        Some(ResponseOp::ResponseRange(range)) => Some(range.kvs.first().map(|kv| text(&kv.value))),
        _ => None,
    });
    read.collect()
}
