//! Tools for a store's files: what is in the log, and what is damaged.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use keelson_proto::mvccpb::KeyValue;
use keelson_storage::disk::RealDisk;
use keelson_storage::engine::Engine as _;
use keelson_storage::mvcc;
use keelson_storage::wal::{EntryKind, Identity, Record, Walked, walk};
use prost::Message as _;
use serde_json::json;

use super::offline;

use super::tools::Files;

/// Where a member keeps its log, below its data directory.
pub fn log_dir(files: &Files) -> Result<PathBuf> {
    let dir = files.data_dir.join("member/wal");
    if !dir.is_dir() {
        bail!("{} holds no log: {} is missing", files.data_dir.display(), dir.display());
    }
    Ok(dir)
}

/// Whose log is below a member's directory; `None`: nothing has been written there yet.
pub fn started(member_dir: &Path) -> Result<Option<Identity>> {
    let dir = member_dir.join("wal");
    if !dir.is_dir() || std::fs::read_dir(&dir)?.next().is_none() {
        return Ok(None);
    }
    let (mut identity, mut written) = (None, false);
    let walked = walk(&RealDisk, &dir, &mut |step| match step {
        Walked::Segment { head, .. } => {
            identity = Some(head.identity);
            Ok(())
        }
        Walked::Record { .. } => {
            written = true;
            Err("the first record is enough")
        }
        Walked::Batch { .. } => Ok(()),
    });
    match (written, walked) {
        // What a log without a whole record holds is for whoever opens it to say.
        (false, Err(error)) if identity.is_none() => Err(error.into()),
        (written, _) => Ok(identity.filter(|_| written)),
    }
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
    verify_state(files)
}

/// Reads every key of the state, and every version of it.
fn verify_state(files: &Files) -> Result<()> {
    let member = offline::open(&files.data_dir)?;
    let (mut keys, mut versions) = (0u64, 0u64);
    for entry in member.engine.export()? {
        let (key, value) = entry.context("the state is damaged")?;
        keys += 1;
        if key.first() == Some(&mvcc::keys::REVISION) {
            versions += 1;
            KeyValue::decode(value)
                .with_context(|| format!("the version {} is damaged", hex(&key)))?;
        }
    }
    let hash = member.machine.view().hash_kv(0)?;
    println!(
        "state: {keys} records, {versions} versions of keys, revision {}, hash {}: whole",
        hash.revision, hash.hash
    );
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
