//! Range: reads keys at a revision.

use std::time::Instant;

use keelson_proto::etcdserverpb::{RangeRequest, RangeResponse};
use keelson_storage::measures::Operation;
use keelson_storage::mvcc::check;
use prost::Message as _;

use crate::error::FaceError;
use crate::face::{Authorized, EtcdFace};

pub(crate) async fn range(
    face: EtcdFace,
    request: RangeRequest,
) -> Result<RangeResponse, FaceError> {
    answer(face, request, Whole::Yes).await
}

/// The same, without looking at what lies behind the limit: the count is not known then.
pub(crate) async fn part(
    face: EtcdFace,
    request: RangeRequest,
) -> Result<RangeResponse, FaceError> {
    answer(face, request, Whole::No).await
}

/// Whether all of the range is looked at, so that its keys can be counted.
#[derive(Clone, Copy)]
enum Whole {
    Yes,
    No,
}

async fn answer(
    face: EtcdFace,
    request: RangeRequest,
    whole: Whole,
) -> Result<RangeResponse, FaceError> {
    let began = Instant::now();
    let answer = read(&face, request, whole).await;
    face.metrics().requests.ended(Operation::RANGE, answer.is_ok(), began.elapsed());
    answer
}

/// Waits until this member may answer, and asks whether the caller may know.
pub(super) async fn admit(
    face: &EtcdFace,
    request: &RangeRequest,
) -> Result<Authorized, FaceError> {
    if !request.serializable {
        if face.node().is_learner() {
            return Err(FaceError::Learner);
        }
        face.read_index().await?;
    }
    face.authorize(|auth, by| auth.may_read(by, &request.key, &request.range_end))
}

async fn read(
    face: &EtcdFace,
    request: RangeRequest,
    whole: Whole,
) -> Result<RangeResponse, FaceError> {
    check::range(&request)?;
    let authorized = admit(face, &request).await?;
    // One key is a look-up in memory as a rule; a range may walk the disk.
    let began = Instant::now();
    let read = if request.range_end.is_empty() {
        face.node().view().range(&request)
    } else {
        let view = face.node().view().clone();
        let read = tokio::task::spawn_blocking(move || match whole {
            Whole::Yes => view.range(&request),
            Whole::No => view.part(&request),
        });
        read.await.map_err(|_| FaceError::Stopped)?
    };
    let took = began.elapsed();
    let mut response = match read {
        Ok(response) => {
            let found = || {
                let (count, size) = (response.kvs.len(), response.encoded_len());
                format!("range_response_count:{count} size:{size}")
            };
            face.has_read(Operation::RANGE, took, Some(&found));
            response
        }
        Err(error) => {
            face.has_read(Operation::RANGE, took, None);
            return Err(error.into());
        }
    };
    face.still(&authorized)?;
    face.complete(&mut response.header);
    Ok(response)
}
