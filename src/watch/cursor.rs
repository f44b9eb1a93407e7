//! How far a watcher is, to the change: what makes a second stream go on where the first ended.
//!
//! A transaction's changes share a revision. So a position is a revision and how many of its changes
//! are done with; a stream that begins anew with that revision has them skipped.

use keelson_proto::mvccpb::Event;
use serde::{Deserialize, Serialize};

/// What is to come next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The revision; 0: the next that there will be.
    pub next_revision: i64,
    /// How many of its changes were handed on.
    #[serde(default)]
    pub changes_done: usize,
}

/// A change that is to be handed on.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub event: Event,
    /// Whether another of the same revision follows.
    pub more: bool,
    /// Where the watcher is when it was handed on.
    pub after: Position,
}

/// Follows streams of the same keys, one after the other.
#[derive(Debug, Clone)]
pub struct Cursor {
    position: Position,
    /// The revision whose changes the present stream is telling, and how many it has told.
    telling: (i64, usize),
}

impl Position {
    /// Before the first change of a revision.
    pub fn at(revision: i64) -> Self {
        Self { next_revision: revision, changes_done: 0 }
    }
}

impl Cursor {
    /// One that begins here.
    pub fn new(position: Position) -> Self {
        Self { position, telling: (0, 0) }
    }

    /// What is to come next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// A stream has begun at this position; one from now on has begun after `revision`.
    pub fn opened(&mut self, revision: i64) {
        self.telling = (0, 0);
        if self.position.next_revision == 0 {
            self.position = Position::at(revision + 1);
        }
    }

    /// Nothing up to this revision is still to come; whether that is news.
    pub fn progress(&mut self, revision: i64) -> bool {
        let is_news = revision >= self.position.next_revision;
        if is_news {
            self.position = Position::at(revision + 1);
        }
        is_news
    }

    /// What of this answer was not there before. A revision is never split over answers.
    pub fn take(&mut self, events: Vec<Event>) -> Vec<Change> {
        let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        let mut changes = Vec::with_capacity(events.len());
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            let of = revision(&event);
            self.telling = match self.telling {
                (same, told) if same == of => (of, told + 1),
                _ => (of, 1),
            };
            let told = self.telling.1;
            let Position { next_revision, changes_done } = self.position;
            if of < next_revision || (of == next_revision && told <= changes_done) {
                continue;
            }
            let more = events.peek().is_some_and(|next| revision(next) == of);
            let after = match more {
                true => Position { next_revision: of, changes_done: told },
                false => Position::at(of + 1),
            };
            self.position = after;
            changes.push(Change { event, more, after });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use keelson_proto::mvccpb::KeyValue;

    use super::*;

    fn events(revisions: &[i64]) -> Vec<Event> {
        let of = |(at, revision): (usize, &i64)| {
            let key = format!("k{at}").into();
            let kv = KeyValue { key, mod_revision: *revision, ..KeyValue::default() };
            Event { kv: Some(kv), ..Event::default() }
        };
        revisions.iter().enumerate().map(of).collect()
    }

    fn keys(changes: &[Change]) -> Vec<&[u8]> {
        changes.iter().filter_map(|one| one.event.kv.as_ref()).map(|kv| &kv.key[..]).collect()
    }

    #[test]
    fn a_stream_goes_on_in_the_middle_of_a_transaction() {
        let all = events(&[5, 6, 6, 6, 7]);
        for cut in 0..all.len() {
            let mut first = Cursor::new(Position::at(5));
            first.opened(9);
            let mut seen = first.take(all.clone());
            seen.truncate(cut);
            let position = seen.last().map_or(Position::at(5), |change| change.after);
            let mut second = Cursor::new(position);
            second.opened(9);
            let from = position.next_revision;
            let rest = all
                .iter()
                .filter(|event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision >= from));
            seen.extend(second.take(rest.cloned().collect()));
            assert_eq!(keys(&seen), [b"k0", b"k1", b"k2", b"k3", b"k4"], "cut at {cut}");
            assert_eq!(second.position(), Position::at(8));
        }
    }

    #[test]
    fn what_comes_twice_is_told_once() {
        let mut cursor = Cursor::new(Position::at(5));
        cursor.opened(9);
        assert_eq!(cursor.take(events(&[5, 6])).len(), 2);
        cursor.opened(9);
        assert_eq!(cursor.take(events(&[5, 6])).len(), 0);
        assert_eq!(cursor.take(events(&[7])).len(), 1);
    }

    #[test]
    fn progress_only_goes_forward() {
        let mut cursor = Cursor::new(Position::default());
        cursor.opened(3);
        assert_eq!(cursor.position(), Position::at(4));
        assert!(!cursor.progress(3));
        assert!(cursor.progress(6));
        assert!(!cursor.progress(5));
        assert_eq!(cursor.position(), Position::at(7));
    }

    #[test]
    fn more_is_said_of_all_but_the_last_of_a_revision() {
        let mut cursor = Cursor::new(Position::at(1));
        cursor.opened(9);
        let more: Vec<bool> =
            cursor.take(events(&[5, 6, 6, 7])).iter().map(|change| change.more).collect();
        assert_eq!(more, [false, true, false, false]);
    }
}
