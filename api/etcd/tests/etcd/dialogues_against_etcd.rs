//! Dialogues with a real etcd, where the machine has one, and with this store: fragments and
//! progress of watches, lists and ends of leases, compaction at its edges, locks and elections.

use std::time::Duration;

use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::v3electionpb as election;
use keelson_proto::v3lockpb as lock;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::watch_request::RequestUnion;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::against_etcd::{connect, start_etcd};
use crate::auth_against_etcd::told;
use crate::member::start_in_memory;
use crate::watch::{Stream, keys};

/// Holds the same dialogue with both, and compares what is said line by line.
async fn compare(dialogue: impl AsyncFn(Channel) -> Vec<String>) {
    let Some(etcd) = start_etcd() else {
        eprintln!("no etcd on this machine: nothing compared");
        return;
    };
    let member = start_in_memory(FaceConfig::default()).await;
    let ours = dialogue(member.channel().await).await;
    let theirs = dialogue(connect(etcd.address.clone()).await).await;
    let differ = |(ours, theirs): (&String, &String)| {
        (ours != theirs).then(|| format!("  ours   {ours}\n  theirs {theirs}"))
    };
    let differences: Vec<String> = ours.iter().zip(&theirs).filter_map(differ).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(ours.len(), theirs.len());
    member.stop().await;
}

/// A header without ids and terms.
fn plain(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        *header = pb::ResponseHeader { revision: header.revision, ..Default::default() };
    }
}

/// What was asked and what was said.
#[derive(Default)]
struct Protocol(Vec<String>);

impl Protocol {
    fn note<T: std::fmt::Debug>(
        &mut self,
        asked: impl std::fmt::Debug,
        answer: Result<Response<T>, Status>,
        plain: impl FnOnce(&mut T),
    ) {
        self.0.push(format!("{asked:?}: {}", told(answer, plain)));
    }
}

fn put(key: &str, value: Vec<u8>, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.into(), lease, ..Default::default() }
}

/// Deletes so many keys of that size in one revision; the pieces in which a watcher is told.
async fn pieces(
    channel: &Channel,
    (count, size): (usize, usize),
    (fragment, prev_kv): (bool, bool),
) -> String {
    let mut kv = KvClient::new(channel.clone());
    for number in 0..count {
        kv.put(put(&format!("f{number:03}"), vec![1; size], 0)).await.unwrap();
    }
    let mut stream = Stream::on(channel.clone());
    stream.create(pb::WatchCreateRequest { fragment, prev_kv, ..keys("f", "g", 0) }).await;
    assert!(stream.next().await.created);
    let all = pb::DeleteRangeRequest { key: "f".into(), range_end: "g".into(), prev_kv: false };
    kv.delete_range(all).await.unwrap();
    let (mut pieces, mut told) = (Vec::new(), 0);
    while told < count {
        let answer = stream.next().await;
        told += answer.events.len();
        let first = answer.events.first().and_then(|event| event.kv.clone()).unwrap_or_default();
        let revision = answer.header.map_or(0, |header| header.revision);
        pieces.push((answer.fragment, answer.events.len(), first.key, revision));
    }
    format!("{count} of {size}, {fragment} {prev_kv}: {pieces:?}")
}

// upstream: etcd v3 API, "Watch": fragment
#[tokio::test(flavor = "multi_thread")]
async fn a_large_revision_is_cut_where_etcd_cuts_it() {
    compare(async |channel| {
        let mut said = Vec::new();
        for events in [
            (1, 10),
            (1, 1_400_000),
            (2, 1_400_000),
            (2, 1_000_000),
            (4, 700_000),
            (30, 100_000),
            (100, 30_000),
            (127, 20_000),
        ] {
            for how in [(true, true), (true, false), (false, true)] {
                said.push(pieces(&channel, events, how).await);
            }
        }
        said
    })
    .await;
}

