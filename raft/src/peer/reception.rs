//! Reception: a snapshot on its way in. It is kept in a file without a name, so that nothing is left
//! of one that is broken off, and it is looked through before consensus hears of it: one that is
//! not whole is its sender's to send again, not a reason to stop.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;

use keelson_storage::snapshot;
use parking_lot::Mutex;

use crate::machine::{SnapshotData, blocking};
use crate::types::{LogId, log_id};

/// Where snapshots are kept while they arrive; clones share it.
#[derive(Clone)]
pub(crate) enum Landing {
    /// In files that have this name for a moment.
    File(Arc<Mutex<PathBuf>>),
    /// In memory: a simulation's.
    Memory,
}

impl Landing {
    /// In files beside this path.
    pub(crate) fn file(path: PathBuf) -> Self {
        Self::File(Arc::new(Mutex::new(path)))
    }

    /// Makes room for one.
    pub(super) fn begin(&self) -> io::Result<Reception> {
        let Self::File(path) = self else { return Ok(Reception::Memory(Vec::new())) };
        let path = path.lock();
        // What has the name is left of a process that was killed right here.
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&*path)?;
        std::fs::remove_file(&*path)?;
        Ok(Reception::File(file))
    }
}

/// One snapshot, as far as it has come.
pub(super) enum Reception {
    File(File),
    Memory(Vec<u8>),
}

impl Reception {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Memory(memory) => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The snapshot, if it is whole and of this position.
    pub(super) async fn finish(self, position: Option<LogId>) -> io::Result<SnapshotData> {
        let check = move || match self {
            Self::File(mut file) => {
                file.rewind()?;
                check(&mut BufReader::new(&file), position)?;
                file.rewind()?;
                Ok(SnapshotData::Received(Box::new(BufReader::new(file))))
            }
            Self::Memory(memory) => {
                check(&mut memory.as_slice(), position)?;
                Ok(SnapshotData::Received(Box::new(Cursor::new(memory))))
            }
        };
        blocking(check).await?
    }
}

fn check(source: &mut impl Read, position: Option<LogId>) -> io::Result<()> {
    let applied = snapshot::check(source).map_err(io::Error::other)?;
    if log_id(applied.term, applied.index) != position {
        return Err(io::Error::other("the snapshot is of another position than it was said to be"));
    }
    Ok(())
}
