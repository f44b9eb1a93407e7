//! Walk: reads every record of a log in order, without changing anything.
//!
//! Recovery, `keelson store verify` and `keelson store dump-log` are visitors of it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use keelson_failpoint::planted::{self, Bug};

use super::batch::BatchHead;
use super::error::WalError;
use super::record::{BODY_MAX, FRAME_HEAD, Record, checksum, kind};
use super::segment::{FORMAT_VERSION, MAGIC, PREFIX, ROOM_BYTES, SegmentHead, parse_name};
use crate::disk::Disk;

/// What a walk meets, in order.
#[derive(Debug)]
pub enum Walked<'a> {
    /// A segment begins.
    Segment {
        /// Its file.
        file: &'a Path,
        /// Its head.
        head: &'a SegmentHead,
    },
    /// A write begins.
    Batch {
        /// Position over all segments.
        position: u64,
        /// What was known to be synced.
        synced: u64,
    },
    /// A record.
    Record {
        /// Position of its frame over all segments.
        position: u64,
        /// Length of its body.
        length: u32,
        /// Checksum of the frame before it.
        seed: u32,
        /// The record.
        record: &'a Record,
    },
}

/// What a walk found in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Segment files.
    pub segments: u64,
    /// Records without heads.
    pub records: u64,
    /// Position after the last whole record.
    pub end: u64,
    /// Position of the last segment's first byte.
    pub last_base: u64,
    /// Checksum of the last whole record.
    pub chain: u32,
    /// What the log itself knows to be synced.
    pub synced: u64,
    /// A tear after `end`: bytes that are not a whole record and were not known to be synced.
    pub torn: bool,
}

