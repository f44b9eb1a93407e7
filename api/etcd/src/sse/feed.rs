//! One client's events: what the hub has for it, as text, no sooner than it is wanted.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use keelson_client::change;
use keelson_storage::watch::{Output, SharedEvent, WatchSpec, WatchStream};
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::filter::Verdict;
use super::id::EventId;
use super::query::{Query, Start};
use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::watch::Leaderless;

/// After an end that may pass, a client comes again so soon, in milliseconds.
const RETRY_SOON: u32 = 1000;
/// After one that will not, where the client does not understand it.
const RETRY_LATE: u32 = 60_000;

/// What is to be sent.
pub(super) struct Feed {
    face: EtcdFace,
    query: Query,
    /// Away only while it reads from the engine.
    stream: Option<WatchStream>,
    /// What the client has when all is read that was made.
    position: EventId,
    /// The last id that was sent, if it said all there was to say.
    told: Option<EventId>,
    /// Whether the oldest revision is wanted and nothing was sent yet.
    seeks_oldest: bool,
    heartbeat: Interval,
    /// Whether something was sent since the last heartbeat.
    active: bool,
    leader: Interval,
    leaderless: Leaderless,
    /// While a quorum is asked whether this member still hears of everything.
    asking: Option<BoxFuture<'static, Result<(), FaceError>>>,
    stop: CancellationToken,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begins,
    Runs,
    Over,
}

