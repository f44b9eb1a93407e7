//! Admission: what the cluster's rules add to objects and refuse, one plugin a file, in order.

mod default_toleration_seconds;
mod dynamic;
mod namespace_lifecycle;
mod priority;
mod rbac_escalation;
mod service_account;
mod taint_nodes_by_condition;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;

pub(crate) use dynamic::Policies;
pub(crate) use dynamic::policy::compile as compile_expression;

use crate::context::Context;
use crate::kinds::Kind;
use crate::status::{GroupResource, Status};
use crate::user::UserInfo;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// One request to admit.
pub(crate) struct Admission<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) user: &'a UserInfo,
    pub(crate) kind: &'static Kind,
    pub(crate) operation: Operation,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) dry_run: bool,
    pub(crate) old: Option<&'a Value>,
    /// Texts for the client.
    pub(crate) warnings: &'a Mutex<Vec<String>>,
}

impl Admission<'_> {
    /// Whether this is an operation on objects of this kind themselves.
    fn is(&self, operation: Operation, group: &str, kind: &str) -> bool {
        self.operation == operation
            && self.subresource.is_empty()
            && self.kind.group == group
            && self.kind.kind == kind
    }

    fn forbidden(&self, why: &str) -> Status {
        let resource = GroupResource { group: self.kind.group, resource: self.kind.plural };
        Status::forbidden(resource, self.name, why)
    }
}

type Mutate = for<'a> fn(&'a Admission<'a>, &'a mut Value) -> BoxFuture<'a, Result<(), Status>>;
type Validate = for<'a> fn(&'a Admission<'a>, &'a Value) -> BoxFuture<'a, Result<(), Status>>;

/// One plugin.
struct Plugin {
    mutate: Option<Mutate>,
    validate: Option<Validate>,
}

/// In the order of running.
const PLUGINS: &[Plugin] = &[
    namespace_lifecycle::ENTRY,
    service_account::ENTRY,
    taint_nodes_by_condition::ENTRY,
    priority::ENTRY,
    default_toleration_seconds::ENTRY,
    rbac_escalation::ENTRY,
    dynamic::mutating_policy::ENTRY,
    dynamic::webhooks::MUTATING,
    dynamic::policy::ENTRY,
    dynamic::webhooks::VALIDATING,
];

/// Runs the plugins that may change the object.
pub(crate) async fn mutate(a: &Admission<'_>, object: &mut Value) -> Result<(), Status> {
    for plugin in PLUGINS {
        if let Some(mutate) = plugin.mutate {
            mutate(a, object).await?;
        }
    }
    Ok(())
}

/// Runs the plugins that may only refuse.
pub(crate) async fn validate(a: &Admission<'_>, object: &Value) -> Result<(), Status> {
    for plugin in PLUGINS {
        if let Some(validate) = plugin.validate {
            validate(a, object).await?;
        }
    }
    Ok(())
}
