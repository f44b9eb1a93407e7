//! Watch streams over gRPC.

use std::time::Duration;

use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::member::{Member, start};

struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Stream {
    async fn open(member: &Member) -> Self {
        let (requests, outgoing) = mpsc::channel(64);
        let mut client =
            WatchClient::new(member.channel().await).max_decoding_message_size(usize::MAX);
        let answers = client.watch(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn ask(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.requests.send(request).await.unwrap();
    }

    async fn create(&self, request: pb::WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request)).await;
    }

    async fn next(&mut self) -> pb::WatchResponse {
        let answer = tokio::time::timeout(Duration::from_secs(10), self.answers.message());
        answer.await.expect("an answer").unwrap().expect("the stream goes on")
    }
}

fn keys(key: &'static str, end: &'static str, start: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        start_revision: start,
        prev_kv: true,
        ..Default::default()
    }
}

fn put_request(key: &str, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes::Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        ..Default::default()
    }
}

async fn put(kv: &mut KvClient<tonic::transport::Channel>, key: &str, value: Vec<u8>) -> i64 {
    let answer = kv.put(put_request(key, value)).await.unwrap();
    answer.into_inner().header.unwrap().revision
}

/// The disk may be late for reasons of its own: an answer that is only late is asked for again,
/// a few times.
async fn put_on_a_busy_disk(
    kv: &mut KvClient<tonic::transport::Channel>,
    key: &str,
    value: Vec<u8>,
) -> i64 {
    let request = put_request(key, value);
    for _ in 0..3 {
        match kv.put(request.clone()).await {
            Ok(answer) => return answer.into_inner().header.unwrap().revision,
            Err(status) => assert_eq!(status.message(), "etcdserver: request timed out"),
        }
    }
    panic!("three puts in a row were late")
}

// upstream: etcd v3 API, "Watch"
#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_order_of_one_stream() {
    let member = start(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    put(&mut kv, "a", vec![1]).await;
    let mut stream = Stream::open(&member).await;
    stream.create(keys("a", "", 0)).await;
    stream.create(keys("b", "a", 0)).await;
    stream.create(pb::WatchCreateRequest { watch_id: 7, ..keys("a", "c", 2) }).await;
    stream.create(pb::WatchCreateRequest { watch_id: 7, ..keys("a", "", 0) }).await;
    stream.create(keys("a", "", -1)).await;
    let created = stream.next().await;
    assert!(created.created && !created.canceled && created.watch_id == 0);
    assert_eq!(created.header.unwrap().revision, 2);
    let refused = stream.next().await;
    assert!(refused.created && refused.canceled && refused.watch_id == -1);
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
    let mut rest = Vec::new();
    while rest.len() < 4 {
        rest.push(stream.next().await);
    }
    let events = rest.iter().position(|answer| !answer.events.is_empty()).unwrap();
    let late = rest.remove(events);
    assert_eq!((late.watch_id, late.events.len()), (7, 1), "the past is read");
    assert!(rest[0].created && rest[0].watch_id == 7);
    assert_eq!(rest[1].cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    assert_eq!(rest[2].cancel_reason, "etcdserver: mvcc: required revision has been compacted");

    put(&mut kv, "a", vec![2]).await;
    let mut ids = [stream.next().await, stream.next().await].map(|answer| {
        assert_eq!(answer.header.unwrap().revision, 3);
        let event = &answer.events[0];
        assert_eq!(event.kv.as_ref().unwrap().value.as_ref(), [2]);
        assert_eq!(event.prev_kv.as_ref().unwrap().value.as_ref(), [1]);
        answer.watch_id
    });
    ids.sort_unstable();
    assert_eq!(ids, [0, 7]);

    stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let progress = stream.next().await;
    assert_eq!((progress.watch_id, progress.events.len()), (-1, 0));
    assert_eq!(progress.header.unwrap().revision, 3);

    stream.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 99 })).await;
    stream.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 7 })).await;
    let canceled = stream.next().await;
    assert!(canceled.canceled && canceled.watch_id == 7 && canceled.cancel_reason.is_empty());
    put(&mut kv, "a", vec![3]).await;
    assert_eq!(stream.next().await.watch_id, 0);
    drop(stream);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_ends_a_watcher_of_the_past() {
    let member = start(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    for n in 0..5 {
        put(&mut kv, "a", vec![n]).await;
    }
    kv.compact(pb::CompactionRequest { revision: 4, physical: true }).await.unwrap();
    let mut stream = Stream::open(&member).await;
    stream.create(keys("a", "", 2)).await;
    assert!(stream.next().await.created);
    let ended = stream.next().await;
    assert!(ended.canceled && ended.compact_revision == 4 && ended.cancel_reason.is_empty());
    assert_eq!(ended.header.unwrap().revision, 0);
    drop(stream);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_revision_comes_in_pieces_where_asked() {
    let face = FaceConfig { max_request_bytes: 1 << 20, ..FaceConfig::default() };
    let member = start(face).await;
    let mut kv = KvClient::new(member.channel().await);
    for key in ["a", "b", "c", "d"] {
        put(&mut kv, key, vec![0; 700_000]).await;
    }
    let mut stream = Stream::open(&member).await;
    stream.create(pb::WatchCreateRequest { fragment: true, ..keys("a", "z", 0) }).await;
    assert!(stream.next().await.created);
    let request =
        pb::DeleteRangeRequest { key: "a".into(), range_end: "z".into(), ..Default::default() };
    kv.delete_range(request).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let piece = stream.next().await;
        seen.push(piece.events.len());
        if !piece.fragment {
            break;
        }
    }
    assert_eq!(seen, [2, 2], "two events with their former values fit");
    drop(stream);
    member.stop().await;
}

/// A client that never reads costs bounded memory and nobody else's time; once it reads, it
/// misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_disturbs_nobody() {
    let member = start(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    let mut slow = Stream::open(&member).await;
    slow.create(keys("a", "", 0)).await;
    assert!(slow.next().await.created);
    let mut last = 0;
    for n in 0..200u32 {
        let mut value = vec![0; 100_000];
        value[..4].copy_from_slice(&n.to_le_bytes());
        last = put_on_a_busy_disk(&mut kv, "a", value).await;
    }
    let mut next = 2;
    while next <= last {
        for event in slow.next().await.events {
            assert_eq!(event.kv.unwrap().mod_revision, next);
            next += 1;
        }
    }
    drop(slow);
    member.stop().await;
}
