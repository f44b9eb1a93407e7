//! The index of live watchers, and publishing to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use keelson_failpoint::planted::{self, Bug};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{SharedEvent, WatchSpec, WatchStream};
use crate::engine::Engine;
use crate::measures::Measures;
use crate::mvcc::Change;

/// Items that wait in one stream's queue; then its watchers fall behind.
const QUEUE_ITEMS_MAX: usize = 16_384;
/// Bytes of the events that wait in one stream's queue.
const QUEUE_BYTES_MAX: usize = 8 << 20;

/// Where watchers subscribe and changes are published.
#[derive(Clone)]
pub struct WatchHub {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) engine: Arc<dyn Engine>,
    /// Held while positions are held against the engine's content.
    pub(super) content: Arc<RwLock<()>>,
    state: Mutex<State>,
    revision: AtomicI64,
    compacted: AtomicI64,
    pub(super) measures: Arc<Measures>,
}

/// One number a watcher for the hub's life: a watch id can be used again, this cannot.
pub(super) type Serial = u64;

#[derive(Default)]
struct State {
    published: i64,
    next_serial: Serial,
    /// Watchers of one key.
    keys: BTreeMap<Bytes, Vec<Live>>,
    /// Watchers of a range, by its start and end.
    ranges: BTreeMap<(Bytes, Bytes), Vec<Live>>,
}

struct Live {
    serial: Serial,
    spec: Arc<WatchSpec>,
    /// Nothing before it is wanted.
    from: i64,
    queue: Arc<StreamQueue>,
}

/// What a batch has added to all queues.
#[derive(Default)]
struct Queued {
    bytes: usize,
    events: usize,
}

/// What is on its way to one stream.
#[derive(Default)]
pub(super) struct StreamQueue {
    /// Orders the waking of streams.
    pub(super) number: Serial,
    pub(super) waiting: Mutex<Waiting>,
    pub(super) ready: Notify,
}

#[derive(Default)]
pub(super) struct Waiting {
    pub(super) items: VecDeque<Item>,
    bytes: usize,
    /// Events among the items.
    events: usize,
    /// Watchers that were taken out of the index, and the first revision they have not got.
    pub(super) fallen: BTreeMap<Serial, i64>,
}

impl Waiting {
    pub(super) fn take(&mut self, measures: &Measures) -> VecDeque<Item> {
        measures.pending_bytes.add(-(std::mem::take(&mut self.bytes) as i64));
        measures.pending_events.add(-(std::mem::take(&mut self.events) as i64));
        std::mem::take(&mut self.items)
    }
}

/// Events of one revision, shared by all who want the same of them.
pub(super) type Group = Arc<[Arc<SharedEvent>]>;

/// One thing to be said to a stream, in this order.
pub(super) enum Item {
    Events {
        serial: Serial,
        revision: i64,
        events: Group,
    },
    /// To one watcher, or to the stream as a whole.
    Progress {
        serial: Option<Serial>,
        revision: i64,
    },
}

/// How [`WatchHub::join`] found the watcher.
pub(super) enum Joined {
    /// Live from the next revision on; up to this one it reads the engine itself.
    Live { published: i64 },
    /// Too far behind: it reads first.
    Behind,
}

