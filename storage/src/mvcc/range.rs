//! Range: reads keys, newest or at a revision.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;
use keelson_proto::etcdserverpb::{
    self as pb, range_request::SortOrder, range_request::SortTarget,
};
use keelson_proto::mvccpb::KeyValue;
use prost::Message;
use thiserror::Error;

use super::{Revision, keys};
use crate::engine::{Direction, EngineError, Reader};

/// Why a read fails.
#[derive(Debug, Clone, Error)]
pub enum ReadError {
    /// The revision is no longer kept.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// The revision asked for.
        wanted: i64,
        /// The compacted revision.
        oldest: i64,
    },
    /// The revision is not reached.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision {
        /// The revision asked for.
        wanted: i64,
        /// The current revision.
        current: i64,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What lies in the engine cannot be read.
    #[error("storage engine: {0} cannot be read")]
    Damaged(&'static str),
}

/// The keys as of one revision.
#[derive(Clone, Copy)]
pub struct Space<'a> {
    /// Where they lie.
    pub reader: &'a dyn Reader,
    /// `None`: as they are now.
    pub at: Option<i64>,
}

impl<'a> Space<'a> {
    /// The key as of this revision.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, ReadError> {
        self.get_encoded(key)?.map(decode).transpose()
    }

    /// The same as it lies in the engine.
    pub fn get_encoded(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let Some(at) = self.at else {
            return Ok(self.reader.get(&keys::newest(key))?);
        };
        let (start, end) = keys::history_of(key, 0, at);
        let mut found = None;
        self.reader.walk(&start, &end, Direction::Reverse, &mut |key, mark| {
            if mark == keys::PUT_MARK {
                found = keys::parse_history(key).map(|(_, revision)| revision);
            }
            ControlFlow::Break(())
        })?;
        let Some(revision) = found else { return Ok(None) };
        Ok(self.reader.get(&keys::revision(revision, keys::IsTombstone::No))?)
    }

    /// Visits the encoded keys of a range in key order, at most `limit` of them (0: all), and
    /// returns how many there are.
    pub fn walk(
        &self,
        key: &[u8],
        range_end: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(Bytes) -> Result<(), ReadError>,
    ) -> Result<i64, ReadError> {
        if range_end.is_empty() {
            return match self.get_encoded(key)? {
                Some(encoded) => visit(encoded).map(|()| 1),
                None => Ok(0),
            };
        }
        match self.at {
            None => self.walk_newest(key, range_end, limit, visit),
            Some(at) => {
                let revisions = self.revisions_at(key, range_end, at, usize::MAX)?;
                let wanted = if limit == 0 { revisions.len() } else { limit.min(revisions.len()) };
                self.fetch(&revisions[..wanted], visit)?;
                Ok(revisions.len() as i64)
            }
        }
    }

    /// How many keys the range has.
    pub fn count(&self, key: &[u8], range_end: &[u8]) -> Result<i64, ReadError> {
        if range_end.is_empty() {
            return Ok(i64::from(self.get_encoded(key)?.is_some()));
        }
        if let Some(at) = self.at {
            return Ok(self.revisions_at(key, range_end, at, usize::MAX)?.len() as i64);
        }
        let (start, end) = keys::newest_bounds(key, range_end);
        let mut count = 0;
        self.reader.walk(&start, &end, Direction::Forward, &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    fn walk_newest(
        &self,
        key: &[u8],
        range_end: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(Bytes) -> Result<(), ReadError>,
    ) -> Result<i64, ReadError> {
        let (start, end) = keys::newest_bounds(key, range_end);
        let (mut count, mut failed) = (0, None);
        self.reader.walk(&start, &end, Direction::Forward, &mut |_, value| {
            count += 1;
            if limit > 0 && count > limit {
                return ControlFlow::Continue(());
            }
            match visit(Bytes::copy_from_slice(value)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(count as i64), Err)
    }

    /// For each key of the range that exists at `at`, the revision that set it, in key order; no
    /// more than the first `most` and a few.
    fn revisions_at(
        &self,
        key: &[u8],
        range_end: &[u8],
        at: i64,
        most: usize,
    ) -> Result<Vec<Revision>, ReadError> {
        let (start, end) = keys::history_bounds(key, range_end);
        let mut found = Vec::new();
        let mut current: Vec<u8> = Vec::new();
        let mut newest: Option<Revision> = None;
        self.reader.walk(&start, &end, Direction::Forward, &mut |bytes, mark| {
            let Some((key, revision)) = keys::parse_history(bytes) else {
                return ControlFlow::Continue(());
            };
            if key != current.as_slice() {
                found.extend(newest.take());
                if found.len() > most {
                    return ControlFlow::Break(());
                }
                current.clear();
                current.extend_from_slice(key);
            }
            if revision.main <= at {
                newest = (mark == keys::PUT_MARK).then_some(revision);
            }
            ControlFlow::Continue(())
        })?;
        found.extend(newest);
        Ok(found)
    }

    fn fetch(
        &self,
        revisions: &[Revision],
        visit: &mut dyn FnMut(Bytes) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        for revision in revisions {
            let key = keys::revision(*revision, keys::IsTombstone::No);
            // Missing: a compaction overtook the read, which then fails as compacted.
            if let Some(value) = self.reader.get(&key)? {
                visit(value)?;
            }
        }
        Ok(())
    }
}

/// Answers a range request whose checks have passed; the header is left to the caller.
pub fn range(space: Space<'_>, request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
    if request.count_only {
        let count = space.count(&request.key, &request.range_end)?;
        return Ok(pb::RangeResponse { count, ..Default::default() });
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let fetched =
        if limit == 0 || needs_all(request) { 0 } else { limit + usize::from(is_sorted(request)) };
    let mut kvs: Vec<KeyValue> = Vec::new();
    let count = space.walk(&request.key, &request.range_end, fetched, &mut |encoded| {
        let kv = decode(encoded)?;
        if passes(request, &kv) {
            kvs.push(kv);
        }
        Ok(())
    })?;
    let mut more = fetched > 0 && count > limit as i64;
    sort(request, &mut kvs);
    if limit > 0 && kvs.len() > limit {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        let keeps_lease = request.sort_target() == SortTarget::Value && is_sorted(request);
        for kv in &mut kvs {
            kv.value = Bytes::new();
            kv.lease = if keeps_lease { kv.lease } else { 0 };
        }
    }
    Ok(pb::RangeResponse { header: None, kvs, more, count })
}

/// The first `request.limit` keys of a range as of `at`, in key order, and whether there are more.
/// Looks at none behind them, and so does not know how many there are.
pub fn part(
    reader: &dyn Reader,
    at: i64,
    request: &pb::RangeRequest,
) -> Result<pb::RangeResponse, ReadError> {
    let space = Space { reader, at: Some(at) };
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let revisions = space.revisions_at(&request.key, &request.range_end, at, limit)?;
    let mut kvs: Vec<KeyValue> = Vec::with_capacity(limit.min(revisions.len()));
    space.fetch(&revisions[..limit.min(revisions.len())], &mut |encoded| {
        let mut kv = decode(encoded)?;
        if request.keys_only {
            (kv.value, kv.lease) = (Bytes::new(), 0);
        }
        kvs.push(kv);
        Ok(())
    })?;
    Ok(pb::RangeResponse { header: None, kvs, more: revisions.len() > limit, count: 0 })
}

fn decode(encoded: Bytes) -> Result<KeyValue, ReadError> {
    KeyValue::decode(encoded).map_err(|_| ReadError::Damaged("a key's value"))
}

/// Whether the answer's order is not the keys' own.
fn is_sorted(request: &pb::RangeRequest) -> bool {
    request.sort_target() != SortTarget::Key || request.sort_order() == SortOrder::Descend
}

/// Whether more must be read than the answer may have. An order that is not named sorts only what
/// comes first by key, and one key more.
// upstream: etcd v3 API, "Range": limit and sort_target without sort_order
fn needs_all(request: &pb::RangeRequest) -> bool {
    has_filters(request) || (is_sorted(request) && request.sort_order() != SortOrder::None)
}

fn has_filters(request: &pb::RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &pb::RangeRequest, kv: &KeyValue) -> bool {
    let within =
        |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// Stable: equal ones stay in key order. No order but a target is ascending.
fn sort(request: &pb::RangeRequest, kvs: &mut [KeyValue]) {
    if !is_sorted(request) {
        return;
    }
    let target = request.sort_target();
    let compare = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match request.sort_order() {
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(compare),
        SortOrder::Descend => kvs.sort_by(|a, b| compare(b, a)),
    }
}
