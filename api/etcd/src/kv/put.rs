//! Put: writes one key.

use keelson_proto::etcdserverpb::{PutRequest, PutResponse};
use keelson_storage::command::{Op, Reply};
use keelson_storage::mvcc::check;

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::quota;

pub(crate) async fn put(face: EtcdFace, request: PutRequest) -> Result<PutResponse, FaceError> {
    check::put(&request)?;
    quota::admit(&face, quota::put_cost(&request)).await?;
    let Reply::Put(mut response) = face.propose(Op::Put(request)).await? else {
        return Err(FaceError::Unexpected);
    };
    face.complete(&mut response.header);
    Ok(response)
}
