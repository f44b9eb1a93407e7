//! MoveLeader: hands leadership to a voter. Asked of the leader itself; nobody forwards it.

use keelson_proto::etcdserverpb::{MoveLeaderRequest, MoveLeaderResponse};
use keelson_raft::MoveLeaderError;

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn move_leader(
    face: EtcdFace,
    request: MoveLeaderRequest,
) -> Result<MoveLeaderResponse, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    match face.node().move_leader(request.target_id).await {
        Ok(()) => Ok(MoveLeaderResponse { header: Some(face.header_now()) }),
        Err(MoveLeaderError::NotLeader) => Err(FaceError::NotLeader),
        Err(MoveLeaderError::BadTransferee) => Err(FaceError::BadTransferee),
        Err(MoveLeaderError::Timeout) => Err(FaceError::TransferTimedOut),
        Err(MoveLeaderError::Stopped) => Err(FaceError::Stopped),
    }
}
