//! The disk and the engine, with a clock beside them for `/metrics`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use keelson_etcd_api::DiskMetrics;
use keelson_failpoint::failpoint;
use keelson_storage::disk::{Disk, DiskFile};
use keelson_storage::engine::{
    Direction, Engine, EngineError, EngineLoad, Export, Reader, Staged, Visitor, WriteBatch,
};

/// A disk whose writes and syncs are timed: the log's.
#[derive(Debug)]
pub struct MeasuredDisk {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Who is told.
    pub metrics: Arc<DiskMetrics>,
}

#[derive(Debug)]
struct MeasuredFile {
    file: Arc<dyn DiskFile>,
    metrics: Arc<DiskMetrics>,
}

impl MeasuredDisk {
    fn measured(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(MeasuredFile { file, metrics: self.metrics.clone() })
    }
}

impl Disk for MeasuredDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.measured(self.disk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.measured(self.disk.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

impl DiskFile for MeasuredFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let began = Instant::now();
        self.file.write_at(buffer, offset)?;
        self.metrics.wal_written(buffer.len(), began.elapsed());
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.metrics.wal_syncing();
        let began = Instant::now();
        failpoint!(walDuringSync);
        let synced = self.file.sync_data();
        self.metrics.wal_synced(began.elapsed());
        synced
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

/// An engine whose batches and flushes are timed.
pub struct MeasuredEngine<E> {
    /// The engine.
    pub engine: E,
    /// Who is told.
    pub metrics: Arc<DiskMetrics>,
}

impl<E: Reader> Reader for MeasuredEngine<E> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(key)
    }

    fn walk(
        &self,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError> {
        self.engine.walk(start, end, direction, visit)
    }

    fn sweep(&self, start: &[u8], end: &[u8], visit: Visitor<'_>) -> Result<(), EngineError> {
        self.engine.sweep(start, end, visit)
    }
}

impl<E: Engine> Engine for MeasuredEngine<E> {
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.engine.multi_get(keys)
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), EngineError> {
        let began = Instant::now();
        self.engine.write(batch)?;
        self.metrics.committed(began.elapsed());
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        let began = Instant::now();
        self.engine.flush()?;
        self.metrics.flushed(began.elapsed());
        Ok(())
    }

    fn defragment(&self) -> Result<(), EngineError> {
        let _shown = self.metrics.defragmenting();
        self.engine.defragment()
    }

    fn export(&self) -> Result<Export, EngineError> {
        self.engine.export()
    }

    fn stage(
        &self,
        entries: &mut dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>>,
    ) -> Result<Staged<'_>, EngineError> {
        let began = Instant::now();
        let staged = self.engine.stage(entries)?;
        self.metrics.snapshot_saved(began.elapsed());
        Ok(Box::new(move || {
            let began = Instant::now();
            staged()?;
            self.metrics.snapshot_synced(began.elapsed());
            Ok(())
        }))
    }

    fn approximate_size(&self) -> u64 {
        self.engine.approximate_size()
    }

    fn load(&self) -> EngineLoad {
        self.engine.load()
    }

    fn is_write_stalled(&self) -> bool {
        self.engine.is_write_stalled()
    }
}
