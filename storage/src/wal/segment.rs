//! Segment files: their names, and the head that repeats what a log without its past must know.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::record::{
    FRAME_HEAD, LogId, Membership, Vote, frame, get_optional_log_id, get_vote, kind,
    put_optional_log_id, put_vote,
};

/// Version of the format. It changes with any change to what is on disk.
pub const FORMAT_VERSION: u32 = 1;
/// First bytes of every segment file.
pub(crate) const MAGIC: [u8; 8] = *b"KEELWAL\n";
/// Bytes before the head's frame: magic, format version.
pub(crate) const PREFIX: usize = 12;
const SUFFIX: &str = ".wal";
/// Zeros that a file has behind its last record, on disk before the record is written: enough that
/// no cut among records leaves as many.
pub(crate) const ROOM_BYTES: u64 = FRAME_HEAD as u64;
/// Flags of a head.
const HAS_VOTE: u8 = 1;
const KEEPS_ROOM: u8 = 2;

/// Whose log this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub node_id: u64,
}

/// What the first record of each segment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHead {
    /// Whose log this is.
    pub identity: Identity,
    /// Position of the file's first byte.
    pub base: u64,
    /// The file had at least this length when it was begun: a shorter one was cut.
    pub length_min: u64,
    /// Zeros are behind the last record, whatever was written when: a file without them was cut.
    /// Segments begun by older versions do not promise it.
    pub keeps_room: bool,
    /// Checksum of the last record of the segment before.
    pub chain: u32,
    /// The vote when the segment was begun.
    pub vote: Option<Vote>,
    /// What was known to be committed.
    pub committed: Option<LogId>,
    /// Entries up to here had been released.
    pub purged: Option<LogId>,
    /// The last entry of the segments before.
    pub last: Option<LogId>,
    /// The newest membership in the log.
    pub membership: Option<Membership>,
}

impl SegmentHead {
    /// The file's first bytes; returns the checksum that the next record is chained to.
    pub(crate) fn write(&self, out: &mut BytesMut) -> u32 {
        out.put_slice(&MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        frame(out, kind::SEGMENT_HEAD, 0, |out| {
            out.put_u64_le(self.identity.cluster_id);
            out.put_u64_le(self.identity.node_id);
            out.put_u64_le(self.base);
            out.put_u64_le(self.length_min);
            out.put_u32_le(self.chain);
            let vote = if self.vote.is_some() { HAS_VOTE } else { 0 };
            out.put_u8(vote | if self.keeps_room { KEEPS_ROOM } else { 0 });
            put_vote(out, self.vote.unwrap_or(Vote { term: 0, node: 0, committed: false }));
            put_optional_log_id(out, self.committed);
            put_optional_log_id(out, self.purged);
            put_optional_log_id(out, self.last);
            out.put_u8(u8::from(self.membership.is_some()));
            if let Some(membership) = &self.membership {
                put_optional_log_id(out, membership.id);
                out.put_slice(&membership.encoded);
            }
        })
    }

    pub(crate) fn decode(mut body: Bytes) -> Option<Self> {
        let cluster_id = body.try_get_u64_le().ok()?;
        let node_id = body.try_get_u64_le().ok()?;
        let base = body.try_get_u64_le().ok()?;
        let length_min = body.try_get_u64_le().ok()?;
        let chain = body.try_get_u32_le().ok()?;
        let flags = body.try_get_u8().ok()?;
        let vote = get_vote(&mut body)?;
        let committed = get_optional_log_id(&mut body)?;
        let purged = get_optional_log_id(&mut body)?;
        let last = get_optional_log_id(&mut body)?;
        let membership = if body.try_get_u8().ok()? != 0 {
            let id = get_optional_log_id(&mut body)?;
            Some(Membership { id, encoded: body })
        } else {
            None
        };
        Some(Self {
            identity: Identity { cluster_id, node_id },
            base,
            length_min,
            keeps_room: flags & KEEPS_ROOM != 0,
            chain,
            vote: (flags & HAS_VOTE != 0).then_some(vote),
            committed,
            purged,
            last,
            membership,
        })
    }
}

/// The name of the segment that begins at a position; names sort as positions do.
pub(crate) fn file_name(base: u64) -> String {
    format!("{base:020}{SUFFIX}")
}

/// The position in a segment's name; `None` for other files.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}
