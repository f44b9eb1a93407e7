//! Watchers: each must be told what the log has, whole and in order, once; over reconnects too.

use thiserror::Error;

use crate::event::Event;
use crate::log::Log;

/// One answer on a watch stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The store's revision, as the answer says.
    pub revision: i64,
    /// The events; none: this is progress.
    pub events: Vec<Event>,
}

/// What a watcher was told until it was closed, over all its streams. Each stream begins at the
/// revision after the last event of the one before.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its name, for messages.
    pub name: String,
    /// The first revision it asked for.
    pub from: i64,
    /// The keys it asked for: first, and the one after the last.
    pub keys: (u64, u64),
    /// The answers, in order.
    pub answers: Vec<Answer>,
}

/// A broken promise of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WatchFlaw {
    /// An event was left out.
    #[error("{watcher} was not told of {missing:?}, but of {instead:?}")]
    Missing {
        /// The watcher.
        watcher: String,
        /// The event.
        missing: Event,
        /// What came in its place; `None`: nothing any more.
        instead: Option<Event>,
    },
    /// An event came a second time, or late.
    #[error("{watcher} was told of {event:?} again, or late")]
    Again {
        /// The watcher.
        watcher: String,
        /// The event.
        event: Event,
    },
    /// An event that the log does not have so.
    #[error("{watcher} was told of {event:?}; the log has {wanted:?}")]
    Different {
        /// The watcher.
        watcher: String,
        /// The event.
        event: Event,
        /// What should have come.
        wanted: Option<Event>,
    },
    /// A revision's events came in two answers.
    #[error("{watcher} was told of revision {revision} in two answers")]
    Split {
        /// The watcher.
        watcher: String,
        /// The revision.
        revision: i64,
    },
    /// An answer claims a revision below its events, or an event follows that was promised to be
    /// past.
    #[error("{watcher} was told that revision {told} is reached, beside {event:?}")]
    Header {
        /// The watcher.
        watcher: String,
        /// The revision of the answer.
        told: i64,
        /// The event.
        event: Event,
    },
}

/// Checks a watcher against the log, to the log's end.
pub fn check_watcher(log: &Log, watched: &Watched) -> Result<(), WatchFlaw> {
    check_watcher_until(log, watched, log.last())
}

/// Checks a watcher against the log as far as a revision.
pub fn check_watcher_until(log: &Log, watched: &Watched, until: i64) -> Result<(), WatchFlaw> {
    let watcher = watched.name.clone();
    let own = |event: &&Event| {
        (watched.from..=until).contains(&event.revision)
            && (watched.keys.0..watched.keys.1).contains(&event.key)
    };
    let mut wanted = log.events().iter().filter(own).copied().peekable();
    let mut passed = watched.from - 1;
    let mut progress = watched.from - 1;
    for answer in &watched.answers {
        let Some(first) = answer.events.first() else {
            progress = progress.max(answer.revision);
            continue;
        };
        if let Some(&event) = answer.events.iter().find(|event| event.revision > answer.revision) {
            return Err(WatchFlaw::Header { watcher, told: answer.revision, event });
        }
        let followed = wanted.peek().is_some_and(|next| next == first);
        if followed && first.revision == passed {
            return Err(WatchFlaw::Split { watcher, revision: passed });
        }
        for &event in &answer.events {
            if wanted.peek() != Some(&event) {
                return Err(told_apart(log, watched, wanted.peek().copied(), event));
            }
            if event.revision <= progress {
                return Err(WatchFlaw::Header { watcher, told: progress, event });
            }
            wanted.next();
            passed = event.revision;
        }
    }
    match wanted.next() {
        Some(missing) => Err(WatchFlaw::Missing { watcher, missing, instead: None }),
        None => Ok(()),
    }
}

/// What is wrong when `event` came where `wanted` should have.
fn told_apart(log: &Log, watched: &Watched, wanted: Option<Event>, event: Event) -> WatchFlaw {
    let watcher = watched.name.clone();
    let real = log.at(event.key, event.revision) == Some(&event);
    match wanted {
        Some(missing) if real && event.revision >= missing.revision => {
            WatchFlaw::Missing { watcher, missing, instead: Some(event) }
        }
        _ if real => WatchFlaw::Again { watcher, event },
        wanted => WatchFlaw::Different { watcher, event, wanted },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::log;

    fn history() -> Log {
        log(&[(1, Some(10)), (2, Some(11)), (1, Some(12)), (1, None), (2, Some(13))])
    }

    fn all(log: &Log) -> Watched {
        let answer = |event: &Event| Answer { revision: event.revision, events: vec![*event] };
        let answers = log.events().iter().map(answer).collect();
        Watched { name: "w".to_owned(), from: 1, keys: (0, 9), answers }
    }

    #[test]
    fn a_watcher_of_everything_or_of_a_part_passes() {
        let log = history();
        check_watcher(&log, &all(&log)).unwrap();
        let mut part = Watched { from: 4, keys: (1, 2), ..all(&log) };
        part.answers.retain(|answer| [4, 5].contains(&answer.revision));
        check_watcher(&log, &part).unwrap();
    }

    #[test]
    fn a_missing_event_is_found() {
        let log = history();
        for place in 0..log.events().len() {
            let mut holed = all(&log);
            holed.answers.remove(place);
            let missing = log.events()[place];
            assert!(matches!(check_watcher(&log, &holed),
                Err(WatchFlaw::Missing { missing: found, .. }) if found == missing));
        }
    }

    #[test]
    fn an_event_that_comes_twice_or_late_is_found() {
        let log = history();
        for place in 0..log.events().len() {
            let mut again = all(&log);
            let answer = again.answers[place].clone();
            again.answers.insert(place + 1, answer);
            assert!(matches!(check_watcher(&log, &again), Err(WatchFlaw::Again { .. })));
        }
        let mut swapped = all(&log);
        swapped.answers.swap(1, 2);
        assert!(check_watcher(&log, &swapped).is_err());
    }

    #[test]
    fn another_former_value_is_found() {
        let log = history();
        let mut wrong = all(&log);
        wrong.answers[2].events[0].former = None;
        assert!(matches!(check_watcher(&log, &wrong), Err(WatchFlaw::Different { .. })));
    }

    #[test]
    fn a_revision_in_two_answers_is_found() {
        let mut events = history().events().to_vec();
        events[1].revision = 2;
        events[1].now = events[1].now.map(|now| crate::Stored { created: 2, changed: 2, ..now });
        events.truncate(2);
        let log = Log::new(events).unwrap();
        let split = all(&log);
        assert_eq!(
            check_watcher(&log, &split),
            Err(WatchFlaw::Split { watcher: "w".to_owned(), revision: 2 })
        );
        let whole = Answer { revision: 2, events: log.events().to_vec() };
        check_watcher(&log, &Watched { answers: vec![whole], ..split }).unwrap();
    }

    #[test]
    fn progress_before_an_event_is_found() {
        let log = history();
        let mut early = all(&log);
        early.answers.insert(2, Answer { revision: 4, events: Vec::new() });
        assert!(matches!(check_watcher(&log, &early), Err(WatchFlaw::Header { told: 4, .. })));
        early.answers[2].revision = 3;
        check_watcher(&log, &early).unwrap();
        early.answers[0].revision = 1;
        assert!(matches!(check_watcher(&log, &early), Err(WatchFlaw::Header { told: 1, .. })));
    }
}
