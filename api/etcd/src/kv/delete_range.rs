//! DeleteRange: deletes the keys of a range.

use keelson_proto::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse};
use keelson_storage::command::{Op, Reply};
use keelson_storage::mvcc::check;

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn delete_range(
    face: EtcdFace,
    request: DeleteRangeRequest,
) -> Result<DeleteRangeResponse, FaceError> {
    check::delete_range(&request)?;
    let Reply::DeleteRange(mut response) = face.propose(Op::DeleteRange(request)).await? else {
        return Err(FaceError::Unexpected);
    };
    face.complete(&mut response.header);
    Ok(response)
}
