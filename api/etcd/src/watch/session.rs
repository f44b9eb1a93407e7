//! One watch stream: reads requests while answers wait for the client, in bounded memory.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use keelson_failpoint::failpoint;
use keelson_proto::etcdserverpb as pb;
use keelson_storage::watch::{Output, WatchSpec, WatchStream};
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::leaderless::Leaderless;
use super::response::WatchResponse;
use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::grpc::needs_leader;

/// Answers handed over to the connection; their events are shared with others until they are written.
const QUEUE: usize = 64;
/// Answers that wait here; requests are not read above it.
const PENDING_MAX: usize = 1024;
/// How much larger than a request a fragment may be.
const FRAGMENT_OVERHEAD_BYTES: usize = 512 << 10;
/// What an answer to no watcher in particular has for an id.
const NO_WATCHER: i64 = -1;

pub(crate) fn watch(
    face: EtcdFace,
    requests: tonic::Request<Streaming<pb::WatchRequest>>,
) -> Result<ReceiverStream<Result<WatchResponse, Status>>, FaceError> {
    let needs_leader = needs_leader(&requests.metadata().clone().into_headers());
    if needs_leader && face.leader().is_none() {
        return Err(FaceError::NoLeader);
    }
    let (answers, outgoing) = mpsc::channel(QUEUE);
    let session = Session {
        stream: Some(face.node().hub().stream()),
        face,
        answers,
        pending: VecDeque::new(),
        fragmented: BTreeSet::new(),
        leaderless: Leaderless::default(),
    };
    tokio::spawn(session.run(requests.into_inner(), needs_leader));
    Ok(ReceiverStream::new(outgoing))
}

struct Session {
    face: EtcdFace,
    /// Away only while it reads from the engine.
    stream: Option<WatchStream>,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
    pending: VecDeque<WatchResponse>,
    /// Watchers that take their answers in pieces.
    fragmented: BTreeSet<i64>,
    leaderless: Leaderless,
}

impl Session {
    async fn run(mut self, mut requests: Streaming<pb::WatchRequest>, needs_leader: bool) {
        let mut progress = tokio::time::interval(jittered(self.face.progress_interval()));
        progress.reset();
        let mut leader = tokio::time::interval(self.face.config().leaderless_max / 4);
        let Some(signal) = self.stream.as_ref().map(WatchStream::signal) else { return };
        let answers = self.answers.clone();
        // A client that has said all it wants still listens.
        let mut asks = true;
        loop {
            if self.pending.is_empty() && self.refill().await.is_none() {
                return;
            }
            let busy = self.pending.is_empty() && self.stream().is_behind();
            if busy {
                // It reads on; requests are taken between two pieces.
                let request = if asks { requests.message().now_or_never() } else { None };
                match request {
                    Some(Ok(Some(request))) => self.handle(request),
                    Some(Ok(None)) => asks = false,
                    Some(Err(_)) => return,
                    None if self.answers.is_closed() => return,
                    None => {}
                }
                continue;
            }
            tokio::select! {
                permit = answers.reserve(), if !self.pending.is_empty() => {
                    let Ok(permit) = permit else { return };
                    let mut permit = Some(permit);
                    // All that there is room for: the connection writes it as one.
                    while let Some(room) = permit
                        && let Some(answer) = self.pending.pop_front()
                    {
                        failpoint!(await beforeSendWatchResponse);
                        room.send(Ok(answer));
                        permit = answers.try_reserve().ok();
                    }
                }
                request = requests.message(), if asks && self.pending.len() < PENDING_MAX => {
                    match request {
                        Ok(Some(request)) => self.handle(request),
                        Ok(None) => asks = false,
                        Err(_) => return,
                    }
                }
                () = signal.ready(), if self.pending.is_empty() => {}
                () = answers.closed() => return,
                _ = progress.tick() => self.stream().tick(),
                _ = leader.tick(), if needs_leader => {
                    if self.leaderless.too_long(&self.face) {
                        let status = FaceError::NoLeader.status();
                        let _client_gone = self.answers.send(Err(status)).await;
                        return;
                    }
                }
            }
        }
    }

    fn stream(&mut self) -> &mut WatchStream {
        self.stream.as_mut().expect("only away inside refill")
    }

