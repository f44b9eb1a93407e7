//! Index: where each entry of the log is on disk.

use std::collections::VecDeque;

use super::record::LogId;

/// Where an entry's frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPosition {
    /// The entry's term.
    pub term: u64,
    /// Position of its frame over all segments.
    pub position: u64,
    /// Length of its body.
    pub length: u32,
    /// Checksum of the frame before it.
    pub seed: u32,
}

/// Positions of consecutive entries.
#[derive(Debug, Clone, Default)]
pub struct Index {
    first: u64,
    entries: VecDeque<EntryPosition>,
}

impl Index {
    /// Index of the first entry, if there is one.
    pub fn first(&self) -> Option<u64> {
        (!self.entries.is_empty()).then_some(self.first)
    }

    /// The last entry, if there is one.
    pub fn last(&self) -> Option<LogId> {
        let last = self.entries.back()?;
        Some(LogId { term: last.term, index: self.first + self.entries.len() as u64 - 1 })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where an entry is.
    pub fn get(&self, index: u64) -> Option<EntryPosition> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(place).copied()
    }

    /// Adds the next entry; false when it does not follow the last.
    pub fn push(&mut self, index: u64, position: EntryPosition) -> bool {
        if self.entries.is_empty() {
            self.first = index;
        } else if index != self.first + self.entries.len() as u64 {
            return false;
        }
        self.entries.push_back(position);
        true
    }

    /// Forgets entries after `index`; all for `None`.
    pub fn truncate(&mut self, keep: Option<u64>) {
        let count = keep.map_or(0, |keep| (keep + 1).saturating_sub(self.first));
        self.entries.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// Forgets entries up to `index`.
    pub fn purge(&mut self, index: u64) {
        let count = (index + 1).saturating_sub(self.first).min(self.entries.len() as u64);
        self.entries.drain(..usize::try_from(count).unwrap_or(usize::MAX));
        self.first += count;
    }
}