// upstream: etcd v3 API, "Watch": fragment
#[tokio::test(flavor = "multi_thread")]
async fn the_past_in_pieces_is_the_whole_past() {
    compare(async |channel| {
        let mut kv = KvClient::new(channel.clone());
        for number in 0..40 {
            kv.put(put(&format!("f{}", number % 7), vec![number; 200_000], 0)).await.unwrap();
        }
        let mut stream = Stream::on(channel.clone());
        let request = pb::WatchCreateRequest { fragment: true, ..keys("f", "g", 2) };
        stream.create(request).await;
        assert!(stream.next().await.created);
        let mut said = Vec::new();
        while said.len() < 40 {
            // Where the past is cut is a matter of batches, which are nobody's business.
            for event in stream.next().await.events {
                let kv = event.kv.unwrap_or_default();
                let former = event.prev_kv.map(|kv| (kv.mod_revision, kv.value[0]));
                said.push(format!("{:?} {} {} {former:?}", kv.key, kv.mod_revision, kv.value[0]));
            }
        }
        said
    })
    .await;
}

// upstream: etcd v3 API, "Watch": progress
#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_on_request_as_by_etcd() {
    compare(async |channel| {
        let mut kv = KvClient::new(channel.clone());
        for number in 0..5 {
            kv.put(put("a", vec![number], 0)).await.unwrap();
        }
        let progress = || RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        let cancel = |watch_id| RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id });
        let create = |key, start| RequestUnion::CreateRequest(keys(key, "", start));
        let mut stream = Stream::on(channel.clone());
        let mut said = Vec::new();
        // What is asked, what is written then, and how many answers there are. Before 3.4.25 a
        // stream was told so without a watcher, or with one that was behind, too.
        for (number, (ask, key, answers)) in [
            (create("a", 0), None, 1),
            (progress(), None, 1),
            (progress(), Some("b"), 1),
            (progress(), None, 1),
            (create("b", 3), None, 2),
            (progress(), Some("a"), 2),
            (progress(), None, 1),
            (create("c", 8), None, 1),
            (progress(), Some("b"), 2),
            (cancel(0), None, 1),
            (progress(), None, 1),
        ]
        .into_iter()
        .enumerate()
        {
            stream.ask(ask).await;
            let mut heard = 0;
            if key.is_none() {
                heard = answers;
                listen(&mut stream, answers, number, &mut said).await;
            } else if answers > 0 {
                heard = 1;
                listen(&mut stream, 1, number, &mut said).await;
            }
            if let Some(key) = key {
                kv.put(put(key, vec![9], 0)).await.unwrap();
            }
            listen(&mut stream, answers - heard, number, &mut said).await;
        }
        said
    })
    .await;
}

async fn listen(stream: &mut Stream, answers: usize, number: usize, said: &mut Vec<String>) {
    for _ in 0..answers {
        let mut answer = stream.next().await;
        plain(&mut answer.header);
        if !answer.events.is_empty() {
            // Not before the last event; how far beyond is a matter of chance.
            answer.header = None;
        }
        said.push(format!("{number}: {answer:?}"));
    }
}

// upstream: etcd v3 API, "Lease"
#[tokio::test(flavor = "multi_thread")]
async fn leases_are_listed_renewed_and_ended_as_in_etcd() {
    compare(leases).await;
}

