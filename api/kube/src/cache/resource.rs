//! The cache of one resource: its objects now, and a bounded history that watches resume from.
//!
//! A watcher is a cursor into the history. It holds no queue: one that is too slow falls off the
//! history's end and is told to list again, so it costs nobody anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::object::{Change, Event, Object};
use crate::status::Status;
use crate::storage::wire_bytes;

/// History younger than this is kept, within [`HISTORY_EVENTS_MAX`] and [`HISTORY_BYTES_MAX`].
const HISTORY_MIN_AGE: Duration = Duration::from_secs(180);
const HISTORY_EVENTS_MAX: usize = 20_000;
const HISTORY_BYTES_MAX: usize = 16 << 20;
/// History below this many events is kept whatever its age, if it is small.
const HISTORY_EVENTS_MIN: usize = 100;

/// One change as the store tells it.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) key: String,
    pub(crate) revision: i64,
    /// None: deleted.
    pub(crate) value: Option<Bytes>,
}

/// All objects of a resource at one revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) objects: Vec<Arc<Object>>,
    pub(crate) revision: i64,
}

/// What a cursor has to read.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Arc<Event>>,
    /// Nothing at or below this revision is still to come.
    pub(crate) upto: i64,
}

/// The cache of one resource.
pub(crate) struct Cache {
    /// `/registry/pods/`.
    pub(crate) prefix: String,
    state: RwLock<State>,
    /// Bumped when there is something to read.
    wake: watch::Sender<u64>,
    /// How far the feed of all resources is.
    progress: Arc<AtomicI64>,
}

#[derive(Default)]
struct State {
    loaded: bool,
    items: BTreeMap<Arc<str>, Arc<Object>>,
    /// Revision of the load or of the last event, whichever is newer.
    revision: i64,
    /// What came while the load ran.
    pending: Vec<Write>,
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    /// Sequence number of the history's first event.
    first: u64,
    /// The history is complete after this revision.
    low: i64,
}

impl Cache {
    pub(super) fn new(prefix: String, progress: Arc<AtomicI64>) -> Self {
        let (wake, _) = watch::channel(0);
        Cache { prefix, state: RwLock::default(), wake, progress }
    }

    /// Fills the cache from a list at `revision`. Cursors of before end.
    pub(super) fn load(&self, items: Vec<Arc<Object>>, revision: i64) {
        let mut state = self.state.write();
        let state = &mut *state;
        state.first += state.history.len() as u64 + u64::from(state.loaded);
        state.history.clear();
        state.history_bytes = 0;
        state.items = items.into_iter().map(|o| (o.key.clone(), o)).collect();
        state.revision = revision;
        state.low = revision;
        state.loaded = true;
        for write in std::mem::take(&mut state.pending) {
            state.apply(write);
        }
        self.wake.send_modify(|n| *n += 1);
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.state.read().loaded
    }

    /// Takes what the store told, in order.
    pub(super) fn apply(&self, writes: Vec<Write>) {
        let mut state = self.state.write();
        if !state.loaded {
            state.pending.extend(writes);
            return;
        }
        for write in writes {
            state.apply(write);
        }
        state.forget();
        drop(state);
        self.wake.send_modify(|n| *n += 1);
    }

    /// Up to which revision the cache is known to be complete.
    pub(crate) fn revision(&self) -> i64 {
        self.effective(&self.state.read())
    }

    fn effective(&self, state: &State) -> i64 {
        // All events up to `progress` are in; later ones, if any, are counted in `revision`.
        state.revision.max(self.progress.load(Ordering::Acquire))
    }

    /// A number that changes whenever an object of the resource does.
    pub(crate) fn version(&self) -> (u64, i64) {
        let state = self.state.read();
        (state.first + state.history.len() as u64, state.low)
    }

    /// One object.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.state.read().items.get(key).cloned()
    }

    /// All objects whose key begins with `prefix`.
    pub(crate) fn snapshot(&self, prefix: &str) -> Snapshot {
        let state = self.state.read();
        Snapshot { objects: state.below(prefix), revision: self.effective(&state) }
    }

    /// All objects whose key begins with `prefix`, and a cursor to what happens afterwards.
    pub(crate) fn snapshot_and_watch(self: &Arc<Self>, prefix: &str) -> (Snapshot, Cursor) {
        let state = self.state.read();
        let snapshot = Snapshot { objects: state.below(prefix), revision: self.effective(&state) };
        let next = state.first + state.history.len() as u64;
        (snapshot, self.cursor(next))
    }

    /// A cursor to what happened after `revision`.
    pub(crate) fn watch_from(self: &Arc<Self>, revision: i64) -> Result<Cursor, Status> {
        let state = self.state.read();
        if revision < state.low {
            return Err(Status::too_old(revision, state.low));
        }
        let skip = state.history.partition_point(|e| e.object.revision <= revision);
        Ok(self.cursor(state.first + skip as u64))
    }

    fn cursor(self: &Arc<Self>, next: u64) -> Cursor {
        Cursor { cache: self.clone(), next, wake: self.wake.subscribe() }
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.state.read().items.len()
    }
}

