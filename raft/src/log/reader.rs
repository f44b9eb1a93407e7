//! Reads the log: from memory where it is held, else from the WAL.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::{OptionalSend, RaftLogReader};

use super::records::entry_from_record;
use super::store::LogStore;
use crate::types::{Entry, Types, Vote, outer_index};

/// One message of replication holds about this much.
const REPLICATION_BYTES_MAX: usize = 1024 * 1024;

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.vote())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, REPLICATION_BYTES_MAX)
    }
}

impl LogStore {
    /// The entries from `start` to before `end` that the log holds; of many, the first that have
    /// about `bytes_max` together.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (entries, places) = {
            let state = self.shared.state.lock();
            let next = state.last.map_or(0, |id| id.index + 1);
            let (start, end) = (start.max(state.first()), end.min(next));
            let cached = state.cache.first().unwrap_or(next).clamp(start, end.max(start));
            let mut bytes = 0;
            let mut places = Vec::new();
            for index in start..cached {
                let place = state.written.get(outer_index(index)).ok_or_else(|| missing(index))?;
                bytes += place.length as usize;
                places.push(place);
                if bytes >= bytes_max {
                    break;
                }
            }
            let mut entries = Vec::new();
            if bytes < bytes_max {
                state.cache.copy(cached, end, bytes_max - bytes, &mut entries);
            }
            (entries, places)
        };
        if places.is_empty() {
            return Ok(entries);
        }
        let records = self.shared.wal.read(&places)?;
        let mut all: Vec<Entry> =
            records.into_iter().map(entry_from_record).collect::<io::Result<_>>()?;
        all.extend(entries);
        Ok(all)
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

fn missing(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("log entry {} is missing", outer_index(index)))
}
