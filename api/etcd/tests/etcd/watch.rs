//! Watch streams over gRPC.

use std::time::Duration;

use keelson_etcd_api::FaceConfig;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::member::{Member, start, start_in_memory};

pub(crate) struct Stream {
    pub(crate) requests: mpsc::Sender<pb::WatchRequest>,
    answers: Answers,
}

/// etcd begins its answer with the first thing it has to say.
enum Answers {
    Opening(JoinHandle<Streaming<pb::WatchResponse>>),
    Open(Box<Streaming<pb::WatchResponse>>),
}

impl Stream {
    pub(crate) async fn open(member: &Member) -> Self {
        Self::on(member.channel().await)
    }

    pub(crate) fn on(channel: Channel) -> Self {
        let (requests, outgoing) = mpsc::channel(64);
        let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
        let opening =
            async move { client.watch(ReceiverStream::new(outgoing)).await.unwrap().into_inner() };
        Self { requests, answers: Answers::Opening(tokio::spawn(opening)) }
    }

    pub(crate) async fn ask(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn create(&self, request: pb::WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request)).await;
    }

    pub(crate) async fn next(&mut self) -> pb::WatchResponse {
        if let Answers::Opening(opening) = &mut self.answers {
            self.answers = Answers::Open(Box::new(opening.await.unwrap()));
        }
        let Answers::Open(answers) = &mut self.answers else { unreachable!("it is open") };
        let answer = tokio::time::timeout(Duration::from_secs(30), answers.message());
        answer.await.expect("an answer").unwrap().expect("the stream goes on")
    }
}

pub(crate) fn keys(key: &'static str, end: &'static str, start: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        start_revision: start,
        prev_kv: true,
        ..Default::default()
    }
}

pub(crate) async fn put(kv: &mut KvClient<Channel>, key: &str, value: Vec<u8>) -> i64 {
    let request =
        pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
    kv.put(request).await.unwrap().into_inner().header.unwrap().revision
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
    let member = start_in_memory(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    let mut slow = Stream::open(&member).await;
    let mut quick = Stream::open(&member).await;
    for stream in [&mut slow, &mut quick] {
        stream.create(keys("a", "", 0)).await;
        assert!(stream.next().await.created);
    }
    let mut last = 0;
    for n in 0..200u32 {
        let mut value = vec![0; 100_000];
        value[..4].copy_from_slice(&n.to_le_bytes());
        last = put(&mut kv, "a", value).await;
        let told = quick.next().await;
        assert_eq!(told.events.last().unwrap().kv.as_ref().unwrap().mod_revision, last);
    }
    let mut next = 2;
    while next <= last {
        for event in slow.next().await.events {
            assert_eq!(event.kv.unwrap().mod_revision, next);
            next += 1;
        }
    }
    drop((slow, quick));
    member.stop().await;
}

/// By interval: to whom it was promised, by name, once it is in sync and nothing else was said.
// upstream: etcd v3 API, "Watch": progress
#[tokio::test(flavor = "multi_thread")]
async fn progress_comes_by_itself_to_who_wants_it_and_is_in_sync() {
    let progress_interval = Duration::from_millis(50);
    let member = start(FaceConfig { progress_interval, ..FaceConfig::default() }).await;
    let mut kv = KvClient::new(member.channel().await);
    let mut stream = Stream::open(&member).await;
    let wants = |id, key, start| pb::WatchCreateRequest {
        watch_id: id,
        progress_notify: true,
        ..keys(key, "", start)
    };
    stream.create(wants(1, "quiet", 0)).await;
    stream.create(pb::WatchCreateRequest { watch_id: 2, ..keys("quiet", "", 0) }).await;
    stream.create(wants(3, "future", 5)).await;
    for _ in 0..3 {
        assert!(stream.next().await.created);
    }
    let mut told = 1;
    for number in 0..4 {
        if number == 2 {
            told = put(&mut kv, "other", Vec::new()).await;
        }
        // What was on its way when the revision grew may say the old one.
        let answer = loop {
            let answer = stream.next().await;
            if answer.header.unwrap().revision == told {
                break answer;
            }
        };
        assert_eq!((answer.watch_id, answer.events.len()), (1, 0));
    }
    while put(&mut kv, "other", Vec::new()).await < 5 {}
    let mut from_future = 0;
    while from_future < 2 {
        let answer = stream.next().await;
        assert!(answer.events.is_empty() && [1, 3].contains(&answer.watch_id), "{answer:?}");
        if answer.watch_id == 3 {
            assert!(answer.header.unwrap().revision >= 4, "it is reached");
            from_future += 1;
        }
    }
    drop(stream);
    member.stop().await;
}

/// On request: in the order of events, often enough while others write, and never while any
/// watcher of the stream is behind.
// upstream: etcd v3 API, "Watch": progress
#[tokio::test(flavor = "multi_thread")]
async fn progress_is_answered_in_the_order_of_events_while_others_write() {
    const PUTS: i64 = 300;
    let member = start_in_memory(FaceConfig::default()).await;
    let mut kv = KvClient::new(member.channel().await);
    let mut stream = Stream::open(&member).await;
    let progress = || RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
    stream.ask(progress()).await;
    stream.create(keys("a", "z", 0)).await;
    assert!(stream.next().await.created, "without a watcher nothing is answered");
    let writer = tokio::spawn(async move {
        for _ in 0..PUTS {
            put(&mut kv, "key", vec![7; 1000]).await;
        }
        kv
    });
    let (mut seen, mut promised, mut answers) = (1, 0, 0);
    while seen < PUTS + 1 {
        stream.ask(progress()).await;
        let answer = stream.next().await;
        let revision = answer.header.unwrap().revision;
        for event in &answer.events {
            let changed = event.kv.as_ref().unwrap().mod_revision;
            assert_eq!(changed, seen + 1);
            assert!(changed > promised, "{changed} after progress to {promised}");
            seen = changed;
        }
        if answer.events.is_empty() {
            assert_eq!(answer.watch_id, -1);
            assert_eq!(revision, seen, "what it promises has been sent");
            promised = revision;
            answers += 1;
        }
    }
    assert!(answers > PUTS / 10, "{answers} answers beside {PUTS} writes");

    let mut kv = writer.await.unwrap();
    drop(stream);
    let mut stream = Stream::open(&member).await;
    stream.create(keys("key", "", 0)).await;
    stream.create(keys("future", "", PUTS + 3)).await;
    for _ in 0..2 {
        assert!(stream.next().await.created);
    }
    stream.ask(progress()).await;
    put(&mut kv, "key", Vec::new()).await;
    put(&mut kv, "key", Vec::new()).await;
    for revision in [PUTS + 2, PUTS + 3] {
        let answer = stream.next().await;
        assert_eq!(answer.events.len(), 1, "nothing is promised while one waits: {answer:?}");
        assert_eq!(answer.header.unwrap().revision, revision);
    }
    stream.ask(progress()).await;
    assert_eq!(stream.next().await.watch_id, -1, "its first revision is reached");
    drop(stream);
    member.stop().await;
}
