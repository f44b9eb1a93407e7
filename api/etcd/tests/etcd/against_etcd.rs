//! The same requests to a real etcd, where the machine has one: the same answers, the same errors,
//! the same events, the same hash.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::request_op::Request;
use pb::response_op::Response;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::member::start;

const SEEDS: u64 = 3;
const REQUESTS: usize = 400;

pub(crate) struct Etcd {
    process: Child,
    pub(crate) address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn start_etcd() -> Option<Etcd> {
    let folder = tempfile::tempdir().unwrap();
    let client = format!("http://127.0.0.1:{}", free_port());
    let peer = format!("http://127.0.0.1:{}", free_port());
    let process = Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.path())
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    Some(Etcd { process, address: client, _folder: folder })
}

/// Waits until somebody listens there.
pub(crate) async fn connect(address: String) -> Channel {
    let endpoint = Endpoint::from_shared(address).unwrap();
    loop {
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(i64),
    Grant(i64),
    Revoke(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    Delete(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Revision(i64),
    Refused(i32, String),
}

pub(crate) struct Client {
    kv: KvClient<Channel>,
    pub(crate) lease: LeaseClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    pub(crate) watch: WatchClient<Channel>,
}

impl Client {
    pub(crate) async fn connect(address: String) -> Self {
        let channel = connect(address).await;
        Self {
            kv: KvClient::new(channel.clone()),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            watch: WatchClient::new(channel),
        }
    }

    pub(crate) async fn ask(&mut self, ask: Ask) -> Answer {
        let answer = match ask {
            Ask::Range(request) => {
                let keys_only = request.keys_only;
                self.kv.range(request).await.map(|answer| {
                    let mut answer = answer.into_inner();
                    plain(&mut answer.header);
                    // Before 3.7 the lease was shown.
                    answer.kvs.iter_mut().filter(|_| keys_only).for_each(|kv| kv.lease = 0);
                    Answer::Range(answer)
                })
            }
            Ask::Put(request) => self.kv.put(request).await.map(|answer| {
                let mut answer = answer.into_inner();
                plain(&mut answer.header);
                Answer::Put(answer)
            }),
            Ask::Delete(request) => self.kv.delete_range(request).await.map(|answer| {
                let mut answer = answer.into_inner();
                plain(&mut answer.header);
                Answer::Delete(answer)
            }),
            Ask::Txn(request) => self.kv.txn(request).await.map(|answer| {
                let mut answer = answer.into_inner();
                plain_txn(&mut answer);
                Answer::Txn(answer)
            }),
            Ask::Compact(revision) => {
                let request = pb::CompactionRequest { revision, physical: true };
                self.kv.compact(request).await.map(|answer| revision_of(answer.into_inner().header))
            }
            Ask::Grant(id) => {
                let request = pb::LeaseGrantRequest { ttl: 600, id };
                let answer = self.lease.lease_grant(request).await;
                answer.map(|answer| revision_of(answer.into_inner().header))
            }
            Ask::Revoke(id) => {
                let answer = self.lease.lease_revoke(pb::LeaseRevokeRequest { id }).await;
                answer.map(|answer| revision_of(answer.into_inner().header))
            }
        };
        answer.unwrap_or_else(|status: Status| {
            Answer::Refused(status.code() as i32, status.message().to_owned())
        })
    }

    async fn hash(&mut self, revision: i64) -> (u32, i64) {
        let request = pb::HashKvRequest { revision };
        let answer = self.maintenance.hash_kv(request).await.unwrap().into_inner();
        (answer.hash, answer.compact_revision)
    }

    /// The events from `start` to `last`, which is the last one's revision.
    async fn events(&mut self, start: i64, last: i64) -> Vec<mvccpb::Event> {
        let create = pb::WatchCreateRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            start_revision: start,
            prev_kv: true,
            ..Default::default()
        };
        let create = RequestUnion::CreateRequest(create);
        let request = pb::WatchRequest { request_union: Some(create) };
        let (requests, outgoing) = tokio::sync::mpsc::channel(1);
        requests.send(request).await.unwrap();
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut answers = self.watch.watch(outgoing).await.unwrap().into_inner();
        let mut events: Vec<mvccpb::Event> = Vec::new();
        let at = |event: &mvccpb::Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        while events.last().is_none_or(|event| at(event) < last) {
            let answer = tokio::time::timeout(Duration::from_secs(20), answers.message());
            events.extend(answer.await.unwrap().unwrap().unwrap().events);
        }
        events
    }
}

/// Ids and terms differ.
fn plain(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        *header = pb::ResponseHeader { revision: header.revision, ..Default::default() };
    }
}

fn plain_txn(answer: &mut pb::TxnResponse) {
    plain(&mut answer.header);
    for response in &mut answer.responses {
        match &mut response.response {
            Some(Response::ResponseRange(answer)) => {
                plain(&mut answer.header);
                answer.kvs.iter_mut().for_each(|kv| kv.lease = 0);
            }
            Some(Response::ResponsePut(answer)) => plain(&mut answer.header),
            Some(Response::ResponseDeleteRange(answer)) => plain(&mut answer.header),
            Some(Response::ResponseTxn(answer)) => plain_txn(answer),
            None => {}
        }
    }
}

fn revision_of(header: Option<pb::ResponseHeader>) -> Answer {
    Answer::Revision(header.map_or(0, |header| header.revision))
}

/// Requests of all forms on a handful of keys, many of them refused.
struct Script {
    random: StdRng,
    revision: i64,
}

impl Script {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    fn key(&mut self) -> Bytes {
        if self.chance(1) {
            return Bytes::new();
        }
        Bytes::from(format!("k{}", self.random.random_range(0..7)))
    }

    fn end(&mut self) -> Bytes {
        match self.random.random_range(0..4) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(b"\0"),
            _ => Bytes::from(format!("k{}", self.random.random_range(0..9))),
        }
    }

    fn at(&mut self) -> i64 {
        match self.random.random_range(0..6) {
            0 | 1 => self.random.random_range(1..self.revision + 3),
            _ => 0,
        }
    }

    fn range(&mut self) -> pb::RangeRequest {
        let sorted = self.chance(30);
        let filtered = self.chance(20);
        let mut bound = |on: bool| match on && filtered {
            true => self.random.random_range(0..self.revision + 1),
            false => 0,
        };
        let (min_mod_revision, max_create_revision) = (bound(true), bound(true));
        pb::RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: self.random.random_range(0..4),
            revision: self.at(),
            sort_order: if sorted { self.random.random_range(0..3) } else { 0 },
            sort_target: if sorted { self.random.random_range(0..5) } else { 0 },
            serializable: self.chance(50),
            keys_only: self.chance(20),
            count_only: self.chance(20),
            min_mod_revision,
            max_create_revision,
            ..Default::default()
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        let (ignore_value, ignore_lease) = (self.chance(10), self.chance(10));
        let has_value = !ignore_value || self.chance(10);
        let leased = self.chance(30);
        pb::PutRequest {
            key: self.key(),
            value: if has_value { self.value() } else { Bytes::new() },
            lease: if leased { self.random.random_range(1..5) } else { 0 },
            prev_kv: self.chance(50),
            ignore_value,
            ignore_lease,
        }
    }

    fn value(&mut self) -> Bytes {
        Bytes::from(format!("v{}", self.random.random_range(0..5)))
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        pb::DeleteRangeRequest { key: self.key(), range_end: self.end(), prev_kv: self.chance(50) }
    }

    fn compare(&mut self) -> pb::Compare {
        let number = self.random.random_range(0..self.revision + 1);
        let (target, union) = match self.random.random_range(0..5) {
            0 => (CompareTarget::Version, TargetUnion::Version(number % 4)),
            1 => (CompareTarget::Create, TargetUnion::CreateRevision(number)),
            2 => (CompareTarget::Mod, TargetUnion::ModRevision(number)),
            3 => (CompareTarget::Lease, TargetUnion::Lease(number % 4)),
            _ => (CompareTarget::Value, TargetUnion::Value(self.value())),
        };
        let result = match self.random.random_range(0..4) {
            0 => CompareResult::Equal,
            1 => CompareResult::NotEqual,
            2 => CompareResult::Greater,
            _ => CompareResult::Less,
        };
        pb::Compare {
            result: result as i32,
            target: target as i32,
            key: self.key(),
            target_union: Some(union),
            range_end: self.end(),
        }
    }

    fn txn(&mut self, depth: u32) -> pb::TxnRequest {
        let compares = self.random.random_range(0..3);
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.branch(depth),
            failure: self.branch(depth),
        }
    }

    fn branch(&mut self, depth: u32) -> Vec<pb::RequestOp> {
        let count = self.random.random_range(0..4);
        let one = |script: &mut Self| match script.random.random_range(0..7) {
            0 | 1 => Request::RequestRange(script.range()),
            // Of a key that the same transaction deletes, this stops an etcd for good.
            2..=4 => Request::RequestPut(pb::PutRequest {
                ignore_value: false,
                ignore_lease: false,
                ..script.put()
            }),
            5 => Request::RequestDeleteRange(script.delete()),
            _ if depth > 0 => Request::RequestTxn(script.txn(depth - 1)),
            _ => Request::RequestRange(script.range()),
        };
        (0..count).map(|_| pb::RequestOp { request: Some(one(self)) }).collect()
    }

    fn next(&mut self) -> Ask {
        match self.random.random_range(0..100) {
            0..25 => Ask::Range(self.range()),
            25..50 => Ask::Put(self.put()),
            50..60 => Ask::Delete(self.delete()),
            60..92 => Ask::Txn(self.txn(2)),
            92..94 => Ask::Compact(self.random.random_range(0..self.revision + 2)),
            94..98 => Ask::Grant(self.random.random_range(1..5)),
            _ => Ask::Revoke(self.random.random_range(1..5)),
        }
    }
}

