//! Changes of users and roles. Each that changes something makes a new auth revision.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keelson_proto::authpb::{Permission, Role, User, UserAddOptions};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::raft::auth_change::Change;

use super::AuthError;
use super::state::{AuthState, ROOT};

/// Tokens that end with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended<'a> {
    /// None.
    None,
    /// Those of a user.
    Of(&'a str),
    /// All.
    All,
}

impl AuthState {
    /// Makes one change, or refuses it and stays as it was; says which tokens end.
    pub(crate) fn change<'a>(&mut self, change: &'a Change) -> Result<Ended<'a>, AuthError> {
        let before = self.revision;
        let mut ended = Ended::None;
        match change {
            Change::Enable(_) => self.enable()?,
            Change::Disable(_) => {
                self.disable();
                ended = Ended::All;
            }
            Change::UserAdd(request) => self.add_user(request)?,
            Change::UserDelete(request) => {
                self.delete_user(&request.name)?;
                ended = Ended::Of(&request.name);
            }
            Change::UserChangePassword(request) => {
                self.change_password(request)?;
                ended = Ended::Of(&request.name);
            }
            Change::UserGrantRole(request) => self.grant_role(&request.user, &request.role)?,
            Change::UserRevokeRole(request) => self.revoke_role(&request.name, &request.role)?,
            Change::RoleAdd(request) => self.add_role(&request.name)?,
            Change::RoleDelete(request) => self.delete_role(&request.role)?,
            Change::RoleGrantPermission(request) => self.grant_permission(request)?,
            Change::RoleRevokePermission(request) => self.revoke_permission(request)?,
        }
        if self.revision != before {
            self.merge();
        }
        Ok(ended)
    }

    /// Enabling alone makes no new revision.
    fn enable(&mut self) -> Result<(), AuthError> {
        if !self.enabled {
            let root = self.users.get(ROOT).ok_or(AuthError::RootUserMissing)?;
            if !root.roles.iter().any(|role| role == ROOT) {
                return Err(AuthError::RootRoleMissing);
            }
            self.enabled = true;
        }
        Ok(())
    }

    fn disable(&mut self) {
        if self.enabled {
            self.enabled = false;
            self.revision += 1;
        }
    }

    fn add_user(&mut self, request: &pb::AuthUserAddRequest) -> Result<(), AuthError> {
        if request.name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.users.contains_key(&request.name) {
            return Err(AuthError::UserExists);
        }
        let options = request.options.unwrap_or(UserAddOptions { no_password: false });
        let password = match options.no_password {
            true => Bytes::new(),
            false => decode(&request.hashed_password)?,
        };
        let name = Bytes::from(request.name.clone());
        let user = User { name, password, roles: Vec::new(), options: Some(options) };
        self.users.insert(request.name.clone(), user);
        self.revision += 1;
        Ok(())
    }

    fn delete_user(&mut self, name: &str) -> Result<(), AuthError> {
        if self.enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        self.users.remove(name).ok_or(AuthError::UserNotFound)?;
        self.revision += 1;
        Ok(())
    }

    fn change_password(
        &mut self,
        request: &pb::AuthUserChangePasswordRequest,
    ) -> Result<(), AuthError> {
        let user = self.users.get_mut(&request.name).ok_or(AuthError::UserNotFound)?;
        let has_none = user.options.as_ref().is_some_and(|options| options.no_password);
        user.password = match has_none {
            true => Bytes::new(),
            false => decode(&request.hashed_password)?,
        };
        self.revision += 1;
        Ok(())
    }

    fn grant_role(&mut self, user: &str, role: &str) -> Result<(), AuthError> {
        let user = self.users.get_mut(user).ok_or(AuthError::UserNotFound)?;
        // The role `root` needs no entry of its own.
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(AuthError::RoleNotFound);
        }
        if let Err(place) = user.roles.binary_search_by(|one| one.as_str().cmp(role)) {
            user.roles.insert(place, role.to_owned());
            self.revision += 1;
        }
        Ok(())
    }

    fn revoke_role(&mut self, name: &str, role: &str) -> Result<(), AuthError> {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        let user = self.users.get_mut(name).ok_or(AuthError::UserNotFound)?;
        let place = user.roles.iter().position(|one| one == role);
        user.roles.remove(place.ok_or(AuthError::RoleNotGranted)?);
        self.revision += 1;
        Ok(())
    }

    fn add_role(&mut self, name: &str) -> Result<(), AuthError> {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(AuthError::RoleExists);
        }
        let role = Role { name: name.to_owned().into(), key_permission: Vec::new() };
        self.roles.insert(name.to_owned(), role);
        self.revision += 1;
        Ok(())
    }

    fn delete_role(&mut self, name: &str) -> Result<(), AuthError> {
        if self.enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
        for user in self.users.values_mut() {
            user.roles.retain(|role| role != name);
        }
        self.revision += 1;
        Ok(())
    }

    fn grant_permission(
        &mut self,
        request: &pb::AuthRoleGrantPermissionRequest,
    ) -> Result<(), AuthError> {
        let permission = request.perm.as_ref().ok_or(AuthError::PermissionNotGiven)?;
        if !is_range(permission) {
            return Err(AuthError::InvalidManagement);
        }
        let role = self.roles.get_mut(&request.name).ok_or(AuthError::RoleNotFound)?;
        let same = |one: &&mut Permission| {
            one.key == permission.key && one.range_end == permission.range_end
        };
        match role.key_permission.iter_mut().find(same) {
            Some(known) => known.perm_type = permission.perm_type,
            None => {
                role.key_permission.push(permission.clone());
                role.key_permission
                    .sort_by(|a, b| (&a.key, &a.range_end).cmp(&(&b.key, &b.range_end)));
            }
        }
        self.revision += 1;
        Ok(())
    }

    fn revoke_permission(
        &mut self,
        request: &pb::AuthRoleRevokePermissionRequest,
    ) -> Result<(), AuthError> {
        let role = self.roles.get_mut(&request.role).ok_or(AuthError::RoleNotFound)?;
        let before = role.key_permission.len();
        role.key_permission
            .retain(|one| one.key != request.key || one.range_end != request.range_end);
        if role.key_permission.len() == before {
            return Err(AuthError::PermissionNotGranted);
        }
        self.revision += 1;
        Ok(())
    }
}

/// A password's hash comes in base64.
fn decode(hashed: &str) -> Result<Bytes, AuthError> {
    STANDARD.decode(hashed).map(Bytes::from).map_err(|_| AuthError::NoPasswordUser)
}

fn is_range(permission: &Permission) -> bool {
    let (key, end) = (&permission.key, &permission.range_end);
    !key.is_empty() && (end.is_empty() || key < end || end.as_ref() == b"\0")
}
