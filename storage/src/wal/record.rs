//! Records: what a frame holds, and how it is framed.
//!
//! Frame: length u32, checksum u32, kind u8, body; numbers little endian. The checksum is the
//! crc32 of length, kind and body, seeded with the checksum of the frame before it. A frame of
//! length 0 and kind 0 is the zero-filled space after the last record.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before a frame's body.
pub(crate) const FRAME_HEAD: usize = 9;
/// A frame longer than this is damage, not data.
pub(crate) const BODY_MAX: usize = 256 * 1024 * 1024;

/// Kinds of frames. Numbers are on disk: never reused.
pub(crate) mod kind {
    pub(crate) const SEGMENT_HEAD: u8 = 1;
    pub(crate) const BATCH: u8 = 2;
    pub(crate) const ENTRY: u8 = 3;
    pub(crate) const VOTE: u8 = 4;
    pub(crate) const COMMITTED: u8 = 5;
    pub(crate) const TRUNCATE: u8 = 6;
    pub(crate) const PURGE: u8 = 7;
    pub(crate) const MEMBERSHIP: u8 = 8;
}

/// Term and index of a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term in which the entry was proposed.
    pub term: u64,
    /// The entry's place in the log.
    pub index: u64,
}

/// A vote as Raft keeps it: for whom in which term, and whether that leader was elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The candidate or leader.
    pub node: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// A membership with the place of the entry that made it, in the raft crate's encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The entry.
    pub id: Option<LogId>,
    /// Encoded by the raft crate; opaque here.
    pub encoded: Bytes,
}

/// What an entry's payload is. Numbers are on disk: never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// Nothing: a new leader's first entry.
    Blank = 0,
    /// A command for the state machine.
    Command = 1,
    /// A change of membership.
    Membership = 2,
}

impl EntryKind {
    /// The kind that a number stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Blank),
            1 => Some(Self::Command),
            2 => Some(Self::Membership),
            _ => None,
        }
    }
}

/// A log entry as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRecord {
    /// Its place.
    pub id: LogId,
    /// What the payload is.
    pub kind: EntryKind,
    /// The payload.
    pub payload: Bytes,
}

/// One thing to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A log entry.
    Entry(EntryRecord),
    /// A vote.
    Vote(Vote),
    /// Everything up to here is known to be committed.
    Committed(LogId),
    /// Entries after this one are void (all of them for `None`).
    Truncate(Option<LogId>),
    /// Entries up to this one are no longer needed.
    Purge(LogId),
    /// The membership as of a snapshot.
    Membership(Membership),
}

/// Appends a frame whose body `fill` writes; returns its checksum.
pub(crate) fn frame(
    out: &mut BytesMut,
    kind: u8,
    seed: u32,
    fill: impl FnOnce(&mut BytesMut),
) -> u32 {
    let start = out.len();
    out.put_u64_le(0);
    out.put_u8(kind);
    fill(out);
    let length = out.len() - start - FRAME_HEAD;
    assert!(length <= BODY_MAX, "a WAL record of {length} bytes");
    #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
    let length_bytes = (length as u32).to_le_bytes();
    let checksum = checksum(seed, length_bytes, &out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length_bytes);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// The checksum of a frame: its length, then kind and body.
pub(crate) fn checksum(seed: u32, length: [u8; 4], kind_and_body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&length);
    hasher.update(kind_and_body);
    hasher.finalize()
}

impl Record {
    /// Appends the record's frame; returns its checksum.
    pub(crate) fn frame(&self, out: &mut BytesMut, seed: u32) -> u32 {
        match self {
            Self::Entry(entry) => frame(out, kind::ENTRY, seed, |out| {
                put_log_id(out, entry.id);
                out.put_u8(entry.kind as u8);
                out.put_slice(&entry.payload);
            }),
            Self::Vote(vote) => frame(out, kind::VOTE, seed, |out| put_vote(out, *vote)),
            Self::Committed(id) => frame(out, kind::COMMITTED, seed, |out| put_log_id(out, *id)),
            Self::Truncate(keep) => {
                frame(out, kind::TRUNCATE, seed, |out| put_optional_log_id(out, *keep))
            }
            Self::Purge(id) => frame(out, kind::PURGE, seed, |out| put_log_id(out, *id)),
            Self::Membership(membership) => frame(out, kind::MEMBERSHIP, seed, |out| {
                put_optional_log_id(out, membership.id);
                out.put_slice(&membership.encoded);
            }),
        }
    }

    /// Reads a frame's body; `None` when it is not one that this version writes.
    pub(crate) fn decode(kind: u8, mut body: Bytes) -> Option<Self> {
        let record = match kind {
            kind::ENTRY => {
                let id = get_log_id(&mut body)?;
                let kind = EntryKind::from_number(body.try_get_u8().ok()?)?;
                return Some(Self::Entry(EntryRecord { id, kind, payload: body }));
            }
            kind::MEMBERSHIP => {
                let id = get_optional_log_id(&mut body)?;
                return Some(Self::Membership(Membership { id, encoded: body }));
            }
            kind::VOTE => Self::Vote(get_vote(&mut body)?),
            kind::COMMITTED => Self::Committed(get_log_id(&mut body)?),
            kind::TRUNCATE => Self::Truncate(get_optional_log_id(&mut body)?),
            kind::PURGE => Self::Purge(get_log_id(&mut body)?),
            _ => return None,
        };
        body.is_empty().then_some(record)
    }
}

pub(crate) fn put_log_id(out: &mut BytesMut, id: LogId) {
    out.put_u64_le(id.term);
    out.put_u64_le(id.index);
}

pub(crate) fn get_log_id(body: &mut Bytes) -> Option<LogId> {
    let term = body.try_get_u64_le().ok()?;
    let index = body.try_get_u64_le().ok()?;
    Some(LogId { term, index })
}

pub(crate) fn put_optional_log_id(out: &mut BytesMut, id: Option<LogId>) {
    out.put_u8(u8::from(id.is_some()));
    put_log_id(out, id.unwrap_or(LogId { term: 0, index: 0 }));
}

pub(crate) fn get_optional_log_id(body: &mut Bytes) -> Option<Option<LogId>> {
    let present = body.try_get_u8().ok()? != 0;
    let id = get_log_id(body)?;
    Some(present.then_some(id))
}

pub(crate) fn put_vote(out: &mut BytesMut, vote: Vote) {
    out.put_u64_le(vote.term);
    out.put_u64_le(vote.node);
    out.put_u8(u8::from(vote.committed));
}

pub(crate) fn get_vote(body: &mut Bytes) -> Option<Vote> {
    let term = body.try_get_u64_le().ok()?;
    let node = body.try_get_u64_le().ok()?;
    let committed = body.try_get_u8().ok()? != 0;
    Some(Vote { term, node, committed })
}
