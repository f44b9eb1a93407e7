//! The methods on users. A clear password ends here: the log has its hash.

use keelson_proto::etcdserverpb as pb;
use keelson_storage::auth::AuthError;
use keelson_storage::command::AuthOp;

use super::{change, password, read};
use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn user_add(
    face: EtcdFace,
    mut request: pb::AuthUserAddRequest,
) -> Result<pb::AuthUserAddResponse, FaceError> {
    let has_none = request.options.as_ref().is_some_and(|options| options.no_password);
    let password = std::mem::take(&mut request.password);
    if !has_none && (!password.is_empty() || request.hashed_password.is_empty()) {
        request.hashed_password = password::hash(password, face.config().bcrypt_cost).await?;
    }
    Ok(pb::AuthUserAddResponse { header: change(&face, AuthOp::UserAdd(request)).await? })
}

/// A user may ask for himself.
pub(crate) async fn user_get(
    face: EtcdFace,
    request: pb::AuthUserGetRequest,
) -> Result<pb::AuthUserGetResponse, FaceError> {
    let own = |_: &_, by: &keelson_storage::auth::Authority| by.user == request.name;
    let (header, roles) = read(&face, own, |auth| {
        let user = auth.user(&request.name).ok_or(AuthError::UserNotFound)?;
        Ok(user.roles.clone())
    })
    .await?;
    Ok(pb::AuthUserGetResponse { header, roles })
}

pub(crate) async fn user_list(
    face: EtcdFace,
    _request: pb::AuthUserListRequest,
) -> Result<pb::AuthUserListResponse, FaceError> {
    let list =
        |auth: &keelson_storage::auth::AuthState| Ok(auth.users().map(str::to_owned).collect());
    let (header, users) = read(&face, |_, _| false, list).await?;
    Ok(pb::AuthUserListResponse { header, users })
}

pub(crate) async fn user_delete(
    face: EtcdFace,
    request: pb::AuthUserDeleteRequest,
) -> Result<pb::AuthUserDeleteResponse, FaceError> {
    Ok(pb::AuthUserDeleteResponse { header: change(&face, AuthOp::UserDelete(request)).await? })
}

pub(crate) async fn user_change_password(
    face: EtcdFace,
    mut request: pb::AuthUserChangePasswordRequest,
) -> Result<pb::AuthUserChangePasswordResponse, FaceError> {
    let password = std::mem::take(&mut request.password);
    if !password.is_empty() {
        request.hashed_password = password::hash(password, face.config().bcrypt_cost).await?;
    }
    let header = change(&face, AuthOp::UserChangePassword(request)).await?;
    Ok(pb::AuthUserChangePasswordResponse { header })
}

pub(crate) async fn user_grant_role(
    face: EtcdFace,
    request: pb::AuthUserGrantRoleRequest,
) -> Result<pb::AuthUserGrantRoleResponse, FaceError> {
    let header = change(&face, AuthOp::UserGrantRole(request)).await?;
    Ok(pb::AuthUserGrantRoleResponse { header })
}

pub(crate) async fn user_revoke_role(
    face: EtcdFace,
    request: pb::AuthUserRevokeRoleRequest,
) -> Result<pb::AuthUserRevokeRoleResponse, FaceError> {
    let header = change(&face, AuthOp::UserRevokeRole(request)).await?;
    Ok(pb::AuthUserRevokeRoleResponse { header })
}
