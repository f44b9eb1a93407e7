//! Why somebody may not, or a change of users and roles makes no sense.

use thiserror::Error;

/// etcd's words, which clients compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthError {
    /// There is no user `root`.
    #[error("etcdserver: root user does not exist")]
    RootUserMissing,
    /// The user `root` lacks the role `root`.
    #[error("etcdserver: root user does not have root role")]
    RootRoleMissing,
    /// A user of this name exists.
    #[error("etcdserver: user name already exists")]
    UserExists,
    /// No name was given, or nobody's request needs somebody.
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    /// No user of this name exists.
    #[error("etcdserver: user name not found")]
    UserNotFound,
    /// A role of this name exists.
    #[error("etcdserver: role name already exists")]
    RoleExists,
    /// No name was given.
    #[error("etcdserver: role name is empty")]
    RoleEmpty,
    /// No role of this name exists.
    #[error("etcdserver: role name not found")]
    RoleNotFound,
    /// Wrong name or password.
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    Failed,
    /// The user logs in by other means.
    #[error("auth: authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// A grant without a permission.
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    /// Not allowed.
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    /// The user does not have the role.
    #[error("etcdserver: role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have the permission.
    #[error("etcdserver: permission is not granted to the role")]
    PermissionNotGranted,
    /// Authentication is off.
    #[error("etcdserver: authentication is not enabled")]
    NotEnabled,
    /// A token that is not known, not signed rightly, or too old.
    #[error("etcdserver: invalid auth token")]
    InvalidToken,
    /// A change that would lock everybody out, or a range that is none.
    #[error("etcdserver: invalid auth management")]
    InvalidManagement,
    /// Users or roles have changed since the request was authenticated.
    #[error("etcdserver: revision of auth store is old")]
    OldRevision,
}
