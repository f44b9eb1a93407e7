//! Compact: forgets history. `physical` waits until it is gone on this member.

use keelson_proto::etcdserverpb::{CompactionRequest, CompactionResponse};
use keelson_storage::command::{Op, Reply};

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn compact(
    face: EtcdFace,
    request: CompactionRequest,
) -> Result<CompactionResponse, FaceError> {
    let mut done = face.node().view().compaction_done();
    let Reply::Compaction(mut response) = face.propose(Op::Compaction(request)).await? else {
        return Err(FaceError::Unexpected);
    };
    if request.physical {
        // A later compaction does this one's work too.
        done.wait_for(|done| *done >= request.revision).await.map_err(|_| FaceError::Stopped)?;
    }
    face.complete(&mut response.header);
    Ok(response)
}
