//! RangeStream: a range in parts, all of one revision, so that no answer grows with the range.

use bytes::{BufMut, Bytes, BytesMut};
use keelson_failpoint::failpoint;
use keelson_proto::etcdserverpb as pb;
use keelson_storage::mvcc::check;
use pb::range_request::{SortOrder, SortTarget};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::range::{part, range};
use crate::error::FaceError;
use crate::face::EtcdFace;

/// Parts that wait for the client.
const QUEUE: usize = 2;
/// Keys of the first part; later ones are doubled or halved towards the size wanted.
const FIRST_KEYS: i64 = 10;

pub(crate) async fn range_stream(
    face: EtcdFace,
    request: pb::RangeRequest,
) -> Result<ReceiverStream<Result<pb::RangeStreamResponse, Status>>, FaceError> {
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

type Parts = mpsc::Sender<Result<pb::RangeStreamResponse, Status>>;

// upstream: etcd v3.7 API, "RangeStream"
async fn send(face: &EtcdFace, wanted: pb::RangeRequest, parts: &Parts) -> Result<(), FaceError> {
    let mut request = wanted.clone();
    let (mut keys, mut sent) = (FIRST_KEYS, 0);
    let mut whole: Option<(pb::ResponseHeader, i64)> = None;
    loop {
        failpoint!(await beforeRangeStreamChunk);
        let left = if wanted.limit > 0 { wanted.limit - sent } else { i64::MAX };
        request.limit = if wanted.count_only { 0 } else { keys.min(left) };
        // Only the first part counts: that each looked at all the rest cost the square of the range.
        let mut part = match whole {
            None => range(face.clone(), request.clone()).await?,
            Some(_) => part(face.clone(), request.clone()).await?,
        };
        let header = part.header.take().unwrap_or_default();
        let (header, count) = *whole.get_or_insert((header, part.count));
        sent += part.kvs.len() as i64;
        let ended = wanted.count_only || !part.more || (wanted.limit > 0 && sent >= wanted.limit);
        let next = part.kvs.last().map(|last| after(&last.key));
        part.count = 0;
        if ended {
            part.header = Some(header);
            part.count = count;
        }
        part.more = ended && part.more;
        let size = part.encoded_len();
        let part = pb::RangeStreamResponse { range_response: Some(part) };
        if parts.send(Ok(part)).await.is_err() || ended {
            return Ok(());
        }
        // The first part has fixed the revision, and read after the index where that was asked.
        request.revision = if wanted.revision > 0 { wanted.revision } else { header.revision };
        request.serializable = true;
        let Some(next) = next else { return Ok(()) };
        request.key = next;
        let target = face.config().max_request_bytes;
        keys = match size {
            size if size > target => (keys / 2).max(1),
            size if size < target / 2 => keys.saturating_mul(2),
            _ => keys,
        };
    }
}

/// The smallest key after this one.
fn after(key: &Bytes) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}
