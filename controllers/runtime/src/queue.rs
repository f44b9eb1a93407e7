//! A queue of keys to reconcile: each key waits once, is worked on by one worker at a time, and
//! comes back later, and later still, while its reconcile fails.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The wait after a key's first failure; it doubles with each one that follows.
const FAILURE_WAIT_FIRST: Duration = Duration::from_millis(5);
/// The longest wait after a failure.
const FAILURE_WAIT_LAST: Duration = Duration::from_secs(1000);

struct State<K> {
    ready: VecDeque<K>,
    /// Keys in `ready`, and those being worked on that must be worked on again.
    dirty: BTreeSet<K>,
    working: BTreeSet<K>,
    delayed: Delayed<K>,
    failures: BTreeMap<K, u32>,
}

/// Keys that come later, each once; the soonest is found at once.
struct Delayed<K> {
    due: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Delayed<K> {
    /// The earliest of several moments for a key counts.
    fn add(&mut self, key: K, due: Instant) {
        if self.due.get(&key).is_some_and(|earlier| *earlier <= due) {
            return;
        }
        self.remove(&key);
        self.order.insert((due, key.clone()));
        self.due.insert(key, due);
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.due.remove_entry(key) {
            self.order.remove(&(entry.1, entry.0));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }

    fn take_due(&mut self, now: Instant) -> Option<K> {
        self.next().filter(|due| *due <= now)?;
        let (_, key) = self.order.pop_first()?;
        self.due.remove(&key);
        Some(key)
    }
}

/// The queue; bounded by the number of keys that exist.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

impl<K: Ord + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: BTreeSet::new(),
                working: BTreeSet::new(),
                delayed: Delayed { due: BTreeMap::new(), order: BTreeSet::new() },
                failures: BTreeMap::new(),
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Wants `key` worked on as soon as a worker is free.
    pub fn add(&self, key: K) {
        if self.state.lock().add(key) {
            self.changed.notify_one();
        }
    }

    /// Wants `key` worked on after a while; the earliest of several such wishes counts.
    pub fn add_after(&self, key: K, wait: Duration) {
        let due = Instant::now() + wait;
        self.state.lock().delayed.add(key, due);
        self.changed.notify_one();
    }

    /// Wants `key` worked on again after the wait that its failures in a row earn.
    pub fn add_failed(&self, key: K) {
        let mut state = self.state.lock();
        let failures = state.failures.entry(key.clone()).or_insert(0);
        let wait =
            FAILURE_WAIT_FIRST.saturating_mul(1 << (*failures).min(20)).min(FAILURE_WAIT_LAST);
        *failures += 1;
        drop(state);
        self.add_after(key, wait);
    }

    /// Forgets the failures of `key`.
    pub fn forget(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// The next key; `done` must follow. Waits, without cost, while there is none.
    pub async fn get(&self) -> K {
        loop {
            let next_due = {
                let mut state = self.state.lock();
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.delayed.next()
            };
            match next_due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Says that the work on `key` has ended.
    pub fn done(&self, key: &K) {
        let mut state = self.state.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Keys that wait for a worker now.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// True if no key waits for a worker.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Ord + Clone> State<K> {
    fn add(&mut self, key: K) -> bool {
        if !self.dirty.insert(key.clone()) {
            return false;
        }
        self.delayed.remove(&key);
        let free = !self.working.contains(&key);
        if free {
            self.ready.push_back(key);
        }
        free
    }

    fn promote(&mut self, now: Instant) {
        while let Some(key) = self.delayed.take_due(now) {
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_waits_once_and_is_worked_on_once_at_a_time() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.get().await, "a");
        queue.add("a");
        assert!(queue.is_empty(), "not while it is worked on");
        queue.done(&"a");
        assert_eq!(queue.get().await, "a");
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn failures_wait_longer_each_time_until_forgotten() {
        let queue = Queue::default();
        let mut waits = Vec::new();
        for round in 0..5 {
            if round == 4 {
                queue.forget(&"a");
            }
            let start = Instant::now();
            queue.add_failed("a");
            waits.push(queue.state.lock().delayed.due[&"a"] - start);
            assert_eq!(queue.get().await, "a");
            queue.done(&"a");
        }
        // The longer one is twice the shorter, and the few microseconds of the call never double.
        assert!(waits.windows(2).take(3).all(|pair| pair[0] < pair[1]), "{waits:?}");
        assert!(waits[4] < waits[1], "{waits:?}");
    }

    #[tokio::test]
    async fn a_wish_for_now_overtakes_a_wish_for_later() {
        let queue = Queue::default();
        queue.add_after("a", Duration::from_secs(3600));
        queue.add("a");
        assert_eq!(queue.get().await, "a");
        queue.done(&"a");
        assert!(queue.is_empty());
        assert!(queue.state.lock().delayed.order.is_empty(), "worked on already");
    }

    #[tokio::test]
    async fn what_is_due_first_comes_first_and_each_key_once() {
        let queue = Queue::default();
        let now = Instant::now();
        for (key, wait_ms) in [("c", 30), ("a", 90), ("b", 20), ("a", 10), ("b", 80)] {
            queue.state.lock().delayed.add(key, now + Duration::from_millis(wait_ms));
        }
        for key in ["a", "b", "c"] {
            assert_eq!(queue.get().await, key);
            queue.done(&key);
        }
        assert_eq!(queue.state.lock().delayed.next(), None);
    }
}