/// Reads a log from its oldest segment to its end. Damage below the synced offset is an error; a
/// visitor may stop the walk with a reason, which is reported as damage at that record.
pub fn walk(
    disk: &dyn Disk,
    dir: &Path,
    visit: &mut dyn FnMut(Walked<'_>) -> Result<(), &'static str>,
) -> Result<Summary, WalError> {
    let names = disk.list(dir).map_err(|error| WalError::io("list", dir, error))?;
    let bases: Vec<u64> = names.iter().filter_map(|name| parse_name(name)).collect();
    let mut summary = Summary::default();
    for (number, base) in bases.iter().enumerate() {
        let file = dir.join(super::segment::file_name(*base));
        let content = read_whole(disk, &file)?;
        let mut segment = Segment {
            file,
            content,
            base: *base,
            first: number == 0,
            next_base: bases.get(number + 1).copied(),
        };
        segment.walk(&mut summary, visit)?;
    }
    Ok(summary)
}

fn read_whole(disk: &dyn Disk, file: &Path) -> Result<Bytes, WalError> {
    let read = || {
        let handle = disk.open_read(file)?;
        let length = usize::try_from(handle.length()?).map_err(std::io::Error::other)?;
        let mut content = vec![0; length];
        let count = handle.read_at(&mut content, 0)?;
        content.truncate(count);
        Ok(Bytes::from(content))
    };
    read().map_err(|error| WalError::io("read", file, error))
}

struct Segment {
    file: PathBuf,
    content: Bytes,
    base: u64,
    first: bool,
    next_base: Option<u64>,
}

const ENDS_WITHIN: &str = "the file ends within a record";

/// What stands at an offset.
enum Frame {
    Whole { kind: u8, body: Bytes, checksum: u32 },
    Space,
    Broken(&'static str),
}

impl Segment {
    fn walk(
        &mut self,
        summary: &mut Summary,
        visit: &mut dyn FnMut(Walked<'_>) -> Result<(), &'static str>,
    ) -> Result<(), WalError> {
        let (head, mut offset, mut chain) = self.head()?;
        if !self.first && (head.base != summary.end || head.chain != summary.chain) {
            return Err(WalError::MissingSegment {
                file: self.file.clone(),
                expected: summary.end,
                found: head.base,
            });
        }
        summary.segments += 1;
        summary.last_base = self.base;
        // A segment is begun only when the one before it is synced, and named when its head is.
        summary.synced = summary.synced.max(self.base + offset as u64);
        visit(Walked::Segment { file: &self.file, head: &head })
            .map_err(|reason| self.damaged(0, reason, summary.synced))?;
        let broken = loop {
            let (kind, body, next_chain) = match self.frame(offset, chain) {
                Frame::Whole { kind, body, checksum } => (kind, body, checksum),
                Frame::Space => break None,
                Frame::Broken(reason) => break Some(reason),
            };
            let position = self.base + offset as u64;
            let length = body.len();
            let walked = if kind == kind::BATCH {
                let Some(head) = BatchHead::decode(&body) else {
                    break Some("a batch head that says nothing");
                };
                summary.synced = summary.synced.max(head.synced);
                visit(Walked::Batch { position, synced: head.synced })
            } else {
                let Some(record) = Record::decode(kind, body) else {
                    let reason = "a record that this version does not know";
                    return Err(self.damaged(offset, reason, summary.synced));
                };
                summary.records += 1;
                #[allow(clippy::cast_possible_truncation, reason = "at most BODY_MAX")]
                let length = length as u32;
                visit(Walked::Record { position, length, seed: chain, record: &record })
            };
            walked.map_err(|reason| self.damaged(offset, reason, summary.synced))?;
            chain = next_chain;
            offset += FRAME_HEAD + length;
        };
        summary.end = self.base + offset as u64;
        summary.chain = chain;
        self.judge_end(&head, offset, broken, summary)
    }

    /// Tells the end of the log and a tear from damage.
    fn judge_end(
        &self,
        head: &SegmentHead,
        offset: usize,
        broken: Option<&'static str>,
        summary: &mut Summary,
    ) -> Result<(), WalError> {
        let reason = broken.unwrap_or("records are missing");
        if let Some(next_base) = self.next_base {
            return if summary.end == next_base {
                Ok(())
            } else {
                Err(self.damaged(offset, reason, next_base))
            };
        }
        if summary.end < summary.synced {
            return Err(self.damaged(offset, reason, summary.synced));
        }
        // Records are written only where zeros are on disk already, and some behind them.
        let length = self.content.len() as u64;
        let too_short = length < offset as u64 + ROOM_BYTES || broken == Some(ENDS_WITHIN);
        if head.keeps_room && too_short {
            let reason = "the file was cut short: it ends without the zeros behind its last record";
            return Err(self.damaged(offset, reason, self.base + length));
        }
        let rest = self.content.slice(offset.min(self.content.len())..);
        let Some(first) = first_nonzero(&rest) else {
            return Ok(());
        };
        let written = rest.slice(first..);
        if let Some(proven) = BatchHead::search(&written, summary.end + first as u64)
            && proven > summary.end
        {
            return Err(self.damaged(offset, reason, proven));
        }
        summary.torn = true;
        Ok(())
    }

    fn head(&self) -> Result<(SegmentHead, usize, u32), WalError> {
        let damaged = |reason| self.damaged(0, reason, self.base + PREFIX as u64);
        let prefix = self.content.get(..PREFIX).ok_or_else(|| damaged("the file is too short"))?;
        if prefix[..8] != MAGIC {
            return Err(damaged("the magic number is wrong"));
        }
        let version = u32::from_le_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
        if version != FORMAT_VERSION {
            return Err(WalError::UnknownFormat {
                file: self.file.clone(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        let Frame::Whole { kind: kind::SEGMENT_HEAD, body, checksum } = self.frame(PREFIX, 0)
        else {
            return Err(damaged("the segment's head is broken"));
        };
        let length = body.len();
        let head =
            SegmentHead::decode(body).ok_or_else(|| damaged("the segment's head is unreadable"))?;
        if head.base != self.base {
            return Err(damaged("the segment's head names another position"));
        }
        if (self.content.len() as u64) < head.length_min {
            let reason = "the file was cut short";
            return Err(self.damaged(self.content.len(), reason, self.base + head.length_min));
        }
        Ok((head, PREFIX + FRAME_HEAD + length, checksum))
    }

    fn frame(&self, offset: usize, seed: u32) -> Frame {
        let Some(head) = self.content.get(offset..offset + FRAME_HEAD) else {
            let rest = self.content.get(offset..).unwrap_or_default();
            return if rest.iter().all(|byte| *byte == 0) {
                Frame::Space
            } else {
                Frame::Broken(ENDS_WITHIN)
            };
        };
        if head == [0; FRAME_HEAD] {
            return Frame::Space;
        }
        let length = [head[0], head[1], head[2], head[3]];
        let wanted = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let size = u32::from_le_bytes(length) as usize;
        if size > BODY_MAX {
            return Frame::Broken("a record's length is impossible");
        }
        let end = offset + FRAME_HEAD + size;
        if end > self.content.len() {
            return Frame::Broken(ENDS_WITHIN);
        }
        if checksum(seed, length, &self.content[offset + 8..end]) != wanted
            && !planted::is(Bug::DropTornTailCheck)
        {
            return Frame::Broken("a record's checksum does not match");
        }
        let body = self.content.slice(offset + FRAME_HEAD..end);
        Frame::Whole { kind: head[8], body, checksum: wanted }
    }

    fn damaged(&self, offset: usize, reason: &'static str, synced: u64) -> WalError {
        WalError::Damaged {
            file: self.file.clone(),
            offset: offset as u64,
            reason,
            synced_up_to: synced.saturating_sub(self.base),
        }
    }
}

fn first_nonzero(content: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let chunks = content.chunks(ZEROS.len()).enumerate();
    for (number, chunk) in chunks {
        if chunk != &ZEROS[..chunk.len()] {
            let inside = chunk.iter().position(|byte| *byte != 0)?;
            return Some(number * ZEROS.len() + inside);
        }
    }
    None
}
