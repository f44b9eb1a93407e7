//! The methods on roles.

use keelson_proto::etcdserverpb as pb;
use keelson_storage::auth::{AuthError, AuthState, Authority};
use keelson_storage::command::AuthOp;

use super::{change, read};
use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn role_add(
    face: EtcdFace,
    request: pb::AuthRoleAddRequest,
) -> Result<pb::AuthRoleAddResponse, FaceError> {
    Ok(pb::AuthRoleAddResponse { header: change(&face, AuthOp::RoleAdd(request)).await? })
}

/// A user may ask for the roles he has.
pub(crate) async fn role_get(
    face: EtcdFace,
    request: pb::AuthRoleGetRequest,
) -> Result<pb::AuthRoleGetResponse, FaceError> {
    let own = |auth: &AuthState, by: &Authority| auth.has_role(&by.user, &request.role);
    let (header, perm) = read(&face, own, |auth| {
        Ok(auth.permissions(&request.role).ok_or(AuthError::RoleNotFound)?)
    })
    .await?;
    Ok(pb::AuthRoleGetResponse { header, perm })
}

pub(crate) async fn role_list(
    face: EtcdFace,
    _request: pb::AuthRoleListRequest,
) -> Result<pb::AuthRoleListResponse, FaceError> {
    let list = |auth: &AuthState| Ok(auth.roles().map(str::to_owned).collect());
    let (header, roles) = read(&face, |_, _| false, list).await?;
    Ok(pb::AuthRoleListResponse { header, roles })
}

pub(crate) async fn role_delete(
    face: EtcdFace,
    request: pb::AuthRoleDeleteRequest,
) -> Result<pb::AuthRoleDeleteResponse, FaceError> {
    Ok(pb::AuthRoleDeleteResponse { header: change(&face, AuthOp::RoleDelete(request)).await? })
}

pub(crate) async fn role_grant_permission(
    face: EtcdFace,
    request: pb::AuthRoleGrantPermissionRequest,
) -> Result<pb::AuthRoleGrantPermissionResponse, FaceError> {
    let header = change(&face, AuthOp::RoleGrantPermission(request)).await?;
    Ok(pb::AuthRoleGrantPermissionResponse { header })
}

pub(crate) async fn role_revoke_permission(
    face: EtcdFace,
    request: pb::AuthRoleRevokePermissionRequest,
) -> Result<pb::AuthRoleRevokePermissionResponse, FaceError> {
    let header = change(&face, AuthOp::RoleRevokePermission(request)).await?;
    Ok(pb::AuthRoleRevokePermissionResponse { header })
}
