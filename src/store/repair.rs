//! `keelson store repair`: a log that ends where it is damaged, and the damaged one put aside.
//!
//! The good records are written again, in order, to a log of their own; nothing is changed in
//! place. What was acknowledged after the damage is lost on this member: others may still have it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use keelson_storage::disk::{Disk as _, RealDisk};
use keelson_storage::engine::{RocksDb, RocksOptions};
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::wal::{
    Identity, LogId, Membership, Record, Wal, WalError, WalOptions, Walked, walk,
};

use super::make_private;
use crate::lock;

/// Records that are written at once.
const BATCH: usize = 1024;

/// Repairs the log below `data_dir`, and says what that cuts.
pub fn run(data_dir: &Path) -> Result<()> {
    let dir = data_dir.join("member");
    let wal = dir.join("wal");
    if !wal.is_dir() {
        bail!("{} holds no log: {} is missing", data_dir.display(), wal.display());
    }
    let _lock = lock::take(&dir)?;
    let damage = match walk(&RealDisk, &wal, &mut |_| Ok(())) {
        Ok(summary) => {
            let torn =
                if summary.torn { "; the next start cuts a torn write at its end" } else { "" };
            println!("the log is whole, {} bytes: nothing to repair{torn}", summary.end);
            return Ok(());
        }
        Err(damage) => damage,
    };
    println!("damaged: {damage}");

    let fresh = dir.join("wal.repaired");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).with_context(|| format!("remove {}", fresh.display()))?;
    }
    make_private(&fresh)?;
    let good = copy(&wal, &fresh)?;
    let Some(mut copied) = good else {
        bail!(
            "no segment of {} can be read: restore a snapshot, or remove the member and add it again",
            wal.display()
        );
    };
    copied.begin_after_state(&dir)?;
    copied.log.sync()?;
    drop(copied.log);

    let aside = aside(&dir);
    std::fs::rename(&wal, &aside).with_context(|| format!("rename {}", wal.display()))?;
    std::fs::rename(&fresh, &wal).with_context(|| format!("rename {}", fresh.display()))?;
    RealDisk.sync_dir(&dir).context("sync the directory")?;
    match copied.last {
        Some(last) => println!("kept: everything up to entry {} of term {}", last.index, last.term),
        None => println!("kept: no entry"),
    }
    println!("cut: everything after that; the damaged log is now {}", aside.display());
    println!(
        "what this member had acknowledged after that entry is lost here: in a cluster the others \
         still have it"
    );
    Ok(())
}

/// A log as far as it is good.
struct Copied {
    log: Wal,
    last: Option<LogId>,
}

/// Writes all good records again; `None`: there is not even a first segment.
fn copy(from: &Path, to: &Path) -> Result<Option<Copied>> {
    let mut waiting: Vec<Record> = Vec::new();
    let mut copied: Option<Copied> = None;
    let mut failed: Option<anyhow::Error> = None;
    let walked = walk(&RealDisk, from, &mut |step| {
        let result = match step {
            Walked::Segment { head, .. } if copied.is_none() => {
                // Later heads repeat what the records before them say.
                let mut records = Vec::new();
                records.extend(head.vote.map(Record::Vote));
                records.extend(head.purged.map(Record::Purge));
                records.extend(head.committed.map(Record::Committed));
                records.extend(head.membership.clone().map(Record::Membership));
                waiting.extend(records);
                begin(to, head.identity).map(|log| copied = Some(Copied { log, last: head.last }))
            }
            Walked::Segment { .. } | Walked::Batch { .. } => Ok(()),
            Walked::Record { record, .. } => {
                waiting.push(record.clone());
                match &mut copied {
                    Some(copied) if waiting.len() >= BATCH => copied.write(&mut waiting),
                    _ => Ok(()),
                }
            }
        };
        result.map_err(|error| {
            failed = Some(error.into());
            "the copy cannot be written"
        })
    });
    if let Some(error) = failed {
        return Err(error);
    }
    // This is the damage that is known already.
    drop(walked);
    if let Some(copied) = &mut copied {
        copied.write(&mut waiting)?;
    }
    Ok(copied)
}

fn begin(dir: &Path, identity: Identity) -> Result<Wal, WalError> {
    Ok(Wal::open(Arc::new(RealDisk), dir, identity, WalOptions::default())?.0)
}

impl Copied {
    fn write(&mut self, records: &mut Vec<Record>) -> Result<(), WalError> {
        for record in records.iter() {
            match record {
                Record::Entry(entry) => self.last = Some(entry.id),
                Record::Truncate(after) => self.last = *after,
                Record::Purge(id) => self.last = self.last.max(Some(*id)),
                Record::Vote(_) | Record::Committed(_) | Record::Membership(_) => {}
            }
        }
        self.log.write(records.iter(), &mut Vec::new())?;
        records.clear();
        Ok(())
    }

    /// The state may be durable beyond what is left of the log: then the log goes on from there.
    fn begin_after_state(&mut self, dir: &Path) -> Result<()> {
        let engine =
            RocksDb::open(&dir.join("db"), RocksOptions::default()).context("open the engine")?;
        let applied = StateMachine::open(Arc::new(engine), Options::default())?.applied();
        let index = self.last.map_or(0, |last| last.index);
        if applied.index <= index {
            return Ok(());
        }
        let id = LogId { term: applied.term, index: applied.index };
        println!(
            "the state goes on to entry {} of term {}: nothing of it is cut",
            id.index, id.term
        );
        let mut records =
            vec![Record::Truncate(self.last), Record::Purge(id), Record::Committed(id)];
        records.extend(
            applied
                .membership
                .map(|encoded| Record::Membership(Membership { id: Some(id), encoded })),
        );
        self.write(&mut records)?;
        Ok(())
    }
}

/// A name that nobody has yet.
fn aside(dir: &Path) -> PathBuf {
    let free = |number: u32| {
        let path = dir.join(format!("wal.damaged.{number}"));
        (!path.exists()).then_some(path)
    };
    (1..).find_map(free).unwrap_or_else(|| dir.join("wal.damaged"))
}
