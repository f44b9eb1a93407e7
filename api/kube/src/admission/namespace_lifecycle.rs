//! NamespaceLifecycle: nothing is made in a namespace that is missing or terminating, and the
//! system's own namespaces stay.

use futures::FutureExt;
use serde_json::Value;

use super::{Admission, Operation, Plugin};
use crate::status::{GroupResource, Status};

pub(super) const ENTRY: Plugin =
    Plugin { mutate: Some(|a, _| admit(a).boxed()), validate: Some(|a, _| protect(a).boxed()) };

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];
const NAMESPACES: GroupResource<'_> = GroupResource { group: "", resource: "namespaces" };

async fn protect(a: &Admission<'_>) -> Result<(), Status> {
    if a.is(Operation::Delete, "", "Namespace") && IMMORTAL.contains(&a.name) {
        return Err(a.forbidden("this namespace may not be deleted"));
    }
    Ok(())
}

async fn admit(a: &Admission<'_>) -> Result<(), Status> {
    // Reviews are answered, not stored.
    let stored = a.kind.serves("get") || !a.subresource.is_empty();
    if a.operation != Operation::Create || a.namespace.is_empty() || !stored {
        return Ok(());
    }
    let cache = a.cx.caches.of("namespaces").await?;
    let mut namespace = cache.get(a.namespace);
    if namespace.is_none() {
        a.cx.caches.freshen(&cache).await?;
        namespace = cache.get(a.namespace);
    }
    let Some(namespace) = namespace else {
        return Err(Status::not_found(NAMESPACES, a.namespace));
    };
    let value: Value = namespace.value();
    if value["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        a.namespace
    );
    let message = format!("namespace {} is being terminated", a.namespace);
    Err(a.forbidden(&why).cause("NamespaceTerminating", message, "metadata.namespace"))
}
