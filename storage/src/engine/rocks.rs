//! RocksDB as an engine: one column family, its own WAL off, memory bounded.
//!
//! Without a WAL a crash leaves what was flushed: memtables go to disk in order, and with one
//! column family a batch lies in one memtable, so what is left is a prefix of whole batches.
//! The folder holds a file `CURRENT-DB` that names the database's own folder: replacing all
//! content builds a second one and renames that file.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use keelson_failpoint::failpoint;
use parking_lot::RwLock;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB,
    DBCompressionType, DBRawIteratorWithThreadMode, FlushOptions, IteratorMode, LogLevel, Options,
    ReadOptions, WriteOptions,
};

use crate::background;

use super::{
    Direction, Engine, EngineError, EngineLoad, Export, Reader, Staged, Visitor, WriteBatch,
};

/// Names the database's folder; the first line is the format version.
const POINTER: &str = "CURRENT-DB";
/// Version of the layout of this folder.
const FORMAT: &str = "keelson-engine 1";
/// Pieces that wait for the reader of an export, and the size that each hardly exceeds.
const EXPORT_QUEUE: usize = 2;
const EXPORT_PIECE_BYTES: usize = 128 << 10;
/// Bytes a batch when all content is replaced.
const REPLACE_BATCH_BYTES: usize = 1 << 20;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Pieces of index and filter.
const METADATA_BLOCK_BYTES: usize = 4 << 10;

/// Memory that the engine may take.
#[derive(Debug, Clone, Copy)]
pub struct RocksOptions {
    /// Blocks of data, index and filters kept in memory.
    pub block_cache_bytes: usize,
    /// One write buffer; there are at most two.
    pub write_buffer_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { block_cache_bytes: 16 << 20, write_buffer_bytes: 8 << 20 }
    }
}

/// A RocksDB database.
pub struct RocksDb {
    folder: PathBuf,
    options: RocksOptions,
    db: RwLock<Arc<DB>>,
}

impl std::fmt::Debug for RocksDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksDb").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl RocksDb {
    /// Opens the database in `folder`, made if it is missing.
    pub fn open(folder: &Path, options: RocksOptions) -> Result<Self, EngineError> {
        fs::create_dir_all(folder).map_err(|error| file_error(folder, &error))?;
        let name = match read_pointer(folder)? {
            Some(name) => name,
            None => {
                write_pointer(folder, "db-1")?;
                "db-1".to_owned()
            }
        };
        remove_others(folder, &name);
        let db = open_db(&folder.join(&name), &options)?;
        Ok(Self { folder: folder.to_owned(), options, db: RwLock::new(Arc::new(db)) })
    }

    fn db(&self) -> Arc<DB> {
        self.db.read().clone()
    }
}

/// Entries of an export on their way to its reader.
struct Piece {
    entries: Vec<(Bytes, Bytes)>,
    /// Nothing follows.
    ended: bool,
    /// Why not.
    failure: Option<EngineError>,
}

impl Piece {
    fn broken_off() -> Self {
        Self { entries: Vec::new(), ended: true, failure: Some(EngineError::ExportEnded) }
    }
}

impl Reader for RocksDb {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let db = self.db();
        let value = db.get(key).map_err(|error| rocks_error(&db, &error))?;
        Ok(value.map(Bytes::from))
    }

    fn walk(
        &self,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError> {
        self.visit(ReadOptions::default(), (start, end), direction, visit)
    }

    fn sweep(&self, start: &[u8], end: &[u8], visit: Visitor<'_>) -> Result<(), EngineError> {
        let mut read = ReadOptions::default();
        read.fill_cache(false);
        self.visit(read, (start, end), Direction::Forward, visit)
    }
}

impl RocksDb {
    fn visit(
        &self,
        mut read: ReadOptions,
        (start, end): (&[u8], &[u8]),
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError> {
        if start >= end {
            return Ok(());
        }
        let db = self.db();
        read.set_iterate_lower_bound(start);
        read.set_iterate_upper_bound(end);
        let mut iterator: DBRawIteratorWithThreadMode<'_, DB> = db.raw_iterator_opt(read);
        match direction {
            Direction::Forward => iterator.seek_to_first(),
            Direction::Reverse => iterator.seek_to_last(),
        }
        while let Some((key, value)) = iterator.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            match direction {
                Direction::Forward => iterator.next(),
                Direction::Reverse => iterator.prev(),
            }
        }
        iterator.status().map_err(|error| rocks_error(&db, &error))
    }
}

