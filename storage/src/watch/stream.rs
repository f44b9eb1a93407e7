//! Many watchers whose events come in one order: what one etcd watch stream is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::hub::{Group, Item, Joined, Serial, StreamQueue, WatchHub};
use super::{SharedEvent, WatchSpec, catch_up};
use crate::mvcc::ReadError;

/// A watcher that has at most so many revisions to catch up is live meanwhile.
const GAP_MAX: i64 = 1000;
/// Bytes of events in one output; the last revision is always whole.
const OUTPUT_BYTES: usize = 1 << 20;

/// Bytes of events that one call of [`WatchStream::catch_up`] reads, give or take one watcher's.
const CATCH_UP_BYTES: usize = 4 << 20;

/// Revisions to catch up that make a watcher give way to others.
const FAR: i64 = 10_000;

/// What a stream has to say, in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Whole revisions of one watcher, in order.
    Events {
        /// Whose.
        watch_id: i64,
        /// With or without the keys as they were before.
        prev_kv: bool,
        /// Revision of the last one.
        revision: i64,
        /// Never empty.
        events: Vec<Arc<SharedEvent>>,
    },
    /// Nothing at or below `revision` is still to come.
    Progress {
        /// One watcher; `None`: all of the stream's.
        watch_id: Option<i64>,
        /// How far.
        revision: i64,
    },
    /// The watcher has ended: what it had to see next is no longer kept.
    Compacted {
        /// Whose end it is.
        watch_id: i64,
        /// The compacted revision.
        compacted: i64,
    },
}

/// A watcher that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub watch_id: i64,
    /// The store's revision then.
    pub revision: i64,
}

/// A watcher that cannot be made. Texts are etcd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CreateError {
    /// No key can be in the range.
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    /// The id asked for is in use on this stream.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
    /// A negative start.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    NegativeStart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the hub's index. Revisions from `next` up to `until`, if any, it reads itself, before
    /// what waits in the queue.
    Live { next: i64, until: i64 },
    /// Out of the index; to be read from this revision on.
    Behind { next: i64 },
}

impl Place {
    /// Where it reads old events, the first it has not got.
    fn behind(self) -> Option<i64> {
        match self {
            Self::Behind { next } => Some(next),
            Self::Live { .. } => None,
        }
    }
}

struct State {
    watch_id: i64,
    spec: Arc<WatchSpec>,
    place: Place,
    /// Whether something was said since the last tick.
    active: bool,
    /// Its last output.
    open: Open,
}

/// An output that more can be added to.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    /// In which round it was begun; of another, it is gone.
    round: u64,
    index: usize,
    bytes: usize,
}

/// A stream of watchers, used by one reader.
pub struct WatchStream {
    hub: WatchHub,
    queue: Arc<StreamQueue>,
    watchers: BTreeMap<Serial, State>,
    ids: BTreeMap<i64, Serial>,
    next_id: i64,
    /// Progress of the whole stream was asked for and could not be told yet.
    progress_wanted: bool,
    /// Nobody had anything to read when that was looked at last, and nothing has changed it.
    settled: bool,
    /// Outputs of an earlier one are not added to.
    round: u64,
    /// The watcher that read last: the next call goes on behind it.
    read_last: Serial,
}

impl std::fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchStream").field("watchers", &self.ids).finish_non_exhaustive()
    }
}

impl WatchStream {
    pub(super) fn new(hub: WatchHub) -> Self {
        let number = hub.next_serial();
        hub.inner.measures.watch_streams.add(1);
        Self {
            hub,
            queue: Arc::new(StreamQueue { number, ..StreamQueue::default() }),
            watchers: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_id: 0,
            progress_wanted: false,
            settled: false,
            round: 0,
            read_last: 0,
        }
    }

    /// Adds a watcher; every change after this is seen. `watch_id` 0: the stream chooses.
    pub fn create(&mut self, mut spec: WatchSpec, watch_id: i64) -> Result<Created, CreateError> {
        if spec.key.is_empty() {
            spec.key = Bytes::from_static(b"\0");
        }
        if !spec.range_end.is_empty() && spec.range_end != b"\0"[..] && spec.key >= spec.range_end {
            return Err(CreateError::EmptyRange);
        }
        if spec.start_revision < 0 {
            return Err(CreateError::NegativeStart);
        }
        let watch_id = self.choose_id(watch_id)?;
        let serial = self.hub.next_serial();
        let spec = Arc::new(spec);
        let start = spec.start_revision;
        let place = self.join(serial, &spec, start);
        let revision = match place {
            Place::Live { until, .. } => until,
            Place::Behind { .. } => self.hub.revision(),
        };
        self.hub.inner.measures.watchers.add(1);
        self.note(serial, None, place.behind());
        let state = State { watch_id, spec, place, active: false, open: Open::default() };
        self.watchers.insert(serial, state);
        self.settled = false;
        self.ids.insert(watch_id, serial);
        Ok(Created { watch_id, revision })
    }

    /// Ends a watcher; nothing of it follows. `false`: there is none of this id.
    pub fn cancel(&mut self, watch_id: i64) -> bool {
        let Some(serial) = self.ids.remove(&watch_id) else { return false };
        self.forget(serial);
        true
    }

