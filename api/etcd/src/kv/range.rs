//! Range: reads keys at a revision.

use keelson_proto::etcdserverpb::{RangeRequest, RangeResponse};
use keelson_storage::mvcc::check;

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn range(
    face: EtcdFace,
    request: RangeRequest,
) -> Result<RangeResponse, FaceError> {
    check::range(&request)?;
    if !request.serializable {
        if face.node().is_learner() {
            return Err(FaceError::Learner);
        }
        face.read_index().await?;
    }
    let authorized =
        face.authorize(|auth, by| auth.may_read(by, &request.key, &request.range_end))?;
    // One key is a look-up in memory as a rule; a range may walk the disk.
    let mut response = if request.range_end.is_empty() {
        face.node().view().range(&request)?
    } else {
        let view = face.node().view().clone();
        let read = tokio::task::spawn_blocking(move || view.range(&request));
        read.await.map_err(|_| FaceError::Stopped)??
    };
    face.still(&authorized)?;
    face.complete(&mut response.header);
    Ok(response)
}