async fn leases(channel: Channel) -> Vec<String> {
    let mut said = Protocol::default();
    let mut client = LeaseClient::new(channel.clone());
    let mut kv = KvClient::new(channel.clone());
    let list = async |said: &mut Protocol, client: &mut LeaseClient<Channel>| {
        let answer = client.lease_leases(pb::LeaseLeasesRequest {}).await;
        said.note("list", answer, |answer| plain(&mut answer.header));
    };
    list(&mut said, &mut client).await;
    for (id, ttl) in [(7, 5000), (3, 9000), (5, 100), (i64::MAX, 3000), (-4, 200)] {
        let answer = client.lease_grant(pb::LeaseGrantRequest { id, ttl }).await;
        said.note((id, ttl), answer, |answer| plain(&mut answer.header));
    }
    list(&mut said, &mut client).await;
    // A key moves from lease to lease, and away from all.
    for (key, lease) in [("a", 7), ("b", 7), ("a", 3), ("c", 3), ("c", 0), ("d", 5), ("e", -4)] {
        kv.put(put(key, Vec::new(), lease)).await.unwrap();
    }
    for id in [7, 3, 5, -4, 0, 99] {
        for keys in [true, false] {
            let answer = client.lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys }).await;
            said.note((id, keys), answer, |answer| {
                plain(&mut answer.header);
                // To the second, and in no order, it is nobody's business.
                answer.ttl = if answer.ttl > 0 { answer.granted_ttl } else { answer.ttl };
                answer.keys.sort();
            });
        }
    }
    let asked = [7, 99, 0, 5, 7, -4];
    let renewals = asked.map(|id| pb::LeaseKeepAliveRequest { id });
    let answers = client.lease_keep_alive(tokio_stream::iter(renewals)).await;
    let mut answers = answers.unwrap().into_inner();
    while let Some(mut answer) = answers.message().await.unwrap() {
        plain(&mut answer.header);
        said.0.push(format!("renewed: {answer:?}"));
    }
    for id in [7, 7, 99, 0, 3, 5] {
        let answer = client.lease_revoke(pb::LeaseRevokeRequest { id }).await;
        said.note(("revoke", id), answer, |answer| plain(&mut answer.header));
    }
    let again = tokio_stream::iter([pb::LeaseKeepAliveRequest { id: 7 }]);
    let answer = client.lease_keep_alive(again).await.unwrap().into_inner().message().await;
    let mut answer = answer.unwrap().unwrap();
    plain(&mut answer.header);
    said.0.push(format!("renewed when it is gone: {answer:?}"));
    for (id, ttl) in [(7, 60), (7, 60)] {
        let answer = client.lease_grant(pb::LeaseGrantRequest { id, ttl }).await;
        said.note(("again", id), answer, |answer| plain(&mut answer.header));
    }
    list(&mut said, &mut client).await;
    let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    said.note("all", kv.range(all).await, |answer| plain(&mut answer.header));
    said.0
}

// upstream: etcd v3 API, "Compact"
#[tokio::test(flavor = "multi_thread")]
async fn compaction_at_its_edges_is_as_in_etcd() {
    compare(compactions).await;
}

async fn compactions(channel: Channel) -> Vec<String> {
    let mut said = Protocol::default();
    let mut kv = KvClient::new(channel.clone());
    let compact = async |said: &mut Protocol, revision| {
        let mut kv = KvClient::new(channel.clone());
        let request = pb::CompactionRequest { revision, physical: true };
        let answer = kv.compact(request).await;
        said.note(("compact", revision), answer, |answer| plain(&mut answer.header));
    };
    for revision in [2, 0, -1, 1, 0, 1, 2] {
        compact(&mut said, revision).await;
    }
    // 2 to 9; a and b are deleted at 6 and 8.
    for key in ["a", "a", "b", "a", "-a", "b", "-b", "c"] {
        match key.strip_prefix('-') {
            Some(key) => {
                let key = key.to_owned().into();
                let request = pb::DeleteRangeRequest { key, ..Default::default() };
                kv.delete_range(request).await.map(drop).unwrap();
            }
            None => kv.put(put(key, key.into(), 0)).await.map(drop).unwrap(),
        }
    }
    for compacted in [1, 3, 3, 6, 7, 9, 10, 9] {
        compact(&mut said, compacted).await;
        for revision in 0..=10 {
            let request = pb::RangeRequest {
                key: "a".into(),
                range_end: "z".into(),
                revision,
                ..Default::default()
            };
            let answer = kv.range(request.clone()).await;
            said.note(("read", compacted, revision), answer, |answer| plain(&mut answer.header));
            let op =
                pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(request)) };
            let answer = kv.txn(pb::TxnRequest { success: vec![op], ..Default::default() }).await;
            let words = told(answer, |answer| {
                plain(&mut answer.header);
                answer.responses.clear();
            });
            said.0.push(format!("in a transaction: {words}"));
        }
    }
    // A deletion at the compacted revision itself was lost before 3.4.34: none is at 9.
    for start in [1, 8, 9, 10] {
        let mut stream = Stream::on(channel.clone());
        stream.create(keys("a", "z", start)).await;
        for _ in 0..if start < 10 { 2 } else { 1 } {
            let mut answer = stream.next().await;
            plain(&mut answer.header);
            said.0.push(format!("from {start}: {answer:?}"));
        }
    }
    said.0
}

