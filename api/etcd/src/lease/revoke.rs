//! LeaseRevoke: ends a lease and deletes its keys.

use keelson_proto::etcdserverpb::{LeaseRevokeRequest, LeaseRevokeResponse};
use keelson_storage::command::{LeaseRevoke, Op, Reply};

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn revoke(
    face: EtcdFace,
    request: LeaseRevokeRequest,
) -> Result<LeaseRevokeResponse, FaceError> {
    let revoke = LeaseRevoke { ids: vec![request.id], ..Default::default() };
    let Reply::LeaseRevoke(mut response) = face.propose(Op::LeaseRevoke(revoke)).await? else {
        return Err(FaceError::Unexpected);
    };
    face.complete(&mut response.header);
    Ok(response)
}