impl Engine for RocksDb {
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        let db = self.db();
        db.multi_get(keys)
            .into_iter()
            .map(|value| value.map(|value| value.map(Bytes::from)))
            .collect::<Result<_, _>>()
            .map_err(|error| rocks_error(&db, &error))
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), EngineError> {
        write_to(&self.db(), batch)
    }

    fn flush(&self) -> Result<(), EngineError> {
        let db = self.db();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        db.flush_opt(&options).map_err(|error| rocks_error(&db, &error))
    }

    /// Rewrites all of it: a range of files that nobody deletes from would keep its dead entries.
    fn defragment(&self) -> Result<(), EngineError> {
        self.flush()?;
        let db = self.db();
        failpoint!(defragOpenFileError => |text| return Err(failed(&db, text)));
        failpoint!(defragBeforeCopy);
        failpoint!(defragdbFail => |text| return Err(failed(&db, text)));
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        options.set_exclusive_manual_compaction(false);
        db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    /// A thread of its own holds the iterator, since it borrows the database; it ends with the
    /// entries or when the reader is dropped.
    fn export(&self) -> Result<Export, EngineError> {
        let db = self.db();
        let (pieces, received) = sync_channel(EXPORT_QUEUE);
        let (begun, begin) = sync_channel(1);
        let run = move || {
            let mut read = ReadOptions::default();
            read.fill_cache(false);
            let mut iterator = db.iterator_opt(IteratorMode::Start, read);
            if begun.send(()).is_err() {
                return;
            }
            let (mut ended, mut failure) = (false, None);
            while !ended {
                let (mut piece, mut bytes) = (Vec::new(), 0);
                while bytes < EXPORT_PIECE_BYTES && !ended {
                    match iterator.next() {
                        Some(Ok((key, value))) => {
                            bytes += key.len() + value.len();
                            piece.push((Bytes::from(key), Bytes::from(value)));
                        }
                        Some(Err(error)) => {
                            (ended, failure) = (true, Some(rocks_error(&db, &error)));
                        }
                        None => ended = true,
                    }
                }
                if pieces.send(Piece { entries: piece, ended, failure: failure.take() }).is_err() {
                    return;
                }
            }
        };
        background::spawn("engine-export", run)
            .map_err(|error| file_error(&self.folder, &error))?;
        begin.recv().map_err(|_| EngineError::ExportEnded)?;
        let (mut entries, mut last) = (Vec::new().into_iter(), None);
        Ok(Box::new(std::iter::from_fn(move || {
            loop {
                if let Some(entry) = entries.next() {
                    return Some(Ok(entry));
                }
                if let Some(failure) = last.take() {
                    // After its end, nothing more comes; a failure is told once.
                    last = Some(None);
                    return failure.map(Err);
                }
                let piece = received.recv().unwrap_or_else(|_| Piece::broken_off());
                entries = piece.entries.into_iter();
                last = piece.ended.then_some(piece.failure);
            }
        })))
    }

    fn stage(
        &self,
        entries: &mut dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>>,
    ) -> Result<Staged<'_>, EngineError> {
        let old = read_pointer(&self.folder)?.unwrap_or_default();
        let number = old.strip_prefix("db-").and_then(|n| n.parse::<u64>().ok()).unwrap_or(1);
        let name = format!("db-{}", number + 1);
        let path = self.folder.join(&name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| file_error(&path, &error))?;
        }
        let db = open_db(&path, &self.options)?;
        let (mut batch, mut bytes) = (WriteBatch::default(), 0);
        for entry in entries {
            let (key, value) = entry?;
            bytes += key.len() + value.len();
            batch.put(key.to_vec(), value);
            if bytes >= REPLACE_BATCH_BYTES {
                write_to(&db, &std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        write_to(&db, &batch)?;
        db.flush().map_err(|error| rocks_error(&db, &error))?;
        Ok(Box::new(move || {
            write_pointer(&self.folder, &name)?;
            *self.db.write() = Arc::new(db);
            remove_others(&self.folder, &name);
            Ok(())
        }))
    }

    fn approximate_size(&self) -> u64 {
        let db = self.db();
        ["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"]
            .iter()
            .map(|name| db.property_int_value(*name).ok().flatten().unwrap_or(0))
            .sum()
    }

    fn load(&self) -> EngineLoad {
        let db = self.db();
        let number = |name: &str| db.property_int_value(name).ok().flatten().unwrap_or(0);
        let stalls = db.property_value("rocksdb.cf-write-stall-stats").ok().flatten();
        let stalls = |name: &str| stall_count(stalls.as_deref().unwrap_or_default(), name);
        EngineLoad {
            is_stopped: number("rocksdb.is-write-stopped") > 0,
            delayed_to_bytes: number("rocksdb.actual-delayed-write-rate"),
            stops: stalls("total-stops"),
            delays: stalls("total-delays"),
            compaction_debt_bytes: number("rocksdb.estimate-pending-compaction-bytes"),
            level0_files: number("rocksdb.num-files-at-level0"),
            compactions: number("rocksdb.num-running-compactions"),
            flushes: number("rocksdb.num-running-flushes"),
            buffers_waiting: number("rocksdb.num-immutable-mem-table"),
            buffer_bytes: number("rocksdb.cur-size-all-mem-tables"),
            cache_bytes: number("rocksdb.block-cache-usage"),
            background_errors: number("rocksdb.background-errors"),
        }
    }

    fn is_write_stalled(&self) -> bool {
        let db = self.db();
        [c"rocksdb.is-write-stopped", c"rocksdb.actual-delayed-write-rate"].iter().any(|name| {
            db.property_int_value(*name).is_ok_and(|value| value.is_some_and(|value| value > 0))
        })
    }
}

/// A number in RocksDB's line of `name: number, ..`.
fn stall_count(line: &str, name: &str) -> u64 {
    let fields = line.split([',', '(', ')']).flat_map(|field| field.split_once(':'));
    let mut counts = fields.filter(|(field, _)| field.trim() == name);
    counts.next().and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0)
}

