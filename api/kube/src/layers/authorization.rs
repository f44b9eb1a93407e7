//! Authorization: the node authorizer, then RBAC; whoever neither allows is refused.

use crate::auth::{Attributes, ResourceAttributes};
use crate::context::Context;
use crate::status::{GroupResource, Status};

/// Whether somebody may do something.
pub(crate) async fn allowed(cx: &Context, attributes: &Attributes<'_>) -> bool {
    cx.rbac.allows(attributes) || cx.nodes.allows(attributes, &cx.caches).await
}

/// Refuses what is not allowed, in Kubernetes' words.
pub(crate) async fn require(cx: &Context, attributes: &Attributes<'_>) -> Result<(), Status> {
    if allowed(cx, attributes).await { Ok(()) } else { Err(refusal(attributes)) }
}

fn refusal(attributes: &Attributes<'_>) -> Status {
    let user = &attributes.user.name;
    let Some(r) = attributes.resource else {
        return Status::forbidden_path(user, attributes.verb, attributes.path);
    };
    let resource = GroupResource { group: r.group, resource: r.resource };
    Status::forbidden(resource, r.name, &reason(attributes, &r))
}

/// `User "u" cannot get resource "pods/log" in API group "" in the namespace "n"`.
pub(crate) fn reason(attributes: &Attributes<'_>, r: &ResourceAttributes<'_>) -> String {
    let slash = if r.subresource.is_empty() { "" } else { "/" };
    let scope = if r.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", r.namespace)
    };
    format!(
        "User \"{}\" cannot {} resource \"{}{slash}{}\" in API group \"{}\" {scope}",
        attributes.user.name, attributes.verb, r.resource, r.subresource, r.group
    )
}

/// Refuses a call that also needs another verb on the same object.
pub(crate) async fn require_verb(call: &crate::call::Call, verb: &str) -> Result<(), Status> {
    let attributes = Attributes { verb, ..Attributes::of(&call.user, &call.info) };
    require(&call.cx, &attributes).await
}
