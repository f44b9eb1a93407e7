//! Auth: users, roles, permissions, tokens; and who a request is made by.

mod authenticate;
mod caller;
mod jwt;
mod password;
mod roles;
mod state;
mod token;
mod users;

pub(crate) use authenticate::authenticate;
pub(crate) use caller::{Caller, Credentials};
pub(crate) use roles::{
    role_add, role_delete, role_get, role_grant_permission, role_list, role_revoke_permission,
};
pub(crate) use state::{auth_disable, auth_enable, auth_status};
pub use token::{AuthToken, AuthTokenError};
pub(crate) use users::{
    user_add, user_change_password, user_delete, user_get, user_grant_role, user_list,
    user_revoke_role,
};

use keelson_proto::etcdserverpb::ResponseHeader;
use keelson_storage::auth::{AuthState, Authority};
use keelson_storage::command::{AuthChange, AuthOp, Op, Reply};

use crate::error::FaceError;
use crate::face::EtcdFace;

/// Has users and roles changed, through the log.
async fn change(face: &EtcdFace, change: AuthOp) -> Result<Option<ResponseHeader>, FaceError> {
    match face.propose(Op::AuthChange(AuthChange { change: Some(change) })).await? {
        Reply::Done { revision } => Ok(Some(face.header(revision))),
        _ => Err(FaceError::Unexpected),
    }
}

/// Reads users and roles, as of now. Only an administrator may, and whom `also` lets.
async fn read<T>(
    face: &EtcdFace,
    also: impl FnOnce(&AuthState, &Authority) -> bool,
    read: impl FnOnce(&AuthState) -> Result<T, FaceError>,
) -> Result<(Option<ResponseHeader>, T), FaceError> {
    face.read_index().await?;
    let asked = face.authorize(|auth, by| match auth.may_administer(by) {
        Err(_) if also(auth, by) => Ok(()),
        answer => answer,
    })?;
    let found = read(&face.node().view().auth())?;
    face.still(&asked)?;
    Ok((Some(face.header_now()), found))
}
