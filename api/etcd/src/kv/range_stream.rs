//! RangeStream: a range in parts, all of one revision, so that no answer grows with the range.

use std::thread::Builder;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use keelson_failpoint::failpoint;
use keelson_proto::etcdserverpb as pb;
use keelson_storage::measures::Operation;
use keelson_storage::mvcc::check;
use pb::range_request::{SortOrder, SortTarget};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::range::{admit, part, range};
use super::range_cursor::{self, Ended, Rest};
use super::range_part::{Keys, Part};
use crate::error::FaceError;
use crate::face::EtcdFace;

/// Parts that wait for the client.
const QUEUE: usize = 2;
/// Keys of the first part; later ones have twice as many, until they are large enough.
const FIRST_KEYS: i64 = 10;
/// Enough for a part: more would only be more to hold.
const PART_BYTES: usize = 256 << 10;

pub(super) type Parts = mpsc::Sender<Result<Part, Status>>;

pub(crate) async fn range_stream(
    face: EtcdFace,
    request: pb::RangeRequest,
) -> Result<ReceiverStream<Result<Part, Status>>, FaceError> {
    check::range(&request)?;
    let natural =
        request.sort_target() == SortTarget::Key && request.sort_order() != SortOrder::Descend;
    let filtered = request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;
    if !natural || filtered {
        return Err(FaceError::Unimplemented);
    }
    let (parts, outgoing) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = send(&face, request, &parts).await {
            let _client_gone = parts.send(Err(error.status())).await;
        }
    });
    Ok(ReceiverStream::new(outgoing))
}

// upstream: etcd v3.7 API, "RangeStream"
async fn send(face: &EtcdFace, wanted: pb::RangeRequest, parts: &Parts) -> Result<(), FaceError> {
    if wanted.count_only || wanted.range_end.is_empty() {
        failpoint!(await beforeRangeStreamChunk);
        let whole = range(face.clone(), wanted).await?;
        let mut keys = Keys::default();
        keys.extend(&whole.kvs);
        let header = whole.header.unwrap_or_default();
        let _client_gone = parts.send(Ok(Part::last(keys, header, whole.more, whole.count))).await;
        return Ok(());
    }
    // The past lies elsewhere, in no order that is a walk.
    if wanted.revision > 0 && wanted.revision != face.node().view().revision() {
        return piecewise(face, &wanted, None, parts).await;
    }
    let Ok(holder) = face.cursors().clone().try_acquire_owned() else {
        return piecewise(face, &wanted, None, parts).await;
    };
    let (began, authorized) = (Instant::now(), admit(face, &wanted).await?);
    let (done, walked) = oneshot::channel();
    let walk = {
        let (face, wanted, parts) = (face.clone(), wanted.clone(), parts.clone());
        let runtime = Handle::current();
        move || {
            let _held = holder;
            let _nobody_waits =
                done.send(range_cursor::run(&face, authorized, &wanted, &parts, &runtime));
        }
    };
    // A thread of its own, since a long walk gives way to others and does not come back from that.
    let thread = Builder::new().name("range".to_owned()).spawn(walk);
    let ended = match thread {
        Ok(_) => walked.await.map_err(|_| FaceError::Stopped).and_then(|ended| ended),
        Err(error) => {
            tracing::error!(%error, "no thread for a range");
            Err(FaceError::Stopped)
        }
    };
    face.metrics().requests.ended(Operation::RANGE, ended.is_ok(), began.elapsed());
    match ended? {
        Ended::Last(part) => {
            failpoint!(await beforeRangeStreamChunk);
            let _client_gone = parts.send(Ok(part)).await;
            Ok(())
        }
        Ended::ClientGone => Ok(()),
        Ended::NoMoment => piecewise(face, &wanted, None, parts).await,
        Ended::Resting(rest) => piecewise(face, &wanted, Some(rest), parts).await,
    }
}

/// Reads part after part from the history, each on its own; from the beginning, or what a cursor
/// has left.
async fn piecewise(
    face: &EtcdFace,
    wanted: &pb::RangeRequest,
    rest: Option<Rest>,
    parts: &Parts,
) -> Result<(), FaceError> {
    let mut request = wanted.clone();
    let (mut growth, mut sent) = (Growth::new(face), 0);
    // The revision's header, and how many keys there are, as soon as each is known.
    let (mut header, mut count) = (None, None);
    if let Some(rest) = rest {
        (request.key, request.revision, request.serializable) = (rest.next, rest.revision, true);
        (growth, sent, header) = (rest.growth, rest.sent, Some(face.header(rest.revision)));
        if parts.send(Ok(rest.part)).await.is_err() {
            return Ok(());
        }
    }
    loop {
        failpoint!(await beforeRangeStreamChunk);
        let left = if wanted.limit > 0 { wanted.limit - sent } else { i64::MAX };
        request.limit = growth.keys.min(left);
        // Only the first part counts: that each looked at all the rest cost the square of the range.
        let read = match header {
            None => {
                let read = range(face.clone(), request.clone()).await?;
                count = Some(read.count);
                read
            }
            Some(_) => part(face.clone(), request.clone()).await?,
        };
        let header = *header.get_or_insert(read.header.unwrap_or_default());
        sent += read.kvs.len() as i64;
        let mut keys = Keys::default();
        keys.extend(&read.kvs);
        // The first part has fixed the revision, and read after the index where that was asked.
        request.revision = if wanted.revision > 0 { wanted.revision } else { header.revision };
        request.serializable = true;
        if let Some(last) = read.kvs.last() {
            request.key = after(&last.key);
        }
        if !read.more || (wanted.limit > 0 && sent >= wanted.limit) {
            let count = match count {
                Some(count) => count,
                None if !read.more => sent,
                None => {
                    request.count_only = true;
                    sent + range(face.clone(), request).await?.count
                }
            };
            let last = Part::last(keys, header, read.more, count);
            let _client_gone = parts.send(Ok(last)).await;
            return Ok(());
        }
        growth.sent(&keys);
        if parts.send(Ok(keys.into())).await.is_err() {
            return Ok(());
        }
    }
}

/// How large the next part is to be.
#[derive(Clone, Copy)]
pub(super) struct Growth {
    keys: i64,
    /// What it tends to, within a factor of two.
    bytes: usize,
}

impl Growth {
    pub(super) fn new(face: &EtcdFace) -> Self {
        Self { keys: FIRST_KEYS, bytes: PART_BYTES.min(face.config().max_request_bytes) }
    }

    /// Whether these are enough.
    pub(super) fn is_full(&self, keys: &Keys) -> bool {
        keys.count >= self.keys || keys.size() >= self.bytes
    }

    /// Learns from a part; how many bytes to expect of the next one.
    pub(super) fn sent(&mut self, keys: &Keys) -> usize {
        match keys.size() {
            size if size > self.bytes * 2 => self.keys = (keys.count / 2).max(1),
            size if size < self.bytes / 2 => self.keys = self.keys.saturating_mul(2),
            _ => {}
        }
        (keys.size() * 2).min(self.bytes + self.bytes / 4)
    }
}

/// The smallest key after this one.
fn after(key: &Bytes) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}