/// An engine is closed as it is.
const UNFLUSHED: &str = "avoid_flush_during_shutdown=true";

fn open_db(path: &Path, options: &RocksOptions) -> Result<DB, EngineError> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    // Without these, index and filter blocks stay in memory for every open file.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In pieces, of which a look-up needs one each: whole ones are as large as the cache once there
    // is a gigabyte of data, and would be read again for every key.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);
    table.set_pin_top_level_index_and_filter(true);
    table.set_format_version(5);
    let mut db = Options::default();
    db.create_if_missing(true);
    db.set_block_based_table_factory(&table);
    db.set_compression_type(DBCompressionType::Lz4);
    db.set_write_buffer_size(options.write_buffer_bytes);
    db.set_max_write_buffer_number(2);
    // Small buffers make small files: as many bytes as ever are merged at once.
    db.set_level_zero_file_num_compaction_trigger(8);
    db.set_max_background_jobs(2);
    db.set_level_compaction_dynamic_level_bytes(true);
    db.set_bytes_per_sync(1 << 20);
    db.set_log_level(LogLevel::Warn);
    db.set_max_log_file_size(1 << 20);
    db.set_keep_log_file_num(2);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_max_open_files(256);
    let failed = |error: rocksdb::Error| EngineError::Rocks {
        path: path.display().to_string(),
        message: error.into_string(),
    };
    // What is not flushed is in our own log; and one flush thread serves all engines of a process,
    // which rests for a second after each that fails because its folder has gone.
    let db = db.get_options_from_string(UNFLUSHED).map_err(failed)?;
    DB::open(&db, path).map_err(failed)
}

fn write_to(db: &DB, batch: &WriteBatch) -> Result<(), EngineError> {
    let mut rocks = rocksdb::WriteBatch::default();
    for (key, value) in batch.changes() {
        match value {
            Some(value) => rocks.put(key, value),
            None => rocks.delete(key),
        }
    }
    let mut options = WriteOptions::new();
    options.disable_wal(true);
    // Batches are in key order: each search goes on where the last one ended.
    options.set_memtable_insert_hint_per_batch(true);
    db.write_opt(rocks, &options).map_err(|error| rocks_error(db, &error))
}

fn read_pointer(folder: &Path) -> Result<Option<String>, EngineError> {
    let path = folder.join(POINTER);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(&path, &error)),
    };
    match text.split_once('\n') {
        Some((FORMAT, name)) if !name.trim().is_empty() => Ok(Some(name.trim().to_owned())),
        _ => Err(EngineError::File {
            path: path.display().to_string(),
            message: format!("is not of the format \"{FORMAT}\""),
        }),
    }
}

/// Written beside, synced, renamed, and the folder synced: it names the old or the new.
fn write_pointer(folder: &Path, name: &str) -> Result<(), EngineError> {
    let path = folder.join(POINTER);
    let fresh = folder.join("CURRENT-DB.new");
    let write = || {
        let mut file = fs::File::create(&fresh)?;
        file.write_all(format!("{FORMAT}\n{name}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| file_error(&path, &error))
}

/// Folders of databases that were replaced, or never finished.
fn remove_others(folder: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let other = entry.file_name();
        let Some(text) = other.to_str() else { continue };
        if text.starts_with("db-")
            && text != name
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "old database stays");
        }
    }
}

fn rocks_error(db: &DB, error: &rocksdb::Error) -> EngineError {
    failed(db, error.to_string())
}

fn failed(db: &DB, message: String) -> EngineError {
    EngineError::Rocks { path: db.path().display().to_string(), message }
}

fn file_error(path: &Path, error: &std::io::Error) -> EngineError {
    EngineError::File { path: path.display().to_string(), message: error.to_string() }
}