impl Feed {
    pub(super) fn new(face: EtcdFace, query: Query, stop: CancellationToken) -> Self {
        let mut heartbeat = tokio::time::interval(query.heartbeat);
        heartbeat.reset();
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream: Some(face.node().hub().stream()),
            position: EventId::whole(0),
            told: None,
            seeks_oldest: query.start == Start::Oldest,
            heartbeat,
            active: true,
            leader: tokio::time::interval(face.config().leaderless_max / 4),
            leaderless: Leaderless::default(),
            asking: None,
            stop,
            phase: Phase::Begins,
            face,
            query,
        }
    }

    /// The next piece of text; `None`: there is no more.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        match self.phase {
            Phase::Over => return None,
            Phase::Begins => return Some(self.begin()),
            Phase::Runs => {}
        }
        let signal = self.stream.as_ref()?.signal();
        loop {
            let text = match self.refill().await {
                Ok(outputs) => self.text(outputs),
                Err(error) => Some(self.end(&error)),
            };
            if let Some(text) = text {
                self.active = true;
                return Some(text.into());
            }
            // It may have much to read that nobody wants.
            let reads_on = self.stream.as_mut().is_some_and(WatchStream::is_behind);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Some(self.end(&FaceError::Stopped).into()),
                _ = self.leader.tick() => {
                    if self.leaderless.too_long(&self.face) {
                        return Some(self.end(&FaceError::NoLeader).into());
                    }
                }
                _ = self.heartbeat.tick() => {
                    if let Some(stream) = &mut self.stream {
                        stream.request_progress();
                    }
                    if self.asking.is_none() {
                        self.asking = Some(asked(self.face.clone()).boxed());
                    }
                    if !std::mem::take(&mut self.active) {
                        return Some(self.sign_of_life().into());
                    }
                }
                answer = async {
                    match &mut self.asking {
                        Some(asking) => asking.await,
                        None => pending().await,
                    }
                } => {
                    self.asking = None;
                    if answer.is_err() {
                        return Some(self.end(&FaceError::NoLeader).into());
                    }
                }
                () = signal.ready() => {}
                () = std::future::ready(()), if reads_on => {}
            }
        }
    }

    /// Makes the watcher; what a client is to know at once.
    fn begin(&mut self) -> Bytes {
        self.phase = Phase::Runs;
        let start = match self.query.start {
            Start::Now => 0,
            Start::Oldest => 1,
            Start::At(revision) => revision,
            Start::After(id) => id.next_revision(),
        };
        let mut text = format!("retry: {RETRY_SOON}\n");
        match self.create(start) {
            Err(error) => text = self.end(&error),
            Ok(revision) => {
                match self.query.start {
                    // Nothing is missed by one that is cut off before the first change.
                    Start::Now => {
                        self.position = EventId::whole(revision);
                        self.told = Some(self.position);
                        let _infallible = writeln!(text, "id: {revision}");
                    }
                    Start::After(id) => self.position = id,
                    Start::Oldest | Start::At(_) => self.position = EventId::whole(start - 1),
                }
                text.push('\n');
            }
        }
        text.into()
    }

    /// A watcher from this revision on; the store's when it was made.
    fn create(&mut self, start_revision: i64) -> Result<i64, FaceError> {
        let query = &self.query;
        let spec = WatchSpec {
            key: query.key.clone(),
            range_end: query.range_end.clone(),
            start_revision,
            // A key that leaves was one that is wanted.
            prev_kv: query.prev_kv || query.filter.reads_values(),
            no_put: query.no_put,
            no_delete: query.no_delete,
            progress_notify: true,
        };
        let stream = self.stream.as_mut().ok_or(FaceError::Unexpected)?;
        let created = stream.create(spec, 0).map_err(|_| FaceError::Unexpected)?;
        Ok(created.revision)
    }

    /// What there is to tell, if it is there or can be read.
    async fn refill(&mut self) -> Result<Vec<Output>, FaceError> {
        let Some(stream) = &mut self.stream else { return Err(FaceError::Unexpected) };
        let outputs = stream.take();
        if !outputs.is_empty() || !stream.is_behind() {
            return Ok(outputs);
        }
        let Some(mut stream) = self.stream.take() else { return Err(FaceError::Unexpected) };
        let reading = tokio::task::spawn_blocking(move || {
            let outputs = stream.catch_up();
            (stream, outputs)
        });
        let (stream, outputs) = reading.await.map_err(|_| FaceError::Stopped)?;
        self.stream = Some(stream);
        Ok(outputs?)
    }

    /// The text for it, if it is anything to this client.
    fn text(&mut self, outputs: Vec<Output>) -> Option<String> {
        let mut text = String::new();
        for output in outputs {
            match output {
                Output::Events { revision, events, .. } => {
                    self.changes(&events, &mut text);
                    self.position = EventId::whole(revision);
                    self.seeks_oldest = false;
                }
                Output::Progress { revision, .. } => {
                    if revision >= self.position.next_revision() {
                        self.position = EventId::whole(revision);
                        self.seeks_oldest = false;
                    }
                    self.tell_position(&mut text);
                }
                Output::Compacted { compacted, .. } => {
                    // Whatever is the oldest now is what is wanted, and nothing of it was missed.
                    if self.seeks_oldest && self.create(compacted).is_ok() {
                        self.position = EventId::whole(compacted - 1);
                        continue;
                    }
                    text.push_str(&self.compacted(compacted));
                    break;
                }
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Changes that the client wants and does not have. Whole revisions.
    fn changes(&mut self, events: &[Arc<SharedEvent>], text: &mut String) {
        let mut wanted = Vec::with_capacity(events.len());
        for event in events {
            let of = event.change();
            if self.position.has(of.revision) || !self.query.filter.takes_key(&of.key) {
                continue;
            }
            let Some(mut decoded) = event.decoded(true) else { continue };
            let verdict = self.query.filter.verdict(&decoded);
            if verdict == Verdict::Out {
                continue;
            }
            if !self.query.prev_kv {
                decoded.prev_kv = None;
            }
            wanted.push((of.revision, decoded, verdict));
        }
        let mut wanted = wanted.into_iter().peekable();
        while let Some((revision, event, verdict)) = wanted.next() {
            let more = wanted.peek().is_some_and(|(next, ..)| next.main == revision.main);
            let id = EventId { revision: revision.main, change: more.then_some(revision.sub) };
            let mut object = change(&event, more);
            if let Verdict::Selected(is) = verdict {
                object.insert("selected".to_owned(), is.into());
            }
            let _infallible = write!(text, "id: {id}\ndata: {}\n\n", Value::Object(object));
            self.told = Some(id);
        }
    }

    /// The position alone: whoever is cut off after it does not have to be told again.
    fn tell_position(&mut self, text: &mut String) {
        if self.told != Some(self.position) {
            let _infallible = write!(text, "id: {}\n\n", self.position);
            self.told = Some(self.position);
        }
    }

    fn sign_of_life(&mut self) -> String {
        let mut text = String::new();
        if self.position.revision > 0 {
            self.tell_position(&mut text);
        }
        if text.is_empty() { ": still here\n\n".to_owned() } else { text }
    }

    fn compacted(&mut self, oldest: i64) -> String {
        self.phase = Phase::Over;
        let what = json!({ "wanted": self.position.next_revision(), "oldest": oldest });
        format!("retry: {RETRY_LATE}\nevent: compacted\ndata: {what}\n\n")
    }

    fn end(&mut self, error: &FaceError) -> String {
        self.phase = Phase::Over;
        format!("event: ended\ndata: {}\n\n", json!({ "reason": error.to_string() }))
    }
}

/// Whether a quorum answers: a member that is cut off may not know it.
async fn asked(face: EtcdFace) -> Result<(), FaceError> {
    let limit = face.config().leaderless_max;
    tokio::time::timeout(limit, face.read_index()).await.unwrap_or(Err(FaceError::TimedOut))
}