// upstream: etcd v3 API, "Lock", "Election"
#[tokio::test(flavor = "multi_thread")]
async fn locks_and_elections_speak_as_in_etcd() {
    compare(async |channel| {
        let mut said = Protocol::default();
        let mut client = LeaseClient::new(channel.clone());
        for id in [1, 2, 0x1f] {
            client.lease_grant(pb::LeaseGrantRequest { id, ttl: 600 }).await.unwrap();
        }
        locks(channel.clone(), &mut said).await;
        elections(channel, &mut said).await;
        said.0
    })
    .await;
}

async fn locks(channel: Channel, said: &mut Protocol) {
    let mut client = lock::lock_client::LockClient::new(channel.clone());
    for (name, lease) in [("l", 0x1f), ("l", 0x1f), ("m", 1), ("", 2), ("l", 99)] {
        let request = lock::LockRequest { name: name.into(), lease };
        let answer = tokio::time::timeout(Duration::from_secs(10), client.lock(request)).await;
        said.note(("lock", name, lease), answer.unwrap(), |answer| {
            plain(&mut answer.header);
            // Ours.
            answer.fencing_token = 0;
        });
    }
    // The second waits, and has it once the first gives it up.
    let request = lock::LockRequest { name: "m".into(), lease: 2 };
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.lock(request).await });
    let mut kv = KvClient::new(channel);
    let queue = pb::RangeRequest { key: "m/".into(), range_end: "m0".into(), ..Default::default() };
    while kv.range(queue.clone()).await.unwrap().into_inner().count < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for key in ["m/1", "m/1", "l/1f", "nothing", ""] {
        let answer = client.unlock(lock::UnlockRequest { key: key.into() }).await;
        said.note(("unlock", key), answer, |answer| plain(&mut answer.header));
    }
    // Which revision it is told at is a matter of chance.
    said.note("waited", waiting.await.unwrap(), |answer| {
        answer.header = None;
        answer.fencing_token = 0;
    });
}

async fn elections(channel: Channel, said: &mut Protocol) {
    let mut client = election::election_client::ElectionClient::new(channel);
    let asking = client.clone();
    let leader = async |said: &mut Protocol, name: &'static str| {
        let mut client = asking.clone();
        let answer = client.leader(election::LeaderRequest { name: name.into() }).await;
        said.note(("leader", name), answer, |answer| plain(&mut answer.header));
    };
    leader(said, "e").await;
    let mut keys = Vec::new();
    // The same lease twice proclaims; an unknown one is refused.
    for (lease, value) in [(0x1f, "one"), (0x1f, "one"), (0x1f, "uno"), (99, "nobody")] {
        let request = election::CampaignRequest { name: "e".into(), lease, value: value.into() };
        let answer = client.campaign(request).await;
        keys.extend(answer.as_ref().ok().and_then(|answer| answer.get_ref().leader.clone()));
        said.note(("campaign", lease, value), answer, |answer| plain(&mut answer.header));
        leader(said, "e").await;
    }
    let held = keys.pop().unwrap();
    let wrong = election::LeaderKey { rev: held.rev + 1, ..held.clone() };
    let named = election::LeaderKey { key: "other".into(), ..held.clone() };
    for key in [Some(held.clone()), None, Some(wrong.clone()), Some(named.clone())] {
        let request = election::ProclaimRequest { leader: key.clone(), value: "due".into() };
        let answer = client.proclaim(request).await;
        said.note(("proclaim", key), answer, |answer| plain(&mut answer.header));
        leader(said, "e").await;
    }
    let request = election::LeaderRequest { name: "e".into() };
    let mut observed = client.observe(request).await.unwrap().into_inner();
    let mut now = observed.message().await.unwrap().unwrap();
    plain(&mut now.header);
    said.0.push(format!("observed: {now:?}"));
    for key in [None, Some(wrong), Some(named), Some(held.clone()), Some(held)] {
        let answer = client.resign(election::ResignRequest { leader: key.clone() }).await;
        said.note(("resign", key), answer, |answer| plain(&mut answer.header));
        leader(said, "e").await;
    }
}
