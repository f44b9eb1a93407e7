//! A range in parts out of one moment of the engine, held for as long as the client keeps up.
//!
//! The newest keys lie together, so that this is one walk. A client that rests lets the moment go:
//! what it has not got is then read piece by piece from the history, which holds nothing.

use std::ops::ControlFlow;

use bytes::Bytes;
use keelson_failpoint::failpoint;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use keelson_storage::background;
use keelson_storage::mvcc::ReadError;
use keelson_storage::view::View;
use prost::Message;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::range_part::{Keys, Part};
use super::range_stream::{Growth, Parts};
use crate::error::FaceError;
use crate::face::{Authorized, EtcdFace};

/// From this size on a range gives way to others.
const BULK_BYTES: usize = 16 << 20;

/// How a walk ended.
pub(super) enum Ended {
    /// All parts are sent but this one.
    Last(Part),
    /// Nobody waits for the parts any more.
    ClientGone,
    /// Nothing was read: no moment could be had that is known to be of the revision wanted.
    NoMoment,
    /// The client rested: how far it got.
    Resting(Rest),
}

/// What is left of a range.
pub(super) struct Rest {
    /// Of the moment that was let go.
    pub(super) revision: i64,
    /// The next part.
    pub(super) part: Part,
    /// The first key behind it.
    pub(super) next: Bytes,
    /// Keys sent, the part's included.
    pub(super) sent: i64,
    pub(super) growth: Growth,
}

/// Walks a range and sends it; for a thread of its own.
pub(super) fn run(
    face: &EtcdFace,
    authorized: Authorized,
    wanted: &pb::RangeRequest,
    parts: &Parts,
    runtime: &Handle,
) -> Result<Ended, FaceError> {
    let mut walk = Walk {
        face,
        authorized,
        wanted,
        parts,
        runtime,
        bytes: 0,
        growth: Growth::new(face),
        keys: Keys::default(),
        seen: 0,
        ended: None,
    };
    let view: &View = face.node().view();
    let scanned = view.scan(&wanted.key, &wanted.range_end, &mut |revision, key, kv| {
        walk.visit(revision, key, kv)
    })?;
    if let Some(ended) = walk.ended {
        return ended;
    }
    let wanted_now = |revision: &i64| wanted.revision == 0 || wanted.revision == *revision;
    let Some(revision) = scanned.filter(wanted_now) else { return Ok(Ended::NoMoment) };
    face.still(&authorized)?;
    let more = wanted.limit > 0 && walk.seen > wanted.limit;
    Ok(Ended::Last(Part::last(walk.keys, face.header(revision), more, walk.seen)))
}

struct Walk<'a> {
    face: &'a EtcdFace,
    authorized: Authorized,
    wanted: &'a pb::RangeRequest,
    parts: &'a Parts,
    runtime: &'a Handle,
    /// Sent so far.
    bytes: usize,
    growth: Growth,
    /// Of the part that is being made.
    keys: Keys,
    seen: i64,
    /// Why the walk was broken off.
    ended: Option<Result<Ended, FaceError>>,
}

impl Walk<'_> {
    fn visit(&mut self, revision: i64, key: &[u8], kv: &[u8]) -> ControlFlow<()> {
        if self.wanted.revision > 0 && self.wanted.revision != revision {
            self.ended = Some(Ok(Ended::NoMoment));
            return ControlFlow::Break(());
        }
        if self.wanted.limit > 0 && self.seen >= self.wanted.limit {
            self.seen += 1;
            return ControlFlow::Continue(());
        }
        if self.growth.is_full(&self.keys)
            && let Some(ended) = self.hand_over(revision, key)
        {
            self.ended = Some(ended);
            return ControlFlow::Break(());
        }
        if let Err(error) = self.add(kv) {
            self.ended = Some(Err(error));
            return ControlFlow::Break(());
        }
        self.seen += 1;
        ControlFlow::Continue(())
    }

    fn add(&mut self, kv: &[u8]) -> Result<(), FaceError> {
        if !self.wanted.keys_only {
            self.keys.push(kv);
            return Ok(());
        }
        let mut kv = KeyValue::decode(kv).map_err(|_| ReadError::Damaged("a key's value"))?;
        (kv.value, kv.lease) = (Bytes::new(), 0);
        self.keys.extend(&[kv]);
        Ok(())
    }

    /// Sends the part that is full; `next` is the key behind it. `Some`: the walk ends here.
    fn hand_over(&mut self, revision: i64, next: &[u8]) -> Option<Result<Ended, FaceError>> {
        failpoint!(beforeRangeStreamChunk);
        if let Err(error) = self.face.still(&self.authorized) {
            return Some(Err(error));
        }
        if self.bytes < BULK_BYTES && self.bytes + self.keys.size() >= BULK_BYTES {
            background::give_way();
        }
        self.bytes += self.keys.size();
        let room = self.growth.sent(&self.keys);
        let part = Part::from(std::mem::replace(&mut self.keys, Keys::with_room(room)));
        let place = match self.parts.try_reserve() {
            Ok(place) => Some(Ok(place)),
            Err(_) => {
                let hold = self.face.config().range_hold;
                self.runtime.block_on(async { timeout(hold, self.parts.reserve()).await }).ok()
            }
        };
        match place {
            Some(Ok(place)) => {
                place.send(Ok(part));
                None
            }
            Some(Err(_closed)) => Some(Ok(Ended::ClientGone)),
            None => Some(Ok(Ended::Resting(Rest {
                revision,
                part,
                next: Bytes::copy_from_slice(next),
                sent: self.seen,
                growth: self.growth,
            }))),
        }
    }
}
