//! Tools for a store's files: what is in the log, and what is damaged.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use keelson_storage::disk::RealDisk;
use keelson_storage::wal::{EntryKind, Record, Walked, walk};
use serde_json::json;

use super::options::Files;

/// Where a member keeps its log, below its data directory.
pub fn log_dir(files: &Files) -> Result<PathBuf> {
    let dir = files.data_dir.join("member/wal");
    if !dir.is_dir() {
        bail!("{} holds no log: {} is missing", files.data_dir.display(), dir.display());
    }
    Ok(dir)
}

/// Reads every record; fails with the place of the first damage.
pub fn verify(files: &Files) -> Result<()> {
    let dir = log_dir(files)?;
    let mut last = None;
    let mut entries = 0u64;
    let summary = walk(&RealDisk, &dir, &mut |step| {
        if let Walked::Record { record: Record::Entry(entry), .. } = step {
            entries += 1;
            last = Some(entry.id);
        }
        Ok(())
    })?;
    println!(
        "{} segments, {} records, {entries} entries, {} bytes: whole",
        summary.segments, summary.records, summary.end
    );
    if let Some(last) = last {
        println!("last entry: index {}, term {}", last.index, last.term);
    }
    println!("synced up to position {} for certain", summary.synced);
    if summary.torn {
        println!("after position {} there is a torn write; the next start cuts it", summary.end);
    }
    Ok(())
}

/// Prints every entry as one JSON object a line.
pub fn dump(files: &Files) -> Result<()> {
    let dir = log_dir(files)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut failed = None;
    walk(&RealDisk, &dir, &mut |step| {
        let Walked::Record { record: Record::Entry(entry), position, .. } = step else {
            return Ok(());
        };
        let (kind, operation) = match entry.kind {
            EntryKind::Blank => ("blank", None),
            EntryKind::Membership => ("membership", None),
            EntryKind::Command => {
                let command = keelson_raft::decode_payload(entry.payload.clone());
                ("command", command.ok().map(|command| format!("{command:?}")))
            }
        };
        let line = json!({
            "index": entry.id.index, "term": entry.id.term, "position": position,
            "kind": kind, "bytes": entry.payload.len(), "operation": operation,
        });
        if let Err(error) = writeln!(out, "{line}") {
            failed = Some(error);
            return Err("the output was closed");
        }
        Ok(())
    })
    .map(drop)
    .or_else(|error| if failed.is_some() { Ok(()) } else { Err(error) })?;
    out.flush().context("write the output")
}
