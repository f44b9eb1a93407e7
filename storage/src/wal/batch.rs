//! The batch head: the frame before each write's records, which can be found without the chain.
//!
//! It carries a magic number, its own position and a checksum of its own, so that a search
//! behind a damaged record finds the batches that were written after it, and with them proof of
//! what had been synced.

use bytes::{BufMut, Bytes, BytesMut};

use super::record::{FRAME_HEAD, frame, kind};

const MAGIC: [u8; 8] = *b"\xb5KBATCH\x01";
const BODY: usize = 8 + 8 + 8 + 4;
/// Bytes of a batch head's frame.
pub(crate) const BATCH_FRAME: usize = FRAME_HEAD + BODY;

/// What a batch head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHead {
    /// Where the head's frame begins, over all segments.
    pub(crate) position: u64,
    /// Everything before this position was synced when the batch was written.
    pub(crate) synced: u64,
}

impl BatchHead {
    pub(crate) fn frame(self, out: &mut BytesMut, seed: u32) -> u32 {
        frame(out, kind::BATCH, seed, |out| {
            let start = out.len();
            out.put_slice(&MAGIC);
            out.put_u64_le(self.position);
            out.put_u64_le(self.synced);
            let own = crc32fast::hash(&out[start..]);
            out.put_u32_le(own);
        })
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let body: &[u8; BODY] = body.try_into().ok()?;
        let own = u32::from_le_bytes(body[24..28].try_into().ok()?);
        if body[..8] != MAGIC || crc32fast::hash(&body[..24]) != own {
            return None;
        }
        Some(Self {
            position: u64::from_le_bytes(body[8..16].try_into().ok()?),
            synced: u64::from_le_bytes(body[16..24].try_into().ok()?),
        })
    }

    /// The greatest synced position that any batch head in `content` proves; `base` is the
    /// position of the content's first byte.
    pub(crate) fn search(content: &Bytes, base: u64) -> Option<u64> {
        let mut proven = None;
        let mut from = 0;
        while let Some(found) = find(&content[from..], &MAGIC) {
            let start = from + found;
            let head = content.get(start..start + BODY).and_then(Self::decode);
            // A value may hold the same bytes: only a head that names its own place counts.
            if let Some(head) = head
                && start >= FRAME_HEAD
                && head.position == base + (start - FRAME_HEAD) as u64
            {
                proven = proven.max(Some(head.synced));
            }
            from = start + 1;
        }
        proven
    }
}

fn find(content: &[u8], wanted: &[u8; 8]) -> Option<usize> {
    content.windows(wanted.len()).position(|window| window == wanted)
}
