//! Snapshots on the wire: a head with the applied position, every entry of the engine, an end that
//! counts and checks them.
//!
//! `KEELSNAP`, version (4 bytes), head (length, `StoredApplied`); then entries (key length, value
//! length, key, value); then the length `ffff_ffff`, the count (8 bytes) and a CRC-32 over all
//! entries. Numbers are little-endian, lengths 4 bytes.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use keelson_failpoint::planted::{self, Bug};
use keelson_proto::raft::StoredApplied;
use prost::Message;
use thiserror::Error;

use crate::engine::{EngineError, Export};
use crate::machine::Applied;
use crate::mvcc::keys;

/// How every snapshot begins.
pub const MAGIC: &[u8; 8] = b"KEELSNAP";
const VERSION: u32 = 1;
const END: u32 = u32::MAX;
/// A chunk is handed out once it has this size.
const CHUNK_BYTES: usize = 256 << 10;
/// Longer keys and values are damage.
const LENGTH_MAX: u32 = 1 << 30;

/// Why a snapshot cannot be made or taken.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The source failed or ended early.
    #[error("snapshot: {0}")]
    Io(#[from] io::Error),
    /// Not a snapshot of a version that is understood.
    #[error("snapshot of an unknown format")]
    Format,
    /// Its content does not add up.
    #[error("snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// It is whole, but cannot be opened.
    #[error("snapshot: {0}")]
    Content(String),
}

/// The state at one position, as chunks of bytes.
pub struct SnapshotReader {
    applied: Applied,
    export: Option<Export>,
    buffer: BytesMut,
    count: u64,
    crc: crc32fast::Hasher,
    chunk: Bytes,
}

impl SnapshotReader {
    pub(crate) fn new(applied: &Applied, export: Export) -> Self {
        let head = applied.stored().encode_to_vec();
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES * 2);
        buffer.put_slice(MAGIC);
        buffer.put_u32_le(VERSION);
        buffer.put_u32_le(u32::try_from(head.len()).expect("a membership is small"));
        buffer.put_slice(&head);
        let (applied, crc) = (applied.clone(), crc32fast::Hasher::new());
        Self { applied, export: Some(export), buffer, count: 0, crc, chunk: Bytes::new() }
    }

    /// What an entry takes.
    pub(crate) fn entry_bytes(key: &[u8], value: &[u8]) -> u64 {
        (8 + key.len() + value.len()) as u64
    }

    /// What the head and the end take; to be asked before anything is read.
    pub(crate) fn frame_bytes(&self) -> u64 {
        (self.buffer.len() + 16) as u64
    }

    /// The position it is of.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The next bytes; `None`: it is complete.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        while self.buffer.len() < CHUNK_BYTES
            && let Some(export) = &mut self.export
        {
            match export.next() {
                Some(entry) => {
                    let (key, value) = entry?;
                    if planted::is(Bug::LoseCompactionInSnapshot) && key == keys::META_COMPACTED {
                        continue;
                    }
                    self.put_entry(&key, &value);
                }
                None => self.put_end(),
            }
        }
        let chunk = self.buffer.split().freeze();
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    fn put_entry(&mut self, key: &[u8], value: &[u8]) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("entries are bounded");
        let before = self.buffer.len();
        self.buffer.put_u32_le(length(key));
        self.buffer.put_u32_le(length(value));
        self.buffer.put_slice(key);
        self.buffer.put_slice(value);
        self.crc.update(&self.buffer[before..]);
        self.count += 1;
    }

    fn put_end(&mut self) {
        self.export = None;
        self.buffer.put_u32_le(END);
        self.buffer.put_u64_le(self.count);
        self.buffer.put_u32_le(self.crc.clone().finalize());
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            match self.next_chunk().map_err(io::Error::other)? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.chunk.len());
        into[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}

/// Reads the head: the position the snapshot is of.
pub fn read_head(source: &mut impl Read) -> Result<Applied, SnapshotError> {
    let mut magic = [0; 8];
    source.read_exact(&mut magic)?;
    if &magic != MAGIC || read_u32(source)? != VERSION {
        return Err(SnapshotError::Format);
    }
    let length = read_u32(source)?;
    let head = read_bytes(source, length)?;
    let stored = StoredApplied::decode(head).map_err(|_| SnapshotError::Damaged("its head"))?;
    Ok(Applied::from_stored(stored))
}

/// Reads all of a snapshot, whose end counts and checks it; the position it is of.
pub fn check(source: &mut impl Read) -> Result<Applied, SnapshotError> {
    let applied = read_head(source)?;
    let mut entries = Entries::new(source);
    while let Some(entry) = entries.next() {
        if let Err(error) = entry {
            return Err(entries.take_error().unwrap_or(error.into()));
        }
    }
    Ok(applied)
}

/// The entries after the head; ends with an error unless the end is there and agrees.
pub(crate) struct Entries<'a, R> {
    source: &'a mut R,
    count: u64,
    crc: crc32fast::Hasher,
    ended: bool,
    error: Option<SnapshotError>,
}

impl<'a, R: Read> Entries<'a, R> {
    pub(crate) fn new(source: &'a mut R) -> Self {
        Self { source, count: 0, crc: crc32fast::Hasher::new(), ended: false, error: None }
    }

    /// What went wrong, where the iterator ended in an error.
    pub(crate) fn take_error(&mut self) -> Option<SnapshotError> {
        self.error.take()
    }

    fn read_entry(&mut self) -> Result<Option<(Bytes, Bytes)>, SnapshotError> {
        let key_length = read_u32(self.source)?;
        if key_length == END {
            return self.read_end().map(|()| None);
        }
        let value_length = read_u32(self.source)?;
        let key = read_bytes(self.source, key_length)?;
        let value = read_bytes(self.source, value_length)?;
        self.crc.update(&key_length.to_le_bytes());
        self.crc.update(&value_length.to_le_bytes());
        self.crc.update(&key);
        self.crc.update(&value);
        self.count += 1;
        Ok(Some((key, value)))
    }

    fn read_end(&mut self) -> Result<(), SnapshotError> {
        let mut count = [0; 8];
        self.source.read_exact(&mut count)?;
        if u64::from_le_bytes(count) != self.count {
            return Err(SnapshotError::Damaged("the number of entries"));
        }
        if read_u32(self.source)? != self.crc.clone().finalize() {
            return Err(SnapshotError::Damaged("the checksum"));
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Entries<'_, R> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.read_entry() {
            Ok(Some(entry)) => Some(Ok(entry)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                self.error = Some(error);
                Some(Err(EngineError::ExportEnded))
            }
        }
    }
}

fn read_u32(source: &mut impl Read) -> Result<u32, SnapshotError> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_bytes(source: &mut impl Read, length: u32) -> Result<Bytes, SnapshotError> {
    if length > LENGTH_MAX {
        return Err(SnapshotError::Damaged("a length"));
    }
    let mut bytes = Vec::new();
    let read = source.take(u64::from(length)).read_to_end(&mut bytes)?;
    if read as u64 != u64::from(length) {
        return Err(SnapshotError::Damaged("it ends early"));
    }
    Ok(Bytes::from(bytes))
}
