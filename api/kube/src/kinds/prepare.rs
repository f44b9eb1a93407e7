//! What the server sets or puts back in single kinds before it validates them.
// upstream: Kubernetes, pkg/registry/*/strategy.go

use serde_json::{Map, Value, json};

use super::kind::put_back;

/// A new pod is pending and knows its quality of service.
pub(super) fn new_pod(pod: &mut Value) {
    pod["status"] = json!({"phase": "Pending", "qosClass": quality_of_service(&pod["spec"])});
    let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    if gated {
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": null,
        }]);
    }
}

pub(super) fn changed_pod(new: &mut Value, old: &Value, subresource: &str) {
    match subresource {
        "status" => {
            put_back(&mut new["metadata"], &old["metadata"], "ownerReferences");
            if new["status"].is_object() && new["status"]["qosClass"].is_null() {
                put_back(&mut new["status"], &old["status"], "qosClass");
            }
        }
        "ephemeralcontainers" => {
            let wanted = new["spec"]["ephemeralContainers"].take();
            put_back(new, old, "spec");
            if !wanted.is_null() {
                new["spec"]["ephemeralContainers"] = wanted;
            }
        }
        "resize" => resized_pod(new, old),
        _ => {}
    }
    let seconds = new["spec"]["terminationGracePeriodSeconds"].as_i64();
    if seconds.is_some_and(|s| s < 0) {
        new["spec"]["terminationGracePeriodSeconds"] = json!(1);
    }
}

/// Only resources of containers change on this path.
fn resized_pod(new: &mut Value, old: &Value) {
    let wanted = new["spec"].take();
    put_back(new, old, "spec");
    for list in ["containers", "initContainers"] {
        let kept = new["spec"].get_mut(list).and_then(Value::as_array_mut);
        let (Some(kept), Some(wanted)) = (kept, wanted[list].as_array()) else { continue };
        for container in kept {
            let Some(asked) = wanted.iter().find(|w| w["name"] == container["name"]) else {
                continue;
            };
            for field in ["resources", "resizePolicy"] {
                put_back(container, asked, field);
            }
        }
    }
}