    /// Takes what there is to say; `None`: the stream cannot go on.
    async fn refill(&mut self) -> Option<()> {
        let outputs = self.stream().take();
        if outputs.is_empty() && self.stream().is_behind() {
            let mut stream = self.stream.take()?;
            let is_far_behind = stream.is_far_behind();
            let read = move || {
                let outputs = stream.catch_up();
                (stream, outputs)
            };
            let (stream, outputs) = match is_far_behind {
                true => self.face.bulk().run(read).await?,
                false => tokio::task::spawn_blocking(read).await.ok()?,
            };
            self.stream = Some(stream);
            match outputs {
                Ok(outputs) => self.say(outputs),
                Err(error) => {
                    tracing::error!(%error, "a watch stream ends");
                    let status = FaceError::Read(error).status();
                    let _client_gone = self.answers.send(Err(status)).await;
                    return None;
                }
            }
        }
        self.say(outputs);
        Some(())
    }

    fn say(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Events { watch_id, prev_kv, revision, events } => {
                    let began = Instant::now();
                    let header = self.face.header(revision);
                    let answer = WatchResponse::events(header, watch_id, &events, prev_kv);
                    if self.fragmented.contains(&watch_id) {
                        let max = self.face.config().max_request_bytes + FRAGMENT_OVERHEAD_BYTES;
                        self.pending.extend(answer.fragments(max));
                    } else {
                        self.pending.push_back(answer);
                    }
                    self.face.metrics().send_loops.events(events.len(), began.elapsed());
                }
                Output::Progress { watch_id, revision } => {
                    let began = Instant::now();
                    self.pending.push_back(WatchResponse {
                        header: Some(self.face.header(revision)),
                        watch_id: watch_id.unwrap_or(NO_WATCHER),
                        ..WatchResponse::default()
                    });
                    self.face.metrics().send_loops.progress(began.elapsed());
                }
                Output::Compacted { watch_id, compacted } => {
                    self.fragmented.remove(&watch_id);
                    self.pending.push_back(WatchResponse {
                        header: Some(self.face.header(0)),
                        watch_id,
                        canceled: true,
                        compact_revision: compacted,
                        ..WatchResponse::default()
                    });
                }
            }
        }
    }

    fn handle(&mut self, request: pb::WatchRequest) {
        let began = Instant::now();
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request),
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.stream().request_progress(),
            None => {}
        }
        self.face.metrics().send_loops.control(began.elapsed());
    }

    // upstream: etcd v3 API, "Watch": created answers, in the order of the requests
    fn create(&mut self, mut request: pb::WatchCreateRequest) {
        if request.key.is_empty() {
            request.key = Bytes::from_static(b"\0");
        }
        if let Err(error) = self.may_watch(&request) {
            // Clients know the whole text of the call that was refused.
            let code = format!("{:?}", error.code());
            let reason = format!("rpc error: code = {code} desc = {error}");
            return self.refuse(reason);
        }
        use pb::watch_create_request::FilterType;
        let has = |filter: FilterType| request.filters.contains(&(filter as i32));
        let spec = WatchSpec {
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            key: request.key,
            range_end: request.range_end,
            start_revision: request.start_revision,
            prev_kv: request.prev_kv,
            progress_notify: request.progress_notify,
        };
        let answer = match self.stream().create(spec, request.watch_id) {
            Ok(created) => {
                if request.fragment {
                    self.fragmented.insert(created.watch_id);
                }
                WatchResponse {
                    header: Some(self.face.header(created.revision)),
                    watch_id: created.watch_id,
                    created: true,
                    ..WatchResponse::default()
                }
            }
            Err(error) => return self.refuse(error.to_string()),
        };
        self.pending.push_back(answer);
    }

    /// The range as it was sent: one without an end needs a permission without an end.
    fn may_watch(&self, request: &pb::WatchCreateRequest) -> Result<(), FaceError> {
        if request.start_revision < 0 {
            return Ok(());
        }
        self.face
            .authorize(|auth, by| auth.may_read(by, &request.key, &request.range_end))
            .map(|_running_watches_are_not_asked_again| ())
    }

    fn refuse(&mut self, cancel_reason: String) {
        self.pending.push_back(WatchResponse {
            header: Some(self.face.header_now()),
            watch_id: NO_WATCHER,
            created: true,
            canceled: true,
            cancel_reason,
            ..WatchResponse::default()
        });
    }

    /// Nothing of the watcher follows its end; of one that does not exist nothing is said.
    fn cancel(&mut self, watch_id: i64) {
        if !self.stream().cancel(watch_id) {
            return;
        }
        self.fragmented.remove(&watch_id);
        self.pending.retain(|answer| answer.watch_id != watch_id || answer.created);
        self.pending.push_back(WatchResponse {
            header: Some(self.face.header_now()),
            watch_id,
            canceled: true,
            ..WatchResponse::default()
        });
    }
}

/// Up to a tenth longer, so that not all streams speak at once.
fn jittered(interval: Duration) -> Duration {
    interval + interval.mul_f64(rand::random::<f64>() / 10.0)
}
