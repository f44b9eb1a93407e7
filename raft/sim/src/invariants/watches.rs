//! Watches: each watcher is told every event of its keys, once, in order, a revision at a time; what
//! is promised to be past stays so, and a bookmark is a place to go on from.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Verdict;
use crate::model::{Event, Model};

/// What a watcher was told of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) revision: i64,
    pub(crate) key: Bytes,
    /// The value, when it was created, and its version.
    pub(crate) now: Option<(Bytes, i64, i64)>,
}

struct Watcher {
    range: (Bytes, Bytes),
    /// Everything before it is known.
    next: i64,
}

/// All watchers, by name.
#[derive(Default)]
pub(crate) struct Watches {
    watchers: BTreeMap<u64, Watcher>,
}

impl Watcher {
    fn wants(&self, event: &Event) -> bool {
        match self.range.1.as_ref() {
            b"" => event.key == self.range.0,
            end => event.key >= self.range.0 && event.key.as_ref() < end,
        }
    }

    /// What it has not been told.
    fn missing<'a>(&self, model: &'a Model) -> impl Iterator<Item = &'a Event> + use<'a, '_> {
        model.events_from(self.next).iter().filter(|event| self.wants(event))
    }
}

impl Watches {
    /// A watcher begins to watch a range, from this revision on.
    pub(crate) fn begins(&mut self, watcher: u64, range: (Bytes, Bytes), next: i64) {
        self.watchers.insert(watcher, Watcher { range, next });
    }

    /// From where it goes on.
    pub(crate) fn next(&self, watcher: u64) -> i64 {
        self.watchers.get(&watcher).map_or(0, |watcher| watcher.next)
    }

    /// One answer with events.
    pub(crate) fn told(&mut self, model: &Model, watcher: u64, events: &[Told]) -> Verdict {
        let Some(state) = self.watchers.get_mut(&watcher) else { return Ok(()) };
        let mut wanted = state.missing(model);
        for event in events {
            if event.revision < state.next {
                let next = state.next;
                return Err(format!(
                    "watcher {watcher} was told of {event:?} after all before revision {next}"
                ));
            }
            let next = wanted.next();
            if next.map(told).as_ref() != Some(event) {
                return Err(format!("watcher {watcher} was told of {event:?}; next was {next:?}"));
            }
        }
        let Some(last) = events.last().map(|event| event.revision) else { return Ok(()) };
        if let Some(event) = wanted.next()
            && event.revision == last
        {
            return Err(format!("watcher {watcher} was told of revision {last} without {event:?}"));
        }
        drop(wanted);
        state.next = last + 1;
        Ok(())
    }

    /// Nothing at or below this revision is still to come.
    pub(crate) fn progressed(&mut self, model: &Model, watcher: u64, revision: i64) -> Verdict {
        let Some(state) = self.watchers.get_mut(&watcher) else { return Ok(()) };
        if revision > model.revision() {
            return Err(format!(
                "watcher {watcher} was told that revision {revision} is past, which is not reached"
            ));
        }
        let missing = state.missing(model).next();
        if let Some(event) = missing.filter(|event| event.revision <= revision) {
            return Err(format!(
                "watcher {watcher} was told that revision {revision} is past, and not of {event:?}"
            ));
        }
        state.next = state.next.max(revision + 1);
        Ok(())
    }

    /// What it wants to see next is not kept; it goes on at the compacted revision.
    pub(crate) fn compacted(&mut self, model: &Model, watcher: u64, compacted: i64) -> Verdict {
        let Some(state) = self.watchers.get_mut(&watcher) else { return Ok(()) };
        let known = model.step(model.last()).map_or(-1, |step| step.compacted);
        if compacted > known || state.next >= compacted {
            let next = state.next;
            return Err(format!(
                "watcher {watcher} wants revision {next} and was told that revision {compacted} is the oldest; \
                 the store is compacted at {known}"
            ));
        }
        state.next = compacted;
        Ok(())
    }

    /// Who has not been told everything up to a revision.
    pub(crate) fn late(&self, model: &Model, revision: i64) -> Option<String> {
        self.watchers.iter().find_map(|(watcher, state)| {
            let event = state.missing(model).next().filter(|event| event.revision <= revision)?;
            Some(format!("watcher {watcher} is not told of {event:?}"))
        })
    }
}

fn told(event: &Event) -> Told {
    Told {
        revision: event.revision,
        key: event.key.clone(),
        now: event.now.as_ref().map(|now| (now.value.clone(), now.created, now.version)),
    }
}
