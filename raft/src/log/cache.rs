//! Cache: the newest entries in memory, so that replication and apply do not read the disk.
//!
//! It holds everything that is not yet written, and of the rest as much as its limit allows.

use std::collections::VecDeque;

use openraft::EntryPayload;

use crate::types::Entry;

/// What an entry costs beside its payload.
const ENTRY_OVERHEAD: usize = 64;

/// Consecutive entries, the newest of the log.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Cache {
    /// Index of the first entry held.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    /// Index of the last entry held.
    pub(crate) fn last(&self) -> Option<u64> {
        self.entries.back().map(|entry| entry.log_id.index)
    }

    /// The term of an entry that is held.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        let place = usize::try_from(index.checked_sub(self.first()?)?).ok()?;
        self.entries.get(place).map(|entry| entry.log_id.leader_id.term)
    }

    /// Adds the log's next entry.
    pub(crate) fn push(&mut self, entry: Entry) {
        if let Some(last) = self.last() {
            assert_eq!(entry.log_id.index, last + 1, "log entries are consecutive");
        }
        self.bytes += size(&entry);
        self.entries.push_back(entry);
    }

    /// Copies entries from `start` to before `end`, which must be held; of many, the first that
    /// have about `bytes_max` together.
    pub(crate) fn copy(&self, start: u64, end: u64, bytes_max: usize, out: &mut Vec<Entry>) {
        let Some(first) = self.first() else { return };
        let from = usize::try_from(start - first).unwrap_or(usize::MAX);
        let to = usize::try_from(end.saturating_sub(first)).unwrap_or(usize::MAX);
        let held = self.entries.len();
        let mut bytes = 0;
        out.reserve(to.min(held).saturating_sub(from));
        for entry in self.entries.range(from.min(held)..to.min(held).max(from.min(held))) {
            bytes += size(entry);
            out.push(entry.clone());
            if bytes >= bytes_max {
                return;
            }
        }
    }

    /// Drops entries from `start` on.
    pub(crate) fn truncate(&mut self, start: u64) {
        while self.last().is_some_and(|last| last >= start) {
            self.drop_one(VecDeque::pop_back);
        }
    }

    /// Drops entries before `end`.
    pub(crate) fn purge(&mut self, end: u64) {
        while self.first().is_some_and(|first| first < end) {
            self.drop_one(VecDeque::pop_front);
        }
    }

    /// Drops the oldest of the entries before `written` until the cache is within its limit.
    pub(crate) fn shrink(&mut self, bytes_max: usize, written: u64) {
        while self.bytes > bytes_max && self.first().is_some_and(|first| first < written) {
            self.drop_one(VecDeque::pop_front);
        }
    }

    fn drop_one(&mut self, pop: fn(&mut VecDeque<Entry>) -> Option<Entry>) {
        if let Some(entry) = pop(&mut self.entries) {
            self.bytes -= size(&entry);
        }
    }
}

fn size(entry: &Entry) -> usize {
    ENTRY_OVERHEAD
        + match &entry.payload {
            EntryPayload::Normal(payload) => payload.0.len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}