// upstream: etcd v3 API, all of KV
#[tokio::test(flavor = "multi_thread")]
async fn answers_events_and_hashes_are_those_of_etcd() {
    for seed in 0..SEEDS {
        let Some(etcd) = start_etcd() else {
            eprintln!("no etcd on this machine: nothing compared");
            return;
        };
        let member = start(FaceConfig::default()).await;
        let mut theirs = Client::connect(etcd.address.clone()).await;
        let mut ours = Client::connect(format!("http://{}", member.address)).await;
        let mut script = Script { random: StdRng::seed_from_u64(seed), revision: 1 };
        let mut compacted = 0;
        for number in 0..REQUESTS {
            let ask = script.next();
            let (their, our) = (theirs.ask(ask.clone()).await, ours.ask(ask.clone()).await);
            let refused = |answer: &Answer| matches!(answer, Answer::Refused(..));
            // Of several reasons to refuse a transaction, 3.4 finds another one first.
            if !(matches!(ask, Ask::Txn(_)) && refused(&our) && refused(&their)) {
                assert_eq!(our, their, "seed {seed}, request {number}: {ask:?}");
            }
            match (&ask, &our) {
                (Ask::Compact(revision), Answer::Revision(_)) => compacted = *revision,
                (_, Answer::Put(answer)) => script.revision = answer.header.unwrap().revision,
                (_, Answer::Txn(answer)) => script.revision = answer.header.unwrap().revision,
                _ => {}
            }
            if number % 50 == 49 {
                assert_eq!(ours.hash(0).await, theirs.hash(0).await, "seed {seed}, {number}");
            }
        }
        let last = pb::PutRequest { key: "last".into(), ..Default::default() };
        let Answer::Put(answer) = ours.ask(Ask::Put(last.clone())).await else { panic!("put") };
        theirs.ask(Ask::Put(last)).await;
        let last = answer.header.unwrap().revision;
        // Before 3.4.34 a deletion at the compacted revision itself was lost.
        let start = compacted + 1;
        let (our, their) = (ours.events(start, last).await, theirs.events(start, last).await);
        assert_eq!(our, their, "seed {seed}");
        drop((ours, theirs));
        member.stop().await;
    }
}
