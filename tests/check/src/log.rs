//! Log: the whole history as one watcher from the first revision was told it, and what such a
//! history promises by itself.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::event::{Event, Stored};

/// The first revision that a write can have.
const FIRST: i64 = 2;

/// A history that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogFlaw {
    /// Revisions do not count up one by one.
    #[error("revision {wanted} should follow, but {event:?} does")]
    Gap {
        /// What should come.
        wanted: i64,
        /// What comes.
        event: Event,
    },
    /// An event tells another former state than the events before it.
    #[error("{event:?} does not follow from {before:?}")]
    Former {
        /// The event.
        event: Event,
        /// The key as the events before left it.
        before: Option<Stored>,
    },
    /// Counters of a key that do not follow from the state before.
    #[error("{event:?} miscounts")]
    Counters {
        /// The event.
        event: Event,
    },
}

/// A history that is consistent in itself: revisions without a gap, each state following from the
/// one before.
#[derive(Debug, Clone, Default)]
pub struct Log {
    events: Vec<Event>,
    /// For each key: the places of its events.
    keys: BTreeMap<u64, Vec<usize>>,
}

impl Log {
    /// Checks a history from the first revision on.
    pub fn new(events: Vec<Event>) -> Result<Self, LogFlaw> {
        let mut keys: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut state: BTreeMap<u64, Stored> = BTreeMap::new();
        let mut last = FIRST - 1;
        for (place, &event) in events.iter().enumerate() {
            if event.revision != last && event.revision != last + 1 || event.revision < FIRST {
                return Err(LogFlaw::Gap { wanted: last + 1, event });
            }
            last = event.revision;
            let before = state.remove(&event.key);
            if before != event.former || event.now.is_none() && before.is_none() {
                return Err(LogFlaw::Former { event, before });
            }
            if let Some(now) = event.now {
                let (created, version) = before
                    .map_or((event.revision, 1), |before| (before.created, before.version + 1));
                if now != (Stored { value: now.value, created, changed: event.revision, version }) {
                    return Err(LogFlaw::Counters { event });
                }
                state.insert(event.key, now);
            }
            keys.entry(event.key).or_default().push(place);
        }
        Ok(Self { events, keys })
    }

    /// Of events that are not the whole history: what some watchers were told, in order.
    pub fn partial(events: Vec<Event>) -> Self {
        let mut keys: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (place, event) in events.iter().enumerate() {
            keys.entry(event.key).or_default().push(place);
        }
        Self { events, keys }
    }

    /// All events.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The last revision.
    pub fn last(&self) -> i64 {
        self.events.last().map_or(FIRST - 1, |event| event.revision)
    }

    /// The event of a key at a revision.
    pub fn at(&self, key: u64, revision: i64) -> Option<&Event> {
        let event = self.last_change(key, revision)?;
        (event.revision == revision).then_some(event)
    }

    /// The newest event of a key that is not after a revision.
    fn last_change(&self, key: u64, revision: i64) -> Option<&Event> {
        let places = self.keys.get(&key)?;
        let after = places.partition_point(|place| self.events[*place].revision <= revision);
        after.checked_sub(1).map(|at| &self.events[places[at]])
    }

    /// The events of a key from one revision to another, both included.
    pub fn changes(&self, key: u64, from: i64, to: i64) -> impl Iterator<Item = &Event> {
        let places = self.keys.get(&key).map_or(&[][..], Vec::as_slice);
        let first = places.partition_point(|place| self.events[*place].revision < from);
        let span = places[first..].iter().map(|place| &self.events[*place]);
        span.take_while(move |event| event.revision <= to)
    }

    /// A key as it was at a revision; `None`: it was not there.
    pub fn state(&self, key: u64, revision: i64) -> Option<Stored> {
        self.last_change(key, revision).and_then(|event| event.now)
    }

    /// Whether a key had this state at a revision of this span, both ends included.
    pub fn was(&self, key: u64, state: Option<Stored>, from: i64, to: i64) -> bool {
        if self.state(key, from) == state {
            return true;
        }
        self.changes(key, from + 1, to).any(|event| event.now == state)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The events of these changes: a key, and its new value or `None` where it is deleted.
    pub(crate) fn events(changes: &[(u64, Option<u64>)]) -> Vec<Event> {
        let mut state: BTreeMap<u64, Stored> = BTreeMap::new();
        let mut events = Vec::new();
        for (revision, (key, value)) in (FIRST..).zip(changes) {
            let former = state.remove(key);
            let now = value.map(|value| Stored {
                value,
                created: former.map_or(revision, |former| former.created),
                changed: revision,
                version: former.map_or(1, |former| former.version + 1),
            });
            state.extend(now.map(|now| (*key, now)));
            events.push(Event { revision, key: *key, now, former });
        }
        events
    }

    pub(crate) fn log(changes: &[(u64, Option<u64>)]) -> Log {
        Log::new(events(changes)).unwrap()
    }

    const CHANGES: [(u64, Option<u64>); 5] =
        [(1, Some(10)), (2, Some(11)), (1, Some(12)), (1, None), (1, Some(13))];

    #[test]
    fn a_history_knows_what_was_when() {
        let log = log(&CHANGES);
        let state = |place: usize| log.events()[place].now;
        assert!(log.was(1, None, 1, 1));
        assert!(log.was(1, state(0), 3, 3), "it lasts until it is changed");
        assert!(!log.was(1, state(0), 4, 9));
        assert!(log.was(1, None, 4, 5) && !log.was(1, None, 6, 9));
        assert!(log.was(1, state(4), 2, 6) && !log.was(1, state(4), 2, 5));
        assert!(log.was(3, None, 1, 6));
        assert_eq!(log.at(1, 4).and_then(|event| event.now), state(2));
        assert_eq!((log.at(2, 4), log.last()), (None, 6));
    }

    #[test]
    fn a_hole_in_the_revisions_is_found() {
        let mut holed = events(&CHANGES);
        holed.remove(1);
        assert!(matches!(Log::new(holed), Err(LogFlaw::Gap { wanted: 3, .. })));
        let mut back = events(&CHANGES);
        back.swap(1, 2);
        assert!(matches!(Log::new(back), Err(LogFlaw::Gap { wanted: 3, .. })));
    }

    #[test]
    fn a_wrong_former_state_is_found() {
        let mut wrong = events(&CHANGES);
        wrong[2].former = None;
        assert!(matches!(Log::new(wrong), Err(LogFlaw::Former { .. })));
        let mut twice = events(&CHANGES);
        twice[1] = Event { revision: 3, ..twice[3] };
        assert!(matches!(Log::new(twice), Err(LogFlaw::Former { .. })));
    }

    #[test]
    fn wrong_counters_are_found() {
        let mut wrong = events(&CHANGES);
        wrong[0].now = wrong[0].now.map(|now| Stored { version: 2, ..now });
        assert!(matches!(Log::new(wrong), Err(LogFlaw::Counters { .. })));
    }
}
