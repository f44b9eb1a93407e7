//! Tables of edge cases against a real etcd, where the machine has one: every combination of what a
//! range can ask, transactions that are refused and why, leases, the life of a watch stream.

use std::time::Duration;

use bytes::Bytes;
use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

use crate::against_etcd::{Answer, Ask, Client, Etcd, start_etcd};
use crate::member::{Member, start};

struct Sides {
    ours: Client,
    theirs: Client,
    member: Member,
    _etcd: Etcd,
    differences: Vec<String>,
}

impl Sides {
    async fn begin() -> Option<Self> {
        let Some(etcd) = start_etcd() else {
            eprintln!("no etcd on this machine: nothing compared");
            return None;
        };
        let member = start(FaceConfig::default()).await;
        let theirs = Client::connect(etcd.address.clone()).await;
        let ours = Client::connect(format!("http://{}", member.address)).await;
        Some(Self { ours, theirs, member, _etcd: etcd, differences: Vec::new() })
    }

    async fn ask(&mut self, ask: Ask) -> Answer {
        let (our, their) = (self.ours.ask(ask.clone()).await, self.theirs.ask(ask.clone()).await);
        if our != their {
            self.differ(&ask, &our, &their);
        }
        our
    }

    fn differ(
        &mut self,
        ask: &dyn std::fmt::Debug,
        our: &dyn std::fmt::Debug,
        their: &dyn std::fmt::Debug,
    ) {
        self.differences.push(format!("{ask:?}\n  ours   {our:?}\n  theirs {their:?}"));
    }

    async fn end(self) {
        let Self { differences, member, ours, theirs, .. } = self;
        drop((ours, theirs));
        assert!(
            differences.is_empty(),
            "{} differences:\n{}",
            differences.len(),
            differences[..differences.len().min(12)].join("\n")
        );
        member.stop().await;
    }
}

fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn range(key: &'static str, end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

fn delete(key: &'static str, end: &'static str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: true }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn version_is(key: &'static str, version: i64) -> pb::Compare {
    pb::Compare {
        key: key.into(),
        target: CompareTarget::Version as i32,
        target_union: Some(TargetUnion::Version(version)),
        ..Default::default()
    }
}

/// Keys whose versions, revisions and values sort in different orders; compacted at 4, now at 12.
async fn fill(sides: &mut Sides) {
    for (key, value) in [("a", "9"), ("b", "1"), ("c", "5"), ("a", "8"), ("d", "1"), ("b", "2")] {
        sides.ask(Ask::Put(put(key, value))).await;
    }
    sides.ask(Ask::Delete(delete("c", ""))).await;
    for (key, value) in [("c", "0"), ("e", ""), ("d", "1"), ("a", "3")] {
        sides.ask(Ask::Put(put(key, value))).await;
    }
    sides.ask(Ask::Compact(4)).await;
}

// upstream: etcd v3 API, "Range"
#[tokio::test(flavor = "multi_thread")]
async fn every_range_is_answered_as_by_etcd() {
    let Some(mut sides) = Sides::begin().await else { return };
    fill(&mut sides).await;
    let bounds =
        [("a", ""), ("a", "c"), ("b", "\0"), ("\0", "\0"), ("c", "a"), ("x", "z"), ("", "")];
    for (key, end) in bounds {
        for revision in [-1, 0, 3, 4, 6, 8, 12, 13] {
            for limit in [0, 1, 3, -1] {
                sides
                    .ask(Ask::Range(pb::RangeRequest { revision, limit, ..range(key, end) }))
                    .await;
            }
        }
    }
    // Orders and targets that are none end the process of 3.4.
    for sort_order in [0, 1, 2] {
        for sort_target in [0, 1, 2, 3, 4] {
            for limit in [0, 2] {
                let sorted =
                    pb::RangeRequest { sort_order, sort_target, limit, ..range("a", "\0") };
                sides.ask(Ask::Range(sorted.clone())).await;
                let old = pb::RangeRequest { revision: 7, ..sorted.clone() };
                sides.ask(Ask::Range(old)).await;
                let bare = pb::RangeRequest { keys_only: true, ..sorted.clone() };
                sides.ask(Ask::Range(bare)).await;
                let count = pb::RangeRequest { count_only: true, ..sorted.clone() };
                sides.ask(Ask::Range(count)).await;
                for bound in [0, 2, 8, 9, 12, 20] {
                    let all = range("a", "\0");
                    for filtered in [
                        pb::RangeRequest { min_mod_revision: bound, ..sorted.clone() },
                        pb::RangeRequest { max_mod_revision: bound, ..sorted.clone() },
                        pb::RangeRequest { min_create_revision: bound, ..sorted.clone() },
                        pb::RangeRequest { max_create_revision: bound, ..sorted.clone() },
                        pb::RangeRequest {
                            min_mod_revision: bound,
                            limit,
                            count_only: true,
                            ..all
                        },
                    ] {
                        sides.ask(Ask::Range(filtered)).await;
                    }
                }
            }
        }
    }
    sides.end().await;
}

// upstream: etcd v3 API, "Put", "DeleteRange", "Compact"
#[tokio::test(flavor = "multi_thread")]
async fn puts_deletions_and_compactions_end_as_in_etcd() {
    let Some(mut sides) = Sides::begin().await else { return };
    fill(&mut sides).await;
    sides.ask(Ask::Grant(5)).await;
    for (key, value) in [("", "v"), ("a", "v"), ("new", "v"), ("a", ""), ("new2", "")] {
        for (ignore_value, ignore_lease) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            for lease in [0, 5, 99] {
                let request = pb::PutRequest {
                    lease,
                    ignore_value,
                    ignore_lease,
                    prev_kv: true,
                    ..put(key, value)
                };
                sides.ask(Ask::Put(request)).await;
                sides.ask(Ask::Range(range("a", "\0"))).await;
            }
        }
    }
    for (key, end) in
        [("", ""), ("", "\0"), ("zz", ""), ("c", "a"), ("b", "c"), ("d", "\0"), ("d", "\0")]
    {
        sides.ask(Ask::Delete(delete(key, end))).await;
    }
    for revision in [-1, 0, 1, 4, 5, 5, 1000] {
        sides.ask(Ask::Compact(revision)).await;
    }
    sides.ask(Ask::Revoke(5)).await;
    sides.ask(Ask::Revoke(5)).await;
    sides.ask(Ask::Range(range("\0", "\0"))).await;
    sides.end().await;
}

