//! binding: a pod is given its node. Once only.

use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::call::Call;
use crate::managed::Ownership;
use crate::server::Body;
use crate::status::{GroupResource, Status};
use crate::verbs::guarded::Write;
use crate::verbs::guarded_update;
use crate::{input, kinds, respond};

const PODS_BINDING: GroupResource<'_> = GroupResource { group: "", resource: "pods/binding" };

/// POST of a pod's binding.
pub(super) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let binding = read(&mut call).await?;
    let name = call.info.name.clone();
    let own = binding["metadata"]["name"].as_str().unwrap_or_default();
    if !own.is_empty() && own != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    bind(call, &name, &binding).await
}

/// POST of a binding to the collection `bindings`.
pub(crate) async fn bind_from_collection(mut call: Call) -> Result<Response<Body>, Status> {
    let binding = read(&mut call).await?;
    let name = binding["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    bind(call, &name, &binding).await
}

async fn read(call: &mut Call) -> Result<Value, Status> {
    input::other(call, "io.k8s.api.core.v1.Binding").await
}

async fn bind(call: Call, name: &str, binding: &Value) -> Result<Response<Body>, Status> {
    let dry_run = call.is_dry_run()?;
    let namespace = call.info.namespace.clone();
    let pods = kinds::find("", "v1", "pods").ok_or_else(Status::unknown_resource)?;
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or_default();
    let target_kind = target["kind"].as_str().unwrap_or_default();
    if !matches!(target_kind, "" | "Node") {
        return Err(Status::invalid_field(
            GroupResource { group: "", resource: "Binding" },
            name,
            "FieldValueNotSupported",
            "target.kind",
            format!("Unsupported value: {target_kind:?}: supported values: \"Node\", \"<empty>\""),
        ));
    }
    if node.is_empty() {
        return Err(Status::invalid_field(
            GroupResource { group: "", resource: "Binding" },
            name,
            "FieldValueRequired",
            "target.name",
            "Required value",
        ));
    }
    let change = |old: &Value| assign(name, node, binding, old);
    let write = Write { subresource: "binding", dry_run, ownership: Ownership::Untracked };
    guarded_update(&call, pods, &namespace, name, write, &change).await?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    respond::value(call.accepted()?, 201, &done)
}

fn assign(name: &str, node: &str, binding: &Value, old: &Value) -> Result<Value, Status> {
    let conflict = |why: String| Err(Status::conflict(PODS_BINDING, name, &why));
    let metadata = &binding["metadata"];
    for field in ["uid", "resourceVersion"] {
        let wanted = metadata[field].as_str().unwrap_or_default();
        let is = old["metadata"][field].as_str().unwrap_or_default();
        if !wanted.is_empty() && wanted != is {
            let what = if field == "uid" { "UID" } else { "ResourceVersion" };
            return conflict(format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}"
            ));
        }
    }
    if !old["metadata"]["deletionTimestamp"].is_null() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = old["spec"]["nodeName"].as_str().unwrap_or_default();
    if !assigned.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    if old["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut new = old.clone();
    new["spec"]["nodeName"] = json!(node);
    for field in ["annotations", "labels"] {
        if let Some(added) = metadata[field].as_object() {
            for (key, value) in added {
                new["metadata"][field][key] = value.clone();
            }
        }
    }
    set_scheduled(&mut new);
    Ok(new)
}

fn set_scheduled(pod: &mut Value) {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    });
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
    pod["status"]["conditions"] = Value::Array(conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {}, "status": {}});
        let bound = assign("p", "n", &json!({}), &pod).unwrap();
        assert_eq!(bound["spec"]["nodeName"], "n");
        let again = assign("p", "m", &json!({}), &bound).unwrap_err();
        assert_eq!(
            again.message,
            "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\""
        );
    }
}
