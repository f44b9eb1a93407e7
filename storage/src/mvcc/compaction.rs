//! Compaction: which revisions a step may drop. Works along the revisions, a bounded batch a step.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use keelson_proto::mvccpb::KeyValue;
use prost::Message;

use super::keys::{self, IsTombstone};
use super::{ReadError, Revision};
use crate::engine::{Direction, Reader, WriteBatch};

/// Revisions looked at in one step, if nothing else is said: so few that a writer hardly waits for
/// the batch that drops them.
pub const STEP_REVISIONS: usize = 100;
/// Keys that a compaction remembers.
const KEPT_MAX: usize = 10_000;

/// What a compaction knows of keys it has met: the last revision of each that is not after it,
/// which it keeps. Concurrent writes do not change it.
#[derive(Debug, Default)]
pub struct Kept {
    last: BTreeMap<Vec<u8>, Revision>,
}

impl Kept {
    /// Whether the key has a revision after `revision` and not after `compacted`.
    fn supersedes(
        &mut self,
        reader: &dyn Reader,
        key: Vec<u8>,
        revision: Revision,
        compacted: i64,
    ) -> Result<bool, ReadError> {
        if let Some(last) = self.last.get(&key) {
            return Ok(revision < *last);
        }
        let (start, end) = keys::history_of(&key, revision.main, compacted);
        let mut last = revision;
        reader.walk(&start, &end, Direction::Reverse, &mut |entry, _| {
            last = keys::parse_history(entry).map_or(last, |(_, found)| found);
            ControlFlow::Break(())
        })?;
        if self.last.len() >= KEPT_MAX {
            self.last.clear();
        }
        self.last.insert(key, last);
        Ok(revision < last)
    }
}

/// What one step does.
#[derive(Debug, Default)]
pub struct Step {
    /// What to drop.
    pub batch: WriteBatch,
    /// Where the next step begins; `None`: all is done.
    pub next: Option<Vec<u8>>,
    /// By how much the data shrinks.
    pub size_freed: i64,
    /// Revisions that are dropped.
    pub dropped: u64,
}

/// One step of the compaction at `compacted`, from `start` (an engine key; empty: the beginning),
/// over at most `revisions` of them; `kept` is of the same compaction.
///
/// A revision goes if its key has a newer one that is not after `compacted`, or if it is a
/// deletion before `compacted`: one *at* it is still seen by a watch from there. What a later
/// revision proves superseded stays so: concurrent writes cannot make a step wrong.
// upstream: etcd v3 API, "Compact"
pub fn step(
    reader: &dyn Reader,
    compacted: i64,
    start: &[u8],
    revisions: usize,
    kept: &mut Kept,
) -> Result<Step, ReadError> {
    let mut step = Step::default();
    let mut seen: Vec<(Revision, IsTombstone, Vec<u8>, usize)> = Vec::new();
    let first = if start.is_empty() { keys::revision_start(0) } else { start.to_vec() };
    let end = keys::revision_start(compacted + 1);
    let mut damaged = false;
    reader.sweep(&first, &end, &mut |key, value| {
        if seen.len() >= revisions.max(1) {
            step.next = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        match (keys::parse_revision(key), KeyValue::decode(value)) {
            (Some((revision, tombstone)), Ok(kv)) => {
                seen.push((revision, tombstone, kv.key.to_vec(), key.len() + value.len()));
                ControlFlow::Continue(())
            }
            _ => {
                damaged = true;
                ControlFlow::Break(())
            }
        }
    })?;
    if damaged {
        return Err(ReadError::Damaged("a revision"));
    }
    for (revision, tombstone, key, size) in seen {
        let old_deletion = tombstone == IsTombstone::Yes && revision.main < compacted;
        let history = keys::history(&key, revision);
        if old_deletion || kept.supersedes(reader, key, revision, compacted)? {
            step.batch.delete(keys::revision(revision, tombstone));
            step.batch.delete(history);
            step.size_freed += size as i64;
            step.dropped += 1;
        }
    }
    Ok(step)
}