fn txn(success: Vec<Request>, failure: Vec<Request>) -> pb::TxnRequest {
    let ops = |ops: Vec<Request>| ops.into_iter().map(op).collect();
    pb::TxnRequest { compare: Vec::new(), success: ops(success), failure: ops(failure) }
}

fn many(count: usize) -> Vec<Request> {
    (0..count).map(|_| Request::RequestRange(range("a", ""))).collect()
}

/// Transactions with one thing about them each.
fn transactions() -> Vec<pb::TxnRequest> {
    let put = |key| Request::RequestPut(put(key, "t"));
    let del = |key, end| Request::RequestDeleteRange(delete(key, end));
    let get =
        |key, revision| Request::RequestRange(pb::RangeRequest { revision, ..range(key, "") });
    let nest = |success, failure| Request::RequestTxn(txn(success, failure));
    let compared = |compare: Vec<pb::Compare>| pb::TxnRequest {
        compare,
        ..txn(vec![put("yes")], vec![put("no")])
    };
    let mut all = vec![
        txn(vec![], vec![]),
        txn(vec![put("x"), put("x")], vec![]),
        txn(vec![put("x")], vec![put("x")]),
        txn(vec![put("x"), del("x", "")], vec![]),
        txn(vec![del("x", ""), put("x")], vec![]),
        txn(vec![del("w", "z"), put("x")], vec![]),
        txn(vec![del("x", "z"), del("w", "y")], vec![]),
        txn(vec![put("x"), nest(vec![put("x")], vec![])], vec![]),
        txn(vec![nest(vec![put("x")], vec![put("x")])], vec![]),
        txn(vec![nest(vec![put("x")], vec![]), nest(vec![put("x")], vec![])], vec![]),
        txn(vec![nest(vec![del("x", "")], vec![]), nest(vec![put("x")], vec![])], vec![]),
        txn(vec![nest(vec![put("x")], vec![]), nest(vec![del("x", "")], vec![])], vec![]),
        txn(vec![nest(vec![], vec![put("x")]), put("x")], vec![]),
        txn(vec![put("")], vec![]),
        txn(vec![get("", 0)], vec![]),
        txn(vec![del("", "")], vec![]),
        txn(many(128), vec![]),
        txn(many(129), vec![]),
        txn(vec![], many(129)),
        txn(vec![nest(many(127), vec![])], vec![]),
        txn(vec![nest(many(128), vec![])], vec![]),
        txn(vec![put("g"), get("g", 0), get("a", 6)], vec![]),
        txn(vec![put("g"), get("g", 3)], vec![]),
        txn(vec![put("g"), get("g", 9999)], vec![]),
        txn(vec![put("g"), get("g", -1)], vec![]),
        txn(vec![get("a", 3)], vec![]),
        txn(vec![get("a", 9999)], vec![]),
        txn(vec![put("g"), del("g2", ""), get("g", 0)], vec![]),
        txn(vec![del("nothing", "")], vec![]),
        compared(vec![version_is("", 1)]),
        compared(vec![version_is("a", 3)]),
        compared(vec![version_is("missing", 0)]),
        pb::TxnRequest { success: vec![pb::RequestOp { request: None }], ..txn(vec![], vec![]) },
    ];
    for result in 0..5 {
        for (target, union) in [
            (CompareTarget::Version, Some(TargetUnion::Version(3))),
            (CompareTarget::Create, Some(TargetUnion::CreateRevision(2))),
            (CompareTarget::Mod, Some(TargetUnion::ModRevision(12))),
            (CompareTarget::Value, Some(TargetUnion::Value("3".into()))),
            (CompareTarget::Lease, Some(TargetUnion::Lease(0))),
            (CompareTarget::Value, None),
            (CompareTarget::Mod, None),
        ] {
            for (key, range_end) in
                [("a", ""), ("missing", ""), ("a", "c"), ("x1", "x2"), ("a", "\0")]
            {
                all.push(compared(vec![pb::Compare {
                    result,
                    target: target as i32,
                    key: key.into(),
                    range_end: Bytes::from(range_end),
                    target_union: union.clone(),
                }]));
            }
        }
    }
    let unequal = CompareResult::NotEqual as i32;
    let nested = pb::TxnRequest {
        compare: vec![pb::Compare { result: unequal, ..version_is("n", 0) }],
        success: vec![op(put("saw"))],
        failure: vec![op(put("saw-not"))],
    };
    all.push(txn(vec![put("n"), Request::RequestTxn(nested)], vec![]));
    all
}

