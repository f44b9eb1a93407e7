//! A snapshot as a file that is kept: the stream of `crate::snapshot`, zeros up to a multiple of
//! 512 bytes, and the SHA-256 of all before it. Its length is known before it is sent.

use bytes::Bytes;
use keelson_proto::raft::StoredApplied;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::engine::Export;
use crate::machine::Applied;
use crate::mvcc::keys;
use crate::snapshot::{SnapshotError, SnapshotReader};

/// The content is filled up to a multiple of this.
const BLOCK_BYTES: u64 = 512;
/// The largest part.
const PART_BYTES: usize = 32 << 10;

/// A snapshot on its way into a file.
pub struct Backup {
    reader: SnapshotReader,
    chunk: Bytes,
    /// Content that is still to come, zeros included.
    remaining: u64,
    hasher: Option<Sha256>,
}

impl Backup {
    /// Both exports are of one moment; the first is read to know the length.
    pub(crate) fn new(measured: Export, sent: Export) -> Result<Self, SnapshotError> {
        let mut applied = Applied::default();
        let mut entries_bytes = 0;
        for entry in measured {
            let (key, value) = entry?;
            entries_bytes += SnapshotReader::entry_bytes(&key, &value);
            if key == keys::META_APPLIED {
                let stored = StoredApplied::decode(value)
                    .map_err(|_| SnapshotError::Damaged("the applied position"))?;
                applied = Applied::from_stored(stored);
            }
        }
        let reader = SnapshotReader::new(&applied, sent);
        let length = reader.frame_bytes() + entries_bytes;
        let remaining = length.next_multiple_of(BLOCK_BYTES);
        Ok(Self { reader, chunk: Bytes::new(), remaining, hasher: Some(Sha256::new()) })
    }

    /// Bytes that follow the last part, but for the hash.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The next bytes; the last part is the hash alone.
    pub fn next_part(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.remaining == 0 {
            let hash = self.hasher.take().map(|hasher| Bytes::copy_from_slice(&hasher.finalize()));
            return Ok(hash);
        }
        if self.chunk.is_empty() {
            self.chunk = match self.reader.next_chunk()? {
                Some(chunk) => chunk,
                None if self.remaining < BLOCK_BYTES => {
                    Bytes::from_static(&[0; BLOCK_BYTES as usize])
                        .slice(..usize::try_from(self.remaining).unwrap_or_default())
                }
                None => return Err(SnapshotError::Damaged("it is shorter than it was")),
            };
        }
        let part = self.chunk.split_to(self.chunk.len().min(PART_BYTES));
        let left = self.remaining.checked_sub(part.len() as u64);
        self.remaining = left.ok_or(SnapshotError::Damaged("it is longer than it was"))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&part);
        }
        Ok(Some(part))
    }
}
