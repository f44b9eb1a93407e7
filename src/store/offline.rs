//! The state of a member that does not run: its engine, and what its log holds beyond that.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use keelson_storage::disk::RealDisk;
use keelson_storage::engine::{RocksDb, RocksOptions};
use keelson_storage::entry::{LogEntry, Payload};
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::wal::{EntryKind, EntryRecord, Identity, Record, Summary, Walked, walk};

use crate::lock::{self, Lock};

/// A member's files, opened by nobody else meanwhile.
pub struct Offline {
    /// The state as of the last entry known to be committed.
    pub machine: StateMachine,
    /// The engine under it.
    pub engine: Arc<RocksDb>,
    /// Its log.
    pub log: Log,
    _lock: Lock,
}

/// What a log says, read from its start.
#[derive(Default)]
pub struct Log {
    /// Whose it is.
    pub identity: Option<Identity>,
    /// The last term that was voted in.
    pub term: u64,
    /// The last entry known to be committed.
    pub committed: u64,
    /// The last entry.
    pub last: u64,
    /// Entries that are neither void nor released.
    pub entries: BTreeMap<u64, EntryRecord>,
    /// Where it ends.
    pub summary: Summary,
}

/// Opens what is below `data_dir`.
pub fn open(data_dir: &Path) -> Result<Offline> {
    let dir = data_dir.join("member");
    if !dir.is_dir() {
        bail!("{} holds no member: {} is missing", data_dir.display(), dir.display());
    }
    let lock = lock::take(&dir)?;
    let engine =
        RocksDb::open(&dir.join("db"), RocksOptions::default()).context("open the engine")?;
    let engine = Arc::new(engine);
    let mut machine = StateMachine::open(engine.clone(), Options::default())?;
    let log = read_log(&dir.join("wal"))?;
    let applied = machine.applied().index;
    let mut missed = Vec::new();
    for (index, record) in log.entries.range(applied + 1..) {
        if *index > log.committed {
            break;
        }
        missed.push(entry(record.clone())?);
    }
    machine.apply(&missed);
    Ok(Offline { machine, engine, log, _lock: lock })
}

/// Reads a whole log; fails at the first damage.
fn read_log(dir: &Path) -> Result<Log> {
    let mut log = Log::default();
    let summary = walk(&RealDisk, dir, &mut |step| {
        match step {
            Walked::Segment { head, .. } => {
                log.identity = Some(head.identity);
                let committed = head.committed.map_or(0, |id| id.index);
                log.committed = log.committed.max(committed);
                log.term = log.term.max(head.vote.map_or(0, |vote| vote.term));
            }
            Walked::Batch { .. } => {}
            Walked::Record { record, .. } => log.take(record),
        }
        Ok(())
    })?;
    log.summary = summary;
    Ok(log)
}

impl Log {
    fn take(&mut self, record: &Record) {
        match record {
            Record::Entry(entry) => {
                self.entries.insert(entry.id.index, entry.clone());
                self.last = entry.id.index;
            }
            Record::Vote(vote) => self.term = self.term.max(vote.term),
            Record::Committed(id) => self.committed = self.committed.max(id.index),
            Record::Truncate(after) => {
                let after = after.map_or(0, |id| id.index);
                self.entries.split_off(&(after + 1));
                self.last = after;
            }
            Record::Purge(id) => {
                self.entries = self.entries.split_off(&(id.index + 1));
                self.last = self.last.max(id.index);
            }
            Record::Membership(_) => {}
        }
    }
}

fn entry(record: EntryRecord) -> Result<LogEntry> {
    let payload = match record.kind {
        EntryKind::Blank => Payload::Blank,
        EntryKind::Membership => Payload::Membership(record.payload),
        EntryKind::Command => {
            let command = keelson_raft::decode_payload(record.payload);
            Payload::Command(command.with_context(|| format!("entry {}", record.id.index))?)
        }
    };
    Ok(LogEntry { term: record.id.term, index: record.id.index, payload })
}
