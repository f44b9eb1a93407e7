//! AuthEnable, AuthDisable, AuthStatus.

use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::AuthOp;

use super::change;
use crate::error::FaceError;
use crate::face::EtcdFace;

/// Needs a user `root` with the role `root`.
pub(crate) async fn auth_enable(
    face: EtcdFace,
    request: pb::AuthEnableRequest,
) -> Result<pb::AuthEnableResponse, FaceError> {
    Ok(pb::AuthEnableResponse { header: change(&face, AuthOp::Enable(request)).await? })
}

pub(crate) async fn auth_disable(
    face: EtcdFace,
    request: pb::AuthDisableRequest,
) -> Result<pb::AuthDisableResponse, FaceError> {
    Ok(pb::AuthDisableResponse { header: change(&face, AuthOp::Disable(request)).await? })
}

/// Anybody may know.
pub(crate) async fn auth_status(
    face: EtcdFace,
    _request: pb::AuthStatusRequest,
) -> Result<pb::AuthStatusResponse, FaceError> {
    face.read_index().await?;
    let auth = face.node().view().auth();
    Ok(pb::AuthStatusResponse {
        header: Some(face.header_now()),
        enabled: auth.is_enabled(),
        auth_revision: auth.revision(),
    })
}
