//! Watchers of a recorded history with numbers for names, as the checks of watchers take them.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Event, Stored};
use crate::format::{Change, Line};
use crate::watched::{Answer, Watched};

/// The names behind the numbers: both sorted, so that ranges stay ranges.
#[derive(Debug, Default)]
pub(crate) struct Names {
    keys: Vec<String>,
    values: Vec<String>,
}

/// A watcher's numbers, until it had to start anew.
#[derive(Debug)]
pub(crate) struct Followed {
    /// What it was told.
    pub(crate) watched: Watched,
    /// When each answer came.
    pub(crate) at: Vec<u64>,
    /// Events tell what was before.
    pub(crate) tells_former: bool,
    /// It started anew: what came afterwards was not for this one.
    pub(crate) ended: bool,
}

impl Names {
    /// Of everything that watchers and their events name.
    pub(crate) fn of(lines: &[Line]) -> Self {
        let (mut keys, mut values) = (BTreeSet::new(), BTreeSet::new());
        for line in lines {
            match line {
                Line::Watch { key, end, .. } => {
                    keys.insert(key.clone());
                    keys.extend(end.clone().filter(|end| !end.is_empty()));
                }
                Line::Events { events, .. } => {
                    for event in events {
                        keys.insert(event.key.clone());
                        values.extend(event.value.clone());
                        values.extend(event.former.as_ref().map(|former| former.value.clone()));
                    }
                }
                _ => {}
            }
        }
        Self { keys: keys.into_iter().collect(), values: values.into_iter().collect() }
    }

    /// The number of a key, were it there or not.
    pub(crate) fn key(&self, key: &str) -> Option<u64> {
        self.keys.binary_search_by(|one| one.as_str().cmp(key)).ok().map(|at| at as u64)
    }

    /// The number of a value; one that no event has has none.
    pub(crate) fn value(&self, value: &str) -> Option<u64> {
        self.values.binary_search_by(|one| one.as_str().cmp(value)).ok().map(|at| at as u64)
    }

    /// The key of a number.
    pub(crate) fn key_name(&self, number: u64) -> &str {
        usize::try_from(number).ok().and_then(|at| self.keys.get(at)).map_or("?", String::as_str)
    }

    /// An event in words.
    pub(crate) fn tell(&self, event: &Event) -> String {
        let key = self.key_name(event.key);
        let value = event.now.and_then(|now| usize::try_from(now.value).ok());
        let value = value.and_then(|at| self.values.get(at));
        match value {
            Some(value) => format!("{key} = {value:?} at revision {}", event.revision),
            None => format!("the deletion of {key} at revision {}", event.revision),
        }
    }

    fn event(&self, change: &Change) -> Event {
        let number = |value: &str| self.value(value).unwrap_or(u64::MAX);
        Event {
            revision: change.revision,
            key: self.key(&change.key).unwrap_or(u64::MAX),
            now: change.value.as_deref().map(|value| Stored {
                value: number(value),
                created: change.created,
                changed: change.revision,
                version: change.version,
            }),
            former: change.former.as_ref().map(|former| Stored {
                value: number(&former.value),
                created: former.created,
                changed: former.changed,
                version: former.version,
            }),
        }
    }

    /// All watchers, each as often as it started anew.
    pub(crate) fn watchers(&self, lines: &[Line]) -> Vec<Followed> {
        let mut all: Vec<Followed> = Vec::new();
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        for line in lines {
            match line {
                Line::Watch { watcher, key, end, from, .. } => {
                    let first = self.key(key).unwrap_or(0);
                    let after = match end.as_deref() {
                        None => first + 1,
                        Some("" | "\0") => u64::MAX,
                        Some(end) => self.key(end).unwrap_or(u64::MAX),
                    };
                    let keys = (first, after);
                    let goes_on = open.get(watcher.as_str()).is_some_and(|at| {
                        let watched = &all[*at].watched;
                        watched.keys == keys && from - 1 == reached(watched)
                    });
                    if !goes_on {
                        if let Some(former) = open.insert(watcher, all.len()) {
                            all[former].ended = true;
                        }
                        let (name, answers) = (format!("{watcher} from {from}"), Vec::new());
                        let watched = Watched { name, from: *from, keys, answers };
                        let (at, tells_former, ended) = (Vec::new(), false, false);
                        all.push(Followed { watched, at, tells_former, ended });
                    }
                }
                Line::Events { watcher, at, revision, events } => {
                    if let Some(place) = open.get(watcher.as_str()) {
                        let followed = &mut all[*place];
                        followed.tells_former |= events.iter().any(|one| one.former.is_some());
                        let events = events.iter().map(|change| self.event(change)).collect();
                        followed.watched.answers.push(Answer { revision: *revision, events });
                        followed.at.push(*at);
                    }
                }
                Line::Progress { watcher, at, revision } => {
                    if let Some(place) = open.get(watcher.as_str()) {
                        let answer = Answer { revision: *revision, events: Vec::new() };
                        all[*place].watched.answers.push(answer);
                        all[*place].at.push(*at);
                    }
                }
                Line::Compacted { watcher, .. } => {
                    if let Some(former) = open.remove(watcher.as_str()) {
                        all[former].ended = true;
                    }
                }
                _ => {}
            }
        }
        all
    }
}

/// How far a watcher is.
pub(crate) fn reached(watched: &Watched) -> i64 {
    let answers = watched.answers.iter().map(|answer| match answer.events.last() {
        Some(event) => event.revision,
        None => answer.revision,
    });
    answers.max().unwrap_or(0).max(watched.from - 1)
}
