//! HashKV by etcd's algorithm, so that members and etcd itself can be compared.

use std::ops::ControlFlow;

use keelson_proto::mvccpb::KeyValue;
use prost::Message;

use super::keys::{self, IsTombstone};
use super::{ReadError, Revision};
use crate::engine::{Direction, Reader};

/// A hash of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C.
    pub hash: u32,
    /// The compacted revision it was made at; -1: none.
    pub compacted: i64,
    /// Up to which revision.
    pub revision: i64,
}

/// CRC-32C over `key`, then every revision that is kept up to `revision`, key and value: not what
/// a compaction at `compacted` drops, whether it is dropped already or not, nor a deletion at it.
// upstream: etcd v3 API, "HashKV"
pub fn hash_kv(reader: &dyn Reader, revision: i64, compacted: i64) -> Result<HashKv, ReadError> {
    let kept_at = match has_live_key(reader, revision)? {
        true => revision,
        false => compacted,
    };
    let mut hash = crc32c::crc32c(b"key");
    let mut failed = None;
    let (start, end) = (keys::revision_start(0), keys::revision_start(revision + 1));
    reader.walk(&start, &end, Direction::Forward, &mut |key, value| {
        match is_kept(reader, key, value, kept_at, compacted) {
            Ok(true) => {
                hash = crc32c::crc32c_append(hash, &key[1..]);
                hash = crc32c::crc32c_append(hash, value);
            }
            Ok(false) => {}
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(HashKv { hash, compacted, revision }), Err)
}

fn is_kept(
    reader: &dyn Reader,
    key: &[u8],
    value: &[u8],
    kept_at: i64,
    compacted: i64,
) -> Result<bool, ReadError> {
    let (at, tombstone) = keys::parse_revision(key).ok_or(ReadError::Damaged("a revision"))?;
    if at.main > compacted {
        return Ok(true);
    }
    if tombstone == IsTombstone::Yes {
        return Ok(false);
    }
    let kv = KeyValue::decode(value).map_err(|_| ReadError::Damaged("a key's value"))?;
    Ok(newest_until(reader, &kv.key, kept_at)? == Some(at))
}

/// Whether any key exists at `revision`. Where none does, etcd leaves out nothing but what the
/// compaction itself drops.
fn has_live_key(reader: &dyn Reader, revision: i64) -> Result<bool, ReadError> {
    let (start, end) = keys::history_bounds(b"\0", b"\0");
    let (mut current, mut is_live) = (Vec::new(), false);
    reader.walk(&start, &end, Direction::Forward, &mut |bytes, mark| {
        let Some((key, at)) = keys::parse_history(bytes) else {
            return ControlFlow::Continue(());
        };
        if key != current.as_slice() {
            if is_live {
                return ControlFlow::Break(());
            }
            current = key.to_vec();
        }
        if at.main <= revision {
            is_live = mark == keys::PUT_MARK;
        }
        ControlFlow::Continue(())
    })?;
    Ok(is_live)
}

/// The last revision of a key up to `until`.
fn newest_until(
    reader: &dyn Reader,
    key: &[u8],
    until: i64,
) -> Result<Option<Revision>, ReadError> {
    let (start, end) = keys::history_of(key, 0, until);
    let mut found = None;
    reader.walk(&start, &end, Direction::Reverse, &mut |key, _| {
        found = keys::parse_history(key).map(|(_, revision)| revision);
        ControlFlow::Break(())
    })?;
    Ok(found)
}