// upstream: etcd v3 API, "Txn"
#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_ends_as_in_etcd() {
    let Some(mut sides) = Sides::begin().await else { return };
    fill(&mut sides).await;
    for request in transactions() {
        sides.ask(Ask::Txn(request)).await;
        sides.ask(Ask::Range(range("\0", "\0"))).await;
    }
    sides.end().await;
}

// upstream: etcd v3 API, "Lease"
#[tokio::test(flavor = "multi_thread")]
async fn leases_are_granted_and_asked_for_as_in_etcd() {
    let Some(mut sides) = Sides::begin().await else { return };
    for (id, ttl) in [(1, 600), (1, 600), (2, 0), (3, -5), (4, 9_000_000_000), (5, 9_000_000_001)] {
        let mut told = Vec::new();
        for side in [&mut sides.ours, &mut sides.theirs] {
            let answer = side.lease.lease_grant(pb::LeaseGrantRequest { id, ttl }).await;
            told.push(match answer.map(tonic::Response::into_inner) {
                Ok(answer) => format!("{} {} {}", answer.id, answer.ttl, answer.error),
                Err(status) => format!("{:?} {}", status.code(), status.message()),
            });
        }
        if told[0] != told[1] {
            sides.differ(&(id, ttl), &told[0], &told[1]);
        }
    }
    sides.ask(Ask::Put(pb::PutRequest { lease: 1, ..put("b", "1") })).await;
    sides.ask(Ask::Put(pb::PutRequest { lease: 1, ..put("a", "1") })).await;
    for (id, keys) in [(1, false), (1, true), (2, true), (99, true), (0, false)] {
        let mut told = Vec::new();
        for side in [&mut sides.ours, &mut sides.theirs] {
            let request = pb::LeaseTimeToLiveRequest { id, keys };
            told.push(match side.lease.lease_time_to_live(request).await {
                Ok(answer) => {
                    let mut answer = answer.into_inner();
                    // Theirs come in no order.
                    answer.keys.sort();
                    format!("{} {} {:?}", answer.ttl.signum(), answer.granted_ttl, answer.keys)
                }
                Err(status) => format!("{:?} {}", status.code(), status.message()),
            });
        }
        if told[0] != told[1] {
            sides.differ(&(id, keys), &told[0], &told[1]);
        }
    }
    sides.end().await;
}

