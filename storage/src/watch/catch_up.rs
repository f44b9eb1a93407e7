//! Reads from the engine what a watcher missed.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use keelson_failpoint::planted::{self, Bug};
use keelson_proto::mvccpb::KeyValue;
use prost::Message;

use super::{SharedEvent, WatchSpec};
use crate::engine::Reader;
use crate::mvcc::keys::{self, IsTombstone};
use crate::mvcc::{Change, ChangeKind, ReadError, Revision, Space};

/// Revisions looked at in one go.
const REVISIONS_MAX: i64 = 1000;
/// Bytes of events in one go; the last revision is always whole.
const BYTES_MAX: usize = 1 << 20;

/// What one go found.
pub(super) struct Chunk {
    /// Wanted events, in order; whole revisions.
    pub(super) events: Vec<Arc<SharedEvent>>,
    /// The first revision that was not looked at.
    pub(super) next: i64,
}

/// Reads revisions from `from` on, not past `until`. The caller looks afterwards whether a
/// compaction has overtaken the read.
pub(super) fn read(
    reader: &dyn Reader,
    spec: &WatchSpec,
    from: i64,
    until: i64,
    compacted: i64,
) -> Result<Chunk, ReadError> {
    let until = until.min(from.saturating_add(REVISIONS_MAX - 1));
    let mut found: Vec<(Revision, ChangeKind, Bytes, Bytes)> = Vec::new();
    let (mut bytes, mut next, mut damaged) = (0, until + 1, false);
    let (start, end) = (keys::revision_start(from), keys::revision_start(until + 1));
    reader.sweep(&start, &end, &mut |key, value| {
        let Some((revision, tombstone)) = keys::parse_revision(key) else {
            damaged = true;
            return ControlFlow::Break(());
        };
        let is_new = found.last().is_none_or(|(last, ..)| last.main != revision.main);
        if bytes >= BYTES_MAX && is_new {
            next = revision.main;
            return ControlFlow::Break(());
        }
        let value = Bytes::copy_from_slice(value);
        let Some(user_key) = keys::key_of(&value) else {
            damaged = true;
            return ControlFlow::Break(());
        };
        let kind = match tombstone {
            IsTombstone::Yes => ChangeKind::Delete,
            IsTombstone::No => ChangeKind::Put,
        };
        if spec.wants(kind, &user_key) {
            bytes += value.len();
            found.push((revision, kind, user_key, value));
        }
        ControlFlow::Continue(())
    })?;
    if damaged {
        return Err(ReadError::Damaged("a revision"));
    }
    if planted::is(Bug::SkipEventOnCatchUp) && found.len() > 3 {
        found.remove(found.len() / 2);
    }
    let events = found
        .into_iter()
        .map(|(revision, kind, key, stored)| {
            event(reader, spec, compacted, revision, kind, key, stored)
        })
        .collect::<Result<_, _>>()?;
    Ok(Chunk { events, next })
}

fn event(
    reader: &dyn Reader,
    spec: &WatchSpec,
    compacted: i64,
    revision: Revision,
    kind: ChangeKind,
    key: Bytes,
    stored: Bytes,
) -> Result<Arc<SharedEvent>, ReadError> {
    let mut is_new = false;
    let kv = match kind {
        ChangeKind::Put => {
            // Whatever was there before its creation is not its past.
            is_new = spec.prev_kv && creates(&stored, revision)?;
            stored
        }
        ChangeKind::Delete => {
            let kv =
                KeyValue { key: key.clone(), mod_revision: revision.main, ..Default::default() };
            Bytes::from(kv.encode_to_vec())
        }
    };
    let before = revision.main - 1;
    let prev_kv = match spec.prev_kv && !is_new && before >= compacted {
        true => Space { reader, at: Some(before) }.get_encoded(&key)?,
        false => None,
    };
    Ok(Arc::new(SharedEvent::new(Change { kind, revision, key, kv, prev_kv })))
}

fn creates(stored: &Bytes, revision: Revision) -> Result<bool, ReadError> {
    let kv = KeyValue::decode(stored.clone()).map_err(|_| ReadError::Damaged("a key's value"))?;
    Ok(kv.create_revision == revision.main)
}