impl std::fmt::Debug for WatchHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchHub").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl WatchHub {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        content: Arc<RwLock<()>>,
        measures: Arc<Measures>,
    ) -> Self {
        let inner = Inner {
            engine,
            content,
            state: Mutex::default(),
            revision: AtomicI64::new(0),
            compacted: AtomicI64::new(-1),
            measures,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Opens a stream without watchers.
    pub fn stream(&self) -> WatchStream {
        WatchStream::new(self.clone())
    }

    /// The revision up to which changes are published.
    pub fn revision(&self) -> i64 {
        self.inner.revision.load(Ordering::SeqCst)
    }

    pub(super) fn compacted_revision(&self) -> i64 {
        self.inner.compacted.load(Ordering::SeqCst)
    }

    /// Hands on the changes of a batch that the engine has; the state is now at `revision`.
    pub(crate) fn publish(&self, revision: i64, changes: Vec<Change>) {
        let mut state = self.inner.state.lock();
        let mut woken: BTreeMap<Serial, Arc<StreamQueue>> = BTreeMap::new();
        let mut queued = Queued::default();
        if !state.keys.is_empty() || !state.ranges.is_empty() {
            let mut events = changes.into_iter().map(SharedEvent::new).map(Arc::new).peekable();
            while let Some(first) = events.next() {
                let main = first.change().revision.main;
                let mut group = vec![first];
                while let Some(next) = events.next_if(|e| e.change().revision.main == main) {
                    group.push(next);
                }
                state.publish_revision(main, &group.into(), &mut woken, &mut queued);
            }
        }
        self.inner.measures.pending_bytes.add(queued.bytes as i64);
        self.inner.measures.pending_events.add(queued.events as i64);
        state.published = revision;
        self.inner.revision.store(revision, Ordering::SeqCst);
        drop(state);
        for queue in woken.values() {
            queue.ready.notify_one();
        }
    }

    /// Told before anything is dropped: who reads from before it then, is told so.
    pub(crate) fn compacted(&self, revision: i64) {
        self.inner.compacted.store(revision, Ordering::SeqCst);
    }

    /// The state was replaced: live watchers read what they missed from the new one.
    pub(crate) fn reset(&self, revision: i64, compacted: i64) {
        self.compacted(compacted);
        let mut state = self.inner.state.lock();
        let next = state.published + 1;
        let keys = std::mem::take(&mut state.keys).into_values();
        let ranges = std::mem::take(&mut state.ranges).into_values();
        for live in keys.chain(ranges).flatten() {
            live.queue.waiting.lock().fallen.insert(live.serial, next.max(live.from));
            live.queue.ready.notify_one();
        }
        state.published = revision;
        self.inner.revision.store(revision, Ordering::SeqCst);
    }

    pub(super) fn next_serial(&self) -> Serial {
        let mut state = self.inner.state.lock();
        state.next_serial += 1;
        state.next_serial
    }

    /// Makes a watcher live that wants revisions from `from` on (0: from now), if it has at most
    /// `gap_max` to read itself.
    pub(super) fn join(
        &self,
        serial: Serial,
        spec: &Arc<WatchSpec>,
        from: i64,
        gap_max: i64,
        queue: &Arc<StreamQueue>,
    ) -> Joined {
        let mut state = self.inner.state.lock();
        let published = state.published;
        if from != 0 && published + 1 - from > gap_max {
            return Joined::Behind;
        }
        let from = from.max(published + 1);
        let live = Live { serial, spec: spec.clone(), from, queue: queue.clone() };
        state.list(spec).push(live);
        Joined::Live { published }
    }

    /// Takes a watcher out of the index.
    pub(super) fn leave(&self, serial: Serial, spec: &WatchSpec) {
        let mut state = self.inner.state.lock();
        let list = state.list(spec);
        list.retain(|live| live.serial != serial);
        if list.is_empty() {
            state.remove_list(spec);
        }
    }

    /// Puts progress behind all events up to it, unless one of the stream's watchers has fallen
    /// behind meanwhile. `serial`: for one watcher.
    pub(super) fn progress(&self, serial: Option<Serial>, queue: &StreamQueue) -> bool {
        let state = self.inner.state.lock();
        let mut waiting = queue.waiting.lock();
        let fallen = match serial {
            Some(serial) => waiting.fallen.contains_key(&serial),
            None => !waiting.fallen.is_empty(),
        };
        if fallen {
            return false;
        }
        let progress = Item::Progress { serial, revision: state.published };
        if planted::is(Bug::ProgressAheadOfEvents) {
            waiting.items.push_front(progress);
        } else {
            waiting.items.push_back(progress);
        }
        queue.ready.notify_one();
        true
    }
}

impl State {
    fn list(&mut self, spec: &WatchSpec) -> &mut Vec<Live> {
        if spec.range_end.is_empty() {
            return self.keys.entry(spec.key.clone()).or_default();
        }
        self.ranges.entry((spec.key.clone(), spec.range_end.clone())).or_default()
    }

    fn remove_list(&mut self, spec: &WatchSpec) {
        if spec.range_end.is_empty() {
            self.keys.remove(&spec.key);
        } else {
            self.ranges.remove(&(spec.key.clone(), spec.range_end.clone()));
        }
    }

    /// Hands one revision's events, all together, to each watcher that wants some of them.
    fn publish_revision(
        &mut self,
        revision: i64,
        events: &Group,
        woken: &mut BTreeMap<Serial, Arc<StreamQueue>>,
        queued: &mut Queued,
    ) {
        let mut fallen: Vec<Arc<WatchSpec>> = Vec::new();
        let mut offer = |lives: &mut Vec<Live>, events: &Group| {
            let bytes: usize = events.iter().map(|event| event.size()).sum();
            lives.retain(|live| {
                let Some(wanted) = live.wanted(revision, events) else { return true };
                let bytes = match Arc::ptr_eq(&wanted, events) {
                    true => bytes,
                    false => wanted.iter().map(|event| event.size()).sum(),
                };
                let kept = live.push(revision, wanted, bytes, queued);
                if !kept {
                    fallen.push(live.spec.clone());
                }
                woken.entry(live.queue.number).or_insert_with(|| live.queue.clone());
                kept
            });
        };
        // A key may change twice in one revision: its watchers get both at once.
        if let [event] = &events[..] {
            if let Some(lives) = self.keys.get_mut(&event.change().key) {
                offer(lives, events);
            }
        } else if !self.keys.is_empty() {
            let mut by_key: BTreeMap<&Bytes, Vec<Arc<SharedEvent>>> = BTreeMap::new();
            for event in &events[..] {
                by_key.entry(&event.change().key).or_default().push(event.clone());
            }
            for (key, events) in by_key {
                if let Some(lives) = self.keys.get_mut(key) {
                    offer(lives, &events.into());
                }
            }
        }
        for lives in self.ranges.values_mut() {
            offer(lives, events);
        }
        for spec in fallen {
            if self.list(&spec).is_empty() {
                self.remove_list(&spec);
            }
        }
    }
}

impl Live {
    /// What it wants of them, if anything; most often all.
    fn wanted(&self, revision: i64, events: &Group) -> Option<Group> {
        if revision < self.from {
            return None;
        }
        let wanted = |event: &&Arc<SharedEvent>| {
            let change = event.change();
            self.spec.wants(change.kind, &change.key)
        };
        match events.iter().filter(wanted).count() {
            0 => None,
            count if count == events.len() => Some(events.clone()),
            _ => Some(events.iter().filter(wanted).cloned().collect()),
        }
    }

    /// `false`: the queue is full, and the watcher is behind from here on.
    fn push(&self, revision: i64, events: Group, bytes: usize, queued: &mut Queued) -> bool {
        let mut waiting = self.queue.waiting.lock();
        let full = waiting.items.len() >= QUEUE_ITEMS_MAX || waiting.bytes >= QUEUE_BYTES_MAX;
        if full {
            waiting.fallen.insert(self.serial, revision);
            return false;
        }
        waiting.bytes += bytes;
        queued.bytes += bytes;
        waiting.events += events.len();
        queued.events += events.len();
        waiting.items.push_back(Item::Events { serial: self.serial, revision, events });
        true
    }
}
