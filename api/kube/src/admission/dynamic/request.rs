//! The request as webhooks and expressions see it.

use serde_json::{Value, json};

use crate::admission::{Admission, Operation};

/// `request` of an AdmissionReview, without the objects.
pub(super) fn request(a: &Admission<'_>, uid: &str) -> Value {
    let kind = json!({"group": a.kind.group, "version": a.kind.version, "kind": a.kind.kind});
    let resource =
        json!({"group": a.kind.group, "version": a.kind.version, "resource": a.kind.plural});
    let operation = match a.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    };
    let options = match a.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
    };
    let mut user = json!({"username": a.user.name, "groups": a.user.groups});
    if !a.user.uid.is_empty() {
        user["uid"] = json!(a.user.uid);
    }
    if !a.user.extra.is_empty() {
        user["extra"] = json!(a.user.extra);
    }
    let mut request = json!({
        "uid": uid, "kind": kind, "resource": resource, "requestKind": kind,
        "requestResource": resource, "name": a.name, "operation": operation, "userInfo": user,
        "dryRun": a.dry_run,
        "options": {"kind": options, "apiVersion": "meta.k8s.io/v1"},
    });
    if !a.namespace.is_empty() {
        request["namespace"] = json!(a.namespace);
    }
    if !a.subresource.is_empty() {
        request["subResource"] = json!(a.subresource);
        request["requestSubResource"] = json!(a.subresource);
    }
    request
}
