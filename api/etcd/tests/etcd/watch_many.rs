//! Thousands of watchers, on one stream and on many: each sees all of its events, once, in order.

use std::collections::BTreeMap;
use std::ops::Range;

use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::watch_request::RequestUnion;
use tokio::task::JoinSet;

use crate::member::{Member, start_in_memory};
use crate::watch::{Stream, put};

const PUTS: usize = 60;
const KEYS: usize = 10;
const ON_ONE_STREAM: usize = 1200;
const STREAMS: usize = 1000;
const CONNECTIONS: usize = 10;

fn key(number: usize) -> String {
    format!("k{number}")
}

/// Everything, one key or half of the keys; from now (0) or from an old revision.
fn wish(watcher: usize) -> (Range<usize>, i64) {
    let keys = match watcher % 3 {
        0 => 0..KEYS,
        1 => watcher % KEYS..watcher % KEYS + 1,
        _ => 0..KEYS / 2,
    };
    (keys, if watcher.is_multiple_of(2) { 0 } else { revision_of_put(watcher % 20) })
}

fn request(watcher: usize) -> pb::WatchRequest {
    let (keys, start_revision) = wish(watcher);
    let end = if keys.end == KEYS { "k:".to_owned() } else { key(keys.end) };
    let create = pb::WatchCreateRequest {
        watch_id: i64::try_from(watcher).unwrap(),
        key: key(keys.start).into(),
        range_end: end.into(),
        start_revision,
        ..Default::default()
    };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

fn revision_of_put(put: usize) -> i64 {
    i64::try_from(put + 2).unwrap()
}

/// The revisions that a watcher must see, which was made at this revision.
fn wanted(watcher: usize, created: i64) -> Vec<i64> {
    let (keys, from) = wish(watcher);
    let from = if from == 0 { created + 1 } else { from };
    let seen = (0..PUTS).filter(|put| keys.contains(&(put % KEYS)));
    seen.map(revision_of_put).filter(|revision| *revision >= from).collect()
}

async fn write(member: &Member, puts: Range<usize>) {
    let mut kv = KvClient::new(member.channel().await);
    for number in puts {
        let revision = put(&mut kv, &key(number % KEYS), number.to_string().into_bytes()).await;
        assert_eq!(revision, revision_of_put(number));
    }
}

/// Makes the watchers on one stream, and reads until each of them has seen all.
async fn watch(mut stream: Stream, watchers: Range<usize>) {
    let requests = stream.requests.clone();
    let mut to_create = watchers.clone();
    let creating = tokio::spawn(async move {
        for watcher in watchers {
            requests.send(request(watcher)).await.unwrap();
        }
    });
    let mut waiting: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    while !to_create.is_empty() || !waiting.is_empty() {
        let answer = stream.next().await;
        let watcher = usize::try_from(answer.watch_id).unwrap();
        if answer.created {
            assert_eq!(Some(watcher), to_create.next(), "in the order of the requests");
            let mut wanted = wanted(watcher, answer.header.unwrap().revision);
            wanted.reverse();
            waiting.insert(watcher, wanted);
        }
        for event in answer.events {
            let wanted = waiting.get_mut(&watcher).and_then(Vec::pop);
            assert_eq!(Some(event.kv.unwrap().mod_revision), wanted, "watcher {watcher}");
        }
        if waiting.get(&watcher).is_some_and(Vec::is_empty) {
            waiting.remove(&watcher);
        }
    }
    creating.await.unwrap();
}

// upstream: etcd v3 API, "Watch"
#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_thousand_watchers_of_one_stream_see_everything_in_order() {
    let member = start_in_memory(FaceConfig::default()).await;
    write(&member, 0..PUTS / 2).await;
    let stream = Stream::open(&member).await;
    // 0 would let the store choose.
    tokio::join!(watch(stream, 1..ON_ONE_STREAM + 1), write(&member, PUTS / 2..PUTS));
    member.stop().await;
}

// upstream: etcd v3 API, "Watch"
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_see_everything_in_order() {
    let member = start_in_memory(FaceConfig::default()).await;
    write(&member, 0..PUTS / 2).await;
    let mut watching = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let channel = member.channel().await;
        for watcher in (1..STREAMS + 1).skip(connection).step_by(CONNECTIONS) {
            let channel = channel.clone();
            watching.spawn(async move {
                watch(Stream::on(channel), watcher..watcher + 1).await;
            });
        }
    }
    write(&member, PUTS / 2..PUTS).await;
    while let Some(watched) = watching.join_next().await {
        watched.unwrap();
    }
    member.stop().await;
}
