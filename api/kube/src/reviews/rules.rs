//! Rules review: all that the caller may do in a namespace.

use serde_json::{Value, json};

use crate::call::Call;
use crate::status::Status;

/// The caller's rules.
pub(super) fn own(call: &Call, spec: &Value) -> Result<Value, Status> {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rules = call.cx.rbac.rules(&call.user, namespace);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in &rules {
        if !rule.resources.is_empty() {
            let mut shown = json!({
                "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources,
            });
            if !rule.names.is_empty() {
                shown["resourceNames"] = json!(rule.names);
            }
            resources.push(shown);
        }
        if !rule.urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls}));
        }
    }
    let incomplete = call.user.node_name().is_some();
    let mut status = json!({
        "resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete,
    });
    if incomplete {
        status["evaluationError"] = json!("node authorizer does not support user rule resolution");
    }
    Ok(status)
}