/// Guaranteed: every container has equal requests and limits of CPU and memory. BestEffort: none
/// has any. Burstable: the rest.
pub(crate) fn quality_of_service(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers = || lists.iter().flat_map(|l| spec[*l].as_array().into_iter().flatten());
    let amount = |resources: &Value, side: &str, name: &str| {
        let text = resources[side][name].as_str()?;
        let parsed = crate::decode::quantity::Quantity::parse(text).ok()?;
        (parsed.milli() > 0).then_some(parsed)
    };
    let whole_pod = spec.get("resources").filter(|r| r.is_object());
    let all: Vec<&Value> = match whole_pod {
        Some(resources) => vec![resources],
        None => containers().map(|c| &c["resources"]).collect(),
    };
    let names = ["cpu", "memory"];
    let any = all.iter().any(|r| {
        names.iter().any(|n| amount(r, "requests", n).is_some() || amount(r, "limits", n).is_some())
    });
    if !any {
        return "BestEffort";
    }
    let guaranteed = all.iter().all(|r| {
        names.iter().all(|n| match (amount(r, "limits", n), amount(r, "requests", n)) {
            (Some(limit), Some(request)) => limit.compare(&request).is_eq(),
            _ => false,
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// A new namespace is active and is finalized by its controller.
pub(super) fn new_namespace(namespace: &mut Value) {
    namespace["status"] = json!({"phase": "Active"});
    if !namespace["spec"].is_object() {
        namespace["spec"] = Value::Object(Map::new());
    }
    let finalizers = &mut namespace["spec"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(list) if list.contains(&json!("kubernetes")) => {}
        Some(list) => list.push(json!("kubernetes")),
        None => *finalizers = json!(["kubernetes"]),
    }
}

/// Finalizers of the spec change through `finalize` only.
pub(super) fn changed_namespace(new: &mut Value, old: &Value, subresource: &str) {
    if subresource != "finalize" {
        put_back(new, old, "spec");
    }
}

pub(super) fn deleted_namespace(namespace: &mut Value) {
    namespace["status"]["phase"] = json!("Terminating");
}

pub(super) fn new_volume(volume: &mut Value) {
    volume["status"] = json!({"phase": "Pending"});
}

/// A job's pods are found by a label with its uid, unless the job chooses its own selector.
pub(super) fn new_job(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let metadata = &job["metadata"];
    let (Some(uid), Some(name)) = (metadata["uid"].as_str(), metadata["name"].as_str()) else {
        return;
    };
    let (uid, name) = (uid.to_owned(), name.to_owned());
    let labels = &mut job["spec"]["template"]["metadata"]["labels"];
    if !labels.is_object() {
        *labels = Value::Object(Map::new());
    }
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels[key] = json!(value);
    }
    let selector = &mut job["spec"]["selector"];
    if !selector.is_object() {
        *selector = Value::Object(Map::new());
    }
    if selector["matchLabels"].is_null() {
        selector["matchLabels"] = Value::Object(Map::new());
    }
    selector["matchLabels"]["batch.kubernetes.io/controller-uid"] = json!(uid);
}

/// A token of a service account is never written through the Secret itself; nothing else here.
pub(super) fn changed_secret(new: &mut Value, old: &Value, _subresource: &str) {
    if new["type"].as_str().unwrap_or_default().is_empty() {
        put_back(new, old, "type");
    }
}

/// Who asks is set by the server; approval and status have their own paths.
pub(super) fn changed_signing_request(new: &mut Value, old: &Value, subresource: &str) {
    put_back(new, old, "spec");
    if subresource == "approval" {
        let wanted = new["status"]["conditions"].take();
        put_back(new, old, "status");
        if !wanted.is_null() {
            new["status"]["conditions"] = wanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_depends_on_requests_and_limits() {
        let pod = |resources: Value| json!({"containers": [{"name": "a", "resources": resources}]});
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, wanted) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"requests": both, "limits": both}), "Guaranteed"),
            (json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": both}), "Burstable"),
            (json!({"limits": {"example.com/x": "1"}}), "BestEffort"),
        ] {
            assert_eq!(quality_of_service(&pod(resources.clone())), wanted, "{resources}");
        }
    }

    #[test]
    fn a_status_update_changes_only_the_status() {
        let kind = crate::kinds::find("", "v1", "pods").expect("pods");
        let old = json!({"metadata": {"name": "p", "generation": 1}, "spec": {"nodeName": "a"},
            "status": {"phase": "Pending", "qosClass": "BestEffort"}});
        let mut new = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "b"},
            "status": {"phase": "Running"}});
        new["metadata"]["annotations"] = json!({"a": "b"});
        kind.prepare_update(&mut new, &old, "status");
        assert_eq!(new["spec"], json!({"nodeName": "a"}));
        assert_eq!(new["status"], json!({"phase": "Running", "qosClass": "BestEffort"}));
        assert_eq!(new["metadata"]["generation"], 1);
        kind.prepare_update(&mut new, &old, "");
        assert_eq!(new["status"], old["status"]);
        let mut other = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "b"}});
        kind.prepare_update(&mut other, &old, "");
        assert_eq!(other["metadata"]["generation"], 2);
    }

    #[test]
    fn a_new_deployment_starts_without_status_at_generation_one() {
        let kind = crate::kinds::find("apps", "v1", "replicasets").expect("replicasets");
        let mut new = json!({"metadata": {"name": "d", "generation": 7}, "spec": {},
            "status": {"replicas": 5}});
        kind.prepare_create(&mut new);
        assert_eq!(new["metadata"]["generation"], 1);
        assert_eq!(new["status"], json!({"replicas": 0}));
    }
}