    /// How many watchers there are.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Whether one has this id.
    pub fn has(&self, watch_id: i64) -> bool {
        self.ids.contains_key(&watch_id)
    }

    /// Asks that [`Output::Progress`] of the whole stream follows, once every watcher is live.
    /// Without watchers, or where one has not reached its start, nothing follows.
    pub fn request_progress(&mut self) {
        let current = self.hub.revision();
        let reached = |state: &State| state.spec.start_revision <= current;
        self.progress_wanted = !self.is_empty() && self.watchers.values().all(reached);
        self.tell_progress();
    }

    /// Reports progress of each watcher that wants it and had nothing to say since the last tick.
    pub fn tick(&mut self) {
        self.take_fallen();
        let current = self.hub.revision();
        for (serial, state) in &mut self.watchers {
            let live = matches!(state.place, Place::Live { .. });
            let reached = state.spec.start_revision <= current;
            if live && reached && state.spec.progress_notify && !state.active {
                self.hub.progress(Some(*serial), &self.queue);
            }
            state.active = false;
        }
    }

    /// Whether a watcher has something to read: [`WatchStream::catch_up`] is to be called.
    pub fn is_behind(&mut self) -> bool {
        self.take_fallen();
        self.settled = self.settled
            || self.watchers.values().all(|state| match state.place {
                Place::Live { next, until } => next > until,
                Place::Behind { .. } => false,
            });
        !self.settled
    }

    /// Whether a watcher has so much to read that nobody should have to wait for it.
    pub fn is_far_behind(&self) -> bool {
        let oldest = self.watchers.values().filter_map(|state| state.place.behind()).min();
        oldest.is_some_and(|oldest| self.hub.revision() - oldest > FAR)
    }

    /// Reads on for watchers that are behind, a bounded piece in all. May wait for the disk.
    pub fn catch_up(&mut self) -> Result<Vec<Output>, ReadError> {
        self.take_fallen();
        self.settled = false;
        let mut outputs = Vec::new();
        let after = self.watchers.range(self.read_last + 1..).map(|(serial, _)| *serial);
        let before = self.watchers.range(..=self.read_last).map(|(serial, _)| *serial);
        let serials: Vec<Serial> = after.chain(before).collect();
        let mut bytes = 0;
        for serial in serials {
            bytes += self.catch_up_one(serial, &mut outputs)?;
            self.read_last = serial;
            if bytes >= CATCH_UP_BYTES {
                break;
            }
        }
        if self.progress_wanted {
            self.tell_progress();
        }
        Ok(outputs)
    }

    /// What waits for the live watchers. Never waits itself.
    pub fn take(&mut self) -> Vec<Output> {
        let reads =
            |state: &State| matches!(state.place, Place::Live { next, until } if next <= until);
        // Their own reading comes before what waits.
        if !self.settled && self.watchers.values().any(reads) {
            return Vec::new();
        }
        let items = self.queue.waiting.lock().take(&self.hub.inner.measures);
        let (mut outputs, mut events_taken) = (Vec::new(), 0);
        self.round += 1;
        for item in items {
            match item {
                Item::Events { serial, revision, events } => {
                    events_taken += self.put_events(serial, revision, &events, &mut outputs);
                }
                Item::Progress { serial, revision } => {
                    self.round += 1;
                    let watch_id = match serial.map(|serial| self.watchers.get(&serial)) {
                        Some(None) => continue,
                        Some(Some(state)) => Some(state.watch_id),
                        None => None,
                    };
                    outputs.push(Output::Progress { watch_id, revision });
                }
            }
        }
        self.hub.inner.measures.events.add(events_taken as u64);
        outputs
    }

    /// Waits until there may be something to take or to read.
    pub async fn ready(&self) {
        self.queue.ready.notified().await;
    }

    /// What [`WatchStream::ready`] waits for, where the stream itself is in use.
    pub fn signal(&self) -> Signal {
        Signal { queue: self.queue.clone() }
    }

