//! Who may do what: credentials to users, and users to permissions.

pub(crate) mod node;
pub(crate) mod rbac;
pub(crate) mod service_account;
pub(crate) mod token_keys;
pub(crate) mod x509;

use crate::request_info::RequestInfo;
use crate::user::UserInfo;

/// What a user wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) user: &'a UserInfo,
    pub(crate) verb: &'a str,
    /// None: a path that is no resource.
    pub(crate) resource: Option<ResourceAttributes<'a>>,
    pub(crate) path: &'a str,
}

/// The resource a user wants to do something to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResourceAttributes<'a> {
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(user: &'a UserInfo, info: &'a RequestInfo) -> Self {
        let resource = info.is_resource.then_some(ResourceAttributes {
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
        });
        Attributes { user, verb: &info.verb, resource, path: &info.path }
    }
}