/// What a watch stream is asked, and how many answers are awaited before the next request.
type Dialogue = Vec<(RequestUnion, usize)>;

fn create(
    watch_id: i64,
    start_revision: i64,
    key: &'static str,
    end: &'static str,
) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        watch_id,
        start_revision,
        key: key.into(),
        range_end: end.into(),
        ..Default::default()
    }
}

fn dialogue() -> Dialogue {
    let cancel = |watch_id| RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id });
    let creates = [
        (create(0, 0, "a", ""), 1),
        (create(0, 0, "a", "c"), 1),
        (create(7, 0, "b", "\0"), 1),
        (create(7, 0, "b", ""), 1),
        (create(0, 0, "c", "a"), 1),
        (create(0, 3, "a", ""), 2),
        (create(0, 100, "a", ""), 1),
        (pb::WatchCreateRequest { prev_kv: true, ..create(20, 5, "\0", "\0") }, 2),
        (
            pb::WatchCreateRequest {
                filters: vec![FilterType::Noput as i32],
                ..create(21, 5, "a", "\0")
            },
            2,
        ),
        (
            pb::WatchCreateRequest {
                filters: vec![FilterType::Nodelete as i32],
                ..create(22, 5, "c", "")
            },
            2,
        ),
        (pb::WatchCreateRequest { filters: vec![0, 1], ..create(23, 5, "a", "\0") }, 1),
        (create(24, 5, "", ""), 1),
        (create(25, 5, "", "\0"), 2),
    ];
    let creates =
        creates.into_iter().map(|(one, answers)| (RequestUnion::CreateRequest(one), answers));
    let mut all: Dialogue = creates.collect();
    all.extend([(cancel(7), 1), (cancel(99), 0), (cancel(20), 1), (cancel(20), 0), (cancel(0), 1)]);
    all
}

async fn talk(client: &mut Client, dialogue: Dialogue) -> Vec<String> {
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let opened = client.watch.watch(outgoing);
    let mut said = Vec::new();
    let mut answers = None;
    let mut opened = Some(opened);
    for (request, count) in dialogue {
        requests.send(pb::WatchRequest { request_union: Some(request) }).await.unwrap();
        if let Some(opened) = opened.take() {
            answers = Some(opened.await.unwrap().into_inner());
        }
        let answers = answers.as_mut().unwrap();
        for _ in 0..count {
            let answer = tokio::time::timeout(Duration::from_secs(10), answers.message());
            let Ok(answer) = answer.await else {
                said.push("silence".to_owned());
                break;
            };
            let mut answer = answer.unwrap().unwrap();
            let mut revision = answer.header.take().map_or(0, |header| header.revision);
            if let Some(last) = answer.events.last() {
                // Not before the last event; how far beyond is a matter of chance.
                let last = last.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                assert!(revision >= last, "{answer:?}");
                revision = last;
            }
            said.push(format!("{revision} {answer:?}"));
        }
    }
    said
}

// upstream: etcd v3 API, "Watch"
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_stream_says_what_etcds_says() {
    let Some(mut sides) = Sides::begin().await else { return };
    fill(&mut sides).await;
    let ours = talk(&mut sides.ours, dialogue()).await;
    let theirs = talk(&mut sides.theirs, dialogue()).await;
    for (place, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        if our != their {
            sides.differ(&place, our, their);
        }
    }
    assert_eq!(ours.len(), theirs.len());
    sides.end().await;
}