    fn choose_id(&mut self, wanted: i64) -> Result<i64, CreateError> {
        if wanted != 0 {
            return match self.ids.contains_key(&wanted) {
                true => Err(CreateError::DuplicateId),
                false => Ok(wanted),
            };
        }
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    fn join(&self, serial: Serial, spec: &Arc<WatchSpec>, next: i64) -> Place {
        match self.hub.join(serial, spec, next, GAP_MAX, &self.queue) {
            Joined::Behind => Place::Behind { next },
            Joined::Live { published } => {
                let next = if next == 0 { published + 1 } else { next };
                Place::Live { next, until: published }
            }
        }
    }

    /// Notes which watchers the hub took out of its index.
    fn take_fallen(&mut self) {
        let fallen = {
            let mut waiting = self.queue.waiting.lock();
            if waiting.fallen.is_empty() {
                return;
            }
            // What waits for them came before: it must go out first, and does, since reading
            // begins only once the queue is empty.
            if !waiting.items.is_empty() {
                return;
            }
            std::mem::take(&mut waiting.fallen)
        };
        self.settled = false;
        for (serial, revision) in fallen {
            if let Some(state) = self.watchers.get_mut(&serial) {
                let before = state.place;
                state.place = match before {
                    Place::Live { next, until } if next <= until => Place::Behind { next },
                    _ => Place::Behind { next: revision },
                };
                self.hub.inner.measures.slow_watchers.set(serial, state.place.behind());
            }
        }
    }

    /// Reads on for one watcher; the bytes of what it found.
    fn catch_up_one(
        &mut self,
        serial: Serial,
        outputs: &mut Vec<Output>,
    ) -> Result<usize, ReadError> {
        let Some(state) = self.watchers.get(&serial) else { return Ok(0) };
        let (from, until) = match state.place {
            Place::Live { next, until } if next <= until => (next, until),
            Place::Live { .. } => return Ok(0),
            Place::Behind { next } => (next, self.hub.revision()),
        };
        let (spec, watch_id) = (state.spec.clone(), state.watch_id);
        let content = self.hub.inner.content.clone();
        let _content = content.read();
        let engine = &*self.hub.inner.engine;
        let read = match from <= until {
            true => catch_up::read(engine, &spec, from, until, self.hub.compacted_revision()),
            false => Ok(catch_up::Chunk { events: Vec::new(), next: from }),
        };
        let compacted = self.hub.compacted_revision();
        if from < compacted {
            if spec.progress_notify && from > spec.start_revision.max(1) {
                outputs.push(Output::Progress { watch_id: Some(watch_id), revision: from - 1 });
            }
            outputs.push(Output::Compacted { watch_id, compacted });
            self.ids.remove(&watch_id);
            self.forget(serial);
            return Ok(0);
        }
        let chunk = read?;
        let place = match state.place {
            Place::Live { until, .. } => Place::Live { next: chunk.next, until },
            Place::Behind { .. } => self.join(serial, &spec, chunk.next),
        };
        let Some(state) = self.watchers.get_mut(&serial) else { return Ok(0) };
        let before = std::mem::replace(&mut state.place, place).behind();
        self.note(serial, before, place.behind());
        self.hub.inner.measures.events.add(chunk.events.len() as u64);
        let bytes = chunk.events.iter().map(|event| event.size()).sum();
        if let Some(last) = chunk.events.last() {
            if let Some(state) = self.watchers.get_mut(&serial) {
                state.active = true;
            }
            let revision = last.change().revision.main;
            let prev_kv = spec.prev_kv;
            outputs.push(Output::Events { watch_id, prev_kv, revision, events: chunk.events });
        }
        Ok(bytes)
    }

    /// Adds one revision's events to the watcher's open output, or begins another; how many.
    fn put_events(
        &mut self,
        serial: Serial,
        revision: i64,
        events: &Group,
        outputs: &mut Vec<Output>,
    ) -> usize {
        // Ended meanwhile.
        let Some(state) = self.watchers.get_mut(&serial) else { return 0 };
        state.active = true;
        let bytes: usize = events.iter().map(|event| event.size()).sum();
        if state.open.round == self.round
            && state.open.bytes < OUTPUT_BYTES
            && let Some(Output::Events { revision: last, events: before, .. }) =
                outputs.get_mut(state.open.index)
        {
            state.open.bytes += bytes;
            *last = revision;
            before.extend(events.iter().cloned());
            return events.len();
        }
        state.open = Open { round: self.round, index: outputs.len(), bytes };
        let (watch_id, prev_kv) = (state.watch_id, state.spec.prev_kv);
        outputs.push(Output::Events { watch_id, prev_kv, revision, events: events.to_vec() });
        events.len()
    }

    fn tell_progress(&mut self) {
        if !self.progress_wanted {
            return;
        }
        let live = |state: &State| matches!(state.place, Place::Live { .. });
        if self.watchers.values().all(live) && self.hub.progress(None, &self.queue) {
            self.progress_wanted = false;
        }
    }

    /// Shows who is behind; most never are.
    fn note(&self, serial: Serial, before: Option<i64>, now: Option<i64>) {
        if before != now {
            self.hub.inner.measures.slow_watchers.set(serial, now);
        }
    }

    fn forget(&mut self, serial: Serial) {
        if let Some(state) = self.watchers.remove(&serial) {
            self.hub.inner.measures.watchers.add(-1);
            self.note(serial, state.place.behind(), None);
            self.hub.leave(serial, &state.spec);
            self.queue.waiting.lock().fallen.remove(&serial);
        }
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let measures = &self.hub.inner.measures;
        for (serial, state) in &self.watchers {
            self.hub.leave(*serial, &state.spec);
            measures.watchers.add(-1);
            self.note(*serial, state.place.behind(), None);
        }
        // Nobody puts anything there any more.
        self.queue.waiting.lock().take(measures);
        measures.watch_streams.add(-1);
    }
}

/// Tells when a stream may have something.
#[derive(Clone)]
pub struct Signal {
    queue: Arc<StreamQueue>,
}

impl Signal {
    /// Waits for it.
    pub async fn ready(&self) {
        self.queue.ready.notified().await;
    }
}
