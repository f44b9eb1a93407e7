//! Reads entries back from segment files, checksums verified.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::index::EntryPosition;
use super::record::{EntryRecord, FRAME_HEAD, Record, checksum};
use crate::disk::DiskFile;

/// Neighbouring entries are read together up to this size.
const READ_BYTES_MAX: u64 = 1024 * 1024;

/// The open segment files by the position of their first byte.
pub(crate) type Segments = Arc<RwLock<BTreeMap<u64, Arc<dyn DiskFile>>>>;

/// Reads what was written; clones read the same log.
#[derive(Debug, Clone)]
pub struct WalReader {
    pub(crate) segments: Segments,
}

impl WalReader {
    /// Reads consecutive entries.
    pub fn read(&self, positions: &[EntryPosition]) -> io::Result<Vec<EntryRecord>> {
        let mut entries = Vec::with_capacity(positions.len());
        let mut rest = positions;
        while let Some(first) = rest.first() {
            let (base, file) = self.segment(first.position)?;
            let next_base = self.next_base(base);
            let fits = |place: &&EntryPosition| {
                place.position >= first.position
                    && place.position < next_base
                    && end(place) - first.position <= READ_BYTES_MAX
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (run, remaining) = rest.split_at(count);
            let last = run[count - 1];
            let length = usize::try_from(end(&last) - first.position).map_err(io::Error::other)?;
            let mut content = vec![0; length];
            if file.read_at(&mut content, first.position - base)? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let content = Bytes::from(content);
            for place in run {
                entries.push(decode(&content, first.position, place)?);
            }
            rest = remaining;
        }
        Ok(entries)
    }

    fn segment(&self, position: u64) -> io::Result<(u64, Arc<dyn DiskFile>)> {
        let segments = self.segments.read();
        let found = segments.range(..=position).next_back();
        found
            .map(|(base, file)| (*base, file.clone()))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "WAL segment was released"))
    }

    fn next_base(&self, base: u64) -> u64 {
        self.segments.read().range(base + 1..).next().map_or(u64::MAX, |(next, _)| *next)
    }
}

fn end(place: &EntryPosition) -> u64 {
    place.position + FRAME_HEAD as u64 + u64::from(place.length)
}

fn decode(content: &Bytes, start: u64, place: &EntryPosition) -> io::Result<EntryRecord> {
    let damaged = || {
        let message = format!("WAL record at position {} is damaged", place.position);
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    let from = usize::try_from(place.position - start).map_err(io::Error::other)?;
    let frame = content.slice(from..from + FRAME_HEAD + place.length as usize);
    let length = [frame[0], frame[1], frame[2], frame[3]];
    let wanted = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
    if u32::from_le_bytes(length) != place.length
        || checksum(place.seed, length, &frame[8..]) != wanted
    {
        return Err(damaged());
    }
    match Record::decode(frame[8], frame.slice(FRAME_HEAD..)) {
        Some(Record::Entry(entry)) => Ok(entry),
        _ => Err(damaged()),
    }
}
