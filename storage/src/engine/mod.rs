//! The ordered key-value store under MVCC: RocksDB in production, a sorted map in simulation.
//!
//! An engine is handed whole batches in order. What it keeps over a crash is a prefix of them:
//! none torn, none missing before one that is there.

mod batch;
mod load;
mod rocks;
mod sorted;

use std::ops::ControlFlow;

use bytes::Bytes;
use thiserror::Error;

pub use batch::{Overlay, WriteBatch};
pub use load::EngineLoad;
pub use rocks::{RocksDb, RocksOptions};
pub use sorted::SortedMap;

/// Entries of a whole engine as of one moment, in key order.
pub type Export = Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send>;

/// Content that lies ready; calling it takes it up.
pub type Staged<'a> = Box<dyn FnOnce() -> Result<(), EngineError> + 'a>;

/// Called for each entry of a range; [`ControlFlow::Break`] ends the walk.
pub type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// The way a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Reverse,
}

/// A failure of the engine. After a failed write the node must stop.
#[derive(Debug, Clone, Error)]
pub enum EngineError {
    /// RocksDB's own words.
    #[error("storage engine in {path}: {message}")]
    Rocks {
        /// The engine's folder.
        path: String,
        /// What it said.
        message: String,
    },
    /// A file beside the database.
    #[error("storage engine: {path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        message: String,
    },
    /// A consistent copy was given up by its source.
    #[error("storage engine: the export ended early")]
    ExportEnded,
}

/// What reading needs. Walks see one moment: that of the call.
pub trait Reader {
    /// The value of one key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Visits the entries in `[start, end)`.
    fn walk(
        &self,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError>;

    /// The same, forward, for so many entries that those read now would only drive out of memory
    /// what is read all the time.
    fn sweep(&self, start: &[u8], end: &[u8], visit: Visitor<'_>) -> Result<(), EngineError> {
        self.walk(start, end, Direction::Forward, visit)
    }
}

/// An ordered key-value store that takes atomic batches.
pub trait Engine: Reader + Send + Sync + 'static {
    /// The values of many keys.
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Takes a batch, whole or not at all. Not yet durable.
    fn write(&self, batch: &WriteBatch) -> Result<(), EngineError>;

    /// Makes durable all that was written before the call.
    fn flush(&self) -> Result<(), EngineError>;

    /// Gives back to the disk what deleted and replaced entries still take; others go on meanwhile.
    fn defragment(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// All entries as of this call, while writing goes on.
    fn export(&self) -> Result<Export, EngineError>;

    /// Prepares other content beside what is there; taking it up replaces everything, durably
    /// and at once: after a crash it is the old or the new.
    fn stage(
        &self,
        entries: &mut dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>>,
    ) -> Result<Staged<'_>, EngineError>;

    /// Bytes on disk and in write buffers, roughly.
    fn approximate_size(&self) -> u64;

    /// What it is busy with.
    fn load(&self) -> EngineLoad {
        EngineLoad::default()
    }

    /// Whether a write would be held up now, until the disk has caught up.
    fn is_write_stalled(&self) -> bool {
        false
    }
}