impl State {
    fn below(&self, prefix: &str) -> Vec<Arc<Object>> {
        if prefix.is_empty() {
            return self.items.values().cloned().collect();
        }
        let start = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        self.items
            .range::<str, _>(start)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, object)| object.clone())
            .collect()
    }

    fn apply(&mut self, write: Write) {
        if write.revision <= self.revision && write.revision <= self.low {
            return; // the load had it already
        }
        self.revision = self.revision.max(write.revision);
        let event = match write.value {
            Some(stored) => {
                let key: Arc<str> = match self.items.get_key_value(write.key.as_str()) {
                    Some((key, _)) => key.clone(),
                    None => write.key.into(),
                };
                let wire = wire_bytes(&stored, write.revision);
                let object = Arc::new(Object::new(key.clone(), write.revision, wire));
                let previous = self.items.insert(key, object.clone());
                let change = if previous.is_some() { Change::Modified } else { Change::Added };
                Event::new(change, object, previous)
            }
            None => {
                let Some(previous) = self.items.remove(write.key.as_str()) else { return };
                let object = Arc::new(previous.at_revision(write.revision));
                Event::new(Change::Deleted, object, Some(previous))
            }
        };
        self.history_bytes += event.object.wire.len();
        self.history.push_back(Arc::new(event));
    }

    fn forget(&mut self) {
        while let Some(oldest) = self.history.front() {
            let crowded =
                self.history.len() > HISTORY_EVENTS_MAX || self.history_bytes > HISTORY_BYTES_MAX;
            let aged =
                self.history.len() > HISTORY_EVENTS_MIN && oldest.at.elapsed() > HISTORY_MIN_AGE;
            if !crowded && !aged {
                return;
            }
            self.low = oldest.object.revision;
            self.history_bytes -= oldest.object.wire.len();
            self.history.pop_front();
            self.first += 1;
        }
    }
}

/// A reader of one resource's history.
pub(crate) struct Cursor {
    cache: Arc<Cache>,
    next: u64,
    wake: watch::Receiver<u64>,
}

impl Cursor {
    /// What is there to read now, at most `max` events. None: the cursor fell off the history.
    pub(crate) fn read(&mut self, max: usize) -> Option<Batch> {
        self.wake.mark_unchanged();
        let state = self.cache.state.read();
        let skip = usize::try_from(self.next.checked_sub(state.first)?).ok()?;
        let events: Vec<_> = state.history.iter().skip(skip).take(max).cloned().collect();
        self.next += events.len() as u64;
        let complete = self.next == state.first + state.history.len() as u64;
        let upto = match events.last() {
            Some(last) if !complete => last.object.revision,
            _ => self.cache.effective(&state),
        };
        Some(Batch { events, upto })
    }

    /// Waits until there may be something to read.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as the cache that this cursor holds.
        if self.wake.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &str, revision: i64, value: Option<&str>) -> Write {
        Write {
            key: key.into(),
            revision,
            value: value.map(|v| Bytes::from(format!("{{\"metadata\":{{\"name\":\"{v}\"}}}}"))),
        }
    }

    fn cache() -> Arc<Cache> {
        Arc::new(Cache::new("/registry/pods/".into(), Arc::new(AtomicI64::new(0))))
    }

    #[test]
    fn what_came_during_the_load_is_applied_once() {
        let c = cache();
        c.apply(vec![write("a", 3, Some("old")), write("b", 5, Some("b"))]);
        let a = Object::new("a".into(), 4, Bytes::from_static(b"{\"metadata\":{}}"));
        c.load(vec![Arc::new(a)], 4);
        let s = c.snapshot("");
        assert_eq!(s.revision, 5);
        assert_eq!(s.objects.iter().map(|o| o.revision).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn a_watch_resumes_after_its_revision_and_not_before_the_history() {
        let c = cache();
        c.load(vec![], 10);
        c.apply(vec![write("a", 11, Some("a")), write("a", 12, Some("a")), write("a", 13, None)]);
        assert_eq!(c.watch_from(9).err().map(|s| s.code), Some(410));
        let batch = c.watch_from(11).unwrap().read(10).unwrap();
        let seen: Vec<_> = batch.events.iter().map(|e| (e.change, e.object.revision)).collect();
        assert_eq!(seen, [(Change::Modified, 12), (Change::Deleted, 13)]);
        assert!(batch.events[1].object.wire.windows(4).any(|w| w == b"\"13\""));
        assert_eq!(batch.upto, 13);
    }

    #[test]
    fn a_cursor_ends_when_the_cache_is_loaded_anew() {
        let c = cache();
        c.load(vec![], 1);
        let (_, mut cursor) = c.snapshot_and_watch("");
        assert!(cursor.read(1).is_some());
        c.load(vec![], 50);
        assert!(cursor.read(1).is_none());
    }
}
