//! Clients: each asks one member after the other, and writes down what it asked and was told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelson_check::{Request, Stored, Told, Wish};
use keelson_client::{GrpcStore, Store as _, StoreError};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as RequestOp;
use pb::response_op::Response as ResponseOp;
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::{KEYS, Run, key};

/// The longest pause between two requests of one client.
const PAUSE_MS_MAX: u64 = 200;

/// One client.
pub(crate) struct Client {
    number: u64,
    stores: Vec<GrpcStore>,
    /// The member it asks now.
    at: usize,
    run: Arc<Run>,
    random: SmallRng,
    requests: Vec<Request>,
}

impl Client {
    pub(crate) fn new(
        number: u64,
        stores: Vec<GrpcStore>,
        run: Arc<Run>,
        random: SmallRng,
    ) -> Self {
        let at = usize::try_from(number).unwrap_or(0) % stores.len();
        Self { number, stores, at, run, random, requests: Vec::new() }
    }

    /// Asks until the run is stopped; what it asked and was told.
    pub(crate) async fn run(mut self) -> Vec<Request> {
        while !self.run.stop.load(Ordering::Relaxed) {
            let key = self.random.random_range(0..KEYS);
            match self.random.random_range(0..10) {
                0..4 => {
                    let wish = Wish::Put(self.value());
                    self.ask(key, wish).await;
                }
                4 => {
                    self.ask(key, Wish::Delete).await;
                }
                5 => {
                    self.ask(key, Wish::Read).await;
                }
                _ => self.change_as_kubernetes_does(key).await,
            }
            let pause = self.random.random_range(0..PAUSE_MS_MAX);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.requests
    }

    /// Reads, then writes or deletes what was read if nobody else has changed it since.
    async fn change_as_kubernetes_does(&mut self, key: u64) {
        let Told::Saw(_, found) = self.ask(key, Wish::Read).await else { return };
        let value = self.value();
        let wish = match found {
            None => Wish::Create(value),
            Some(found) if self.random.random_ratio(1, 5) => Wish::Remove(found.changed),
            Some(found) => Wish::Update(value, found.changed),
        };
        self.ask(key, wish).await;
    }

    /// A value that nobody else writes.
    fn value(&self) -> u64 {
        self.run.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn ask(&mut self, key: u64, wish: Wish) -> Told {
        let called = self.run.now();
        let told = match send(&self.stores[self.at], key, wish, self.run.value_bytes).await {
            Ok(told) => told,
            Err(error) => {
                self.at = (self.at + 1) % self.stores.len();
                if error.is_unknown() { Told::Unknown } else { Told::Refused }
            }
        };
        let returned = self.run.now();
        if let Told::Done(_) = told {
            self.run.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.requests.push(Request { client: self.number, key, wish, told, called, returned });
        told
    }
}

async fn send(
    store: &GrpcStore,
    number: u64,
    wish: Wish,
    value_bytes: usize,
) -> Result<Told, StoreError> {
    let revision = |header: Option<pb::ResponseHeader>| header.map_or(0, |header| header.revision);
    let get = pb::RangeRequest { key: key(number).into(), ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: key(number).into(), ..Default::default() };
    let put = |value: u64| pb::PutRequest {
        key: key(number).into(),
        value: format!("{value:0>value_bytes$}").into(),
        ..Default::default()
    };
    let (changed, then) = match wish {
        Wish::Read => {
            let answer = store.range(get).await?;
            return Ok(Told::Saw(revision(answer.header), answer.kvs.first().map(stored)));
        }
        Wish::Put(value) => {
            let answer = store.put(put(value)).await?;
            return Ok(Told::Done(revision(answer.header)));
        }
        Wish::Delete => {
            let answer = store.delete_range(delete).await?;
            let revision = revision(answer.header);
            return Ok(match answer.deleted {
                0 => Told::Saw(revision, None),
                _ => Told::Done(revision),
            });
        }
        Wish::Create(value) => (0, RequestOp::RequestPut(put(value))),
        Wish::Update(value, changed) => (changed, RequestOp::RequestPut(put(value))),
        Wish::Remove(changed) => (changed, RequestOp::RequestDeleteRange(delete)),
    };
    let op = |request| vec![pb::RequestOp { request: Some(request) }];
    let compare = pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: key(number).into(),
        target_union: Some(TargetUnion::ModRevision(changed)),
        ..Default::default()
    };
    let request = pb::TxnRequest {
        compare: vec![compare],
        success: op(then),
        failure: op(RequestOp::RequestRange(get)),
    };
    let answer = store.txn(request).await?;
    let revision = revision(answer.header);
    if answer.succeeded {
        return Ok(Told::Done(revision));
    }
    let found = answer.responses.first().and_then(|answer| match &answer.response {
        Some(ResponseOp::ResponseRange(range)) => range.kvs.first().map(stored),
        _ => None,
    });
    Ok(Told::Saw(revision, found))
}

/// A key as the check knows it.
pub(crate) fn stored(kv: &KeyValue) -> Stored {
    let value = std::str::from_utf8(&kv.value).ok().and_then(|value| value.parse().ok());
    Stored {
        value: value.unwrap_or(u64::MAX),
        created: kv.create_revision,
        changed: kv.mod_revision,
        version: kv.version,
    }
}
