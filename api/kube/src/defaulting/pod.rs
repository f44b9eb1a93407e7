//! Pods and pod templates. Two defaults are a Pod's alone and must not appear in templates, whose
//! hash they would change: requests from limits, and service links.
// upstream: Kubernetes, pkg/apis/core/v1/defaults.go

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::{absent, each, empty, present, unset};
use crate::decode::quantity::Quantity;

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Defaults of a Pod.
pub(crate) fn pod(pod: &mut Value) {
    let Some(spec) = present(pod, "spec") else { return };
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        each(spec, list).for_each(requests_from_limits);
    }
    pod_level_requests(spec);
    absent(spec, "enableServiceLinks", true);
}

/// Defaults of the template inside a spec.
pub(crate) fn template(spec: &mut Value) {
    if let Some(template) = present(spec, "template")
        && let Some(spec) = present(template, "spec")
    {
        pod_spec(spec);
    }
}

/// Defaults of any pod spec.
pub(crate) fn pod_spec(spec: &mut Value) {
    empty(spec, "restartPolicy", "Always");
    absent(spec, "terminationGracePeriodSeconds", 30);
    empty(spec, "dnsPolicy", "ClusterFirst");
    absent(spec, "securityContext", Map::new());
    empty(spec, "schedulerName", "default-scheduler");
    service_account(spec);
    let host_network = spec["hostNetwork"] == true;
    for list in CONTAINER_LISTS {
        for one in each(spec, list) {
            container(one);
            if host_network && list != "ephemeralContainers" {
                host_ports(one);
            }
        }
    }
    each(spec, "volumes").for_each(volume);
}

/// `serviceAccount` is an old name of `serviceAccountName`; both are written.
fn service_account(spec: &mut Value) {
    let name = |field: &str| spec[field].as_str().filter(|n| !n.is_empty()).map(str::to_owned);
    if let Some(name) = name("serviceAccountName").or_else(|| name("serviceAccount")) {
        spec["serviceAccountName"] = json!(name);
        spec["serviceAccount"] = json!(name);
    }
}

fn container(container: &mut Value) {
    let policy = match is_latest(container["image"].as_str().unwrap_or_default()) {
        true => "Always",
        false => "IfNotPresent",
    };
    empty(container, "imagePullPolicy", policy);
    empty(container, "terminationMessagePath", "/dev/termination-log");
    empty(container, "terminationMessagePolicy", "File");
    each(container, "ports").for_each(|port| empty(port, "protocol", "TCP"));
    for variable in each(container, "env") {
        if let Some(from) = present(variable, "valueFrom")
            && let Some(field) = present(from, "fieldRef")
        {
            empty(field, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = present(container, name) {
            unset(probe, "timeoutSeconds", 1);
            unset(probe, "periodSeconds", 10);
            unset(probe, "successThreshold", 1);
            unset(probe, "failureThreshold", 3);
            action(probe);
        }
    }
    if let Some(lifecycle) = present(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(handler) = present(lifecycle, name) {
                action(handler);
            }
        }
    }
}

fn action(handler: &mut Value) {
    if let Some(http) = present(handler, "httpGet") {
        empty(http, "path", "/");
        empty(http, "scheme", "HTTP");
    }
    if let Some(grpc) = present(handler, "grpc") {
        absent(grpc, "service", "");
    }
}

/// Whether an image's tag is `latest`, said or meant. A digest means no tag.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once('@') {
        Some((name, _)) => name.ends_with(":latest"),
        None if image.is_empty() => false,
        None => match name.rsplit_once(':') {
            Some((_, tag)) => tag == "latest",
            None => true,
        },
    }
}

fn host_ports(container: &mut Value) {
    for port in each(container, "ports") {
        let number = port["containerPort"].as_i64().unwrap_or(0);
        unset(port, "hostPort", number);
    }
}

fn volume(volume: &mut Value) {
    let Some(fields) = volume.as_object_mut() else { return };
    if !fields.iter().any(|(name, value)| name != "name" && !value.is_null()) {
        fields.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = present(volume, source) {
            absent(source, "defaultMode", 0o644);
        }
    }
    if let Some(downward) = present(volume, "downwardAPI") {
        field_references(downward);
    }
    if let Some(projected) = present(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = present(source, "serviceAccountToken") {
                absent(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = present(source, "downwardAPI") {
                field_references(downward);
            }
        }
    }
    if let Some(host_path) = present(volume, "hostPath") {
        absent(host_path, "type", "");
    }
    if let Some(image) = present(volume, "image") {
        let latest = is_latest(image["reference"].as_str().unwrap_or_default());
        empty(image, "pullPolicy", if latest { "Always" } else { "IfNotPresent" });
    }
    if let Some(ephemeral) = present(volume, "ephemeral")
        && let Some(template) = present(ephemeral, "volumeClaimTemplate")
        && let Some(spec) = present(template, "spec")
    {
        absent(spec, "volumeMode", "Filesystem");
    }
}

fn field_references(source: &mut Value) {
    for item in each(source, "items") {
        if let Some(field) = present(item, "fieldRef") {
            empty(field, "apiVersion", "v1");
        }
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object) else {
        return;
    };
    let limits = limits.clone();
    let resources = &mut container["resources"];
    absent(resources, "requests", Map::new());
    for (name, amount) in limits {
        absent(&mut resources["requests"], &name, amount);
    }
}

/// Requests of the pod as a whole come from its containers', then from its limits.
fn pod_level_requests(spec: &mut Value) {
    let supported = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let Some(limits) = spec.pointer("/resources/limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if limits.is_empty() {
        return;
    }
    let sums = container_requests(spec);
    let resources = &mut spec["resources"];
    absent(resources, "requests", Map::new());
    let requests = &mut resources["requests"];
    for (name, amount) in sums {
        if supported(&name) && !name.starts_with("hugepages-") {
            absent(requests, &name, amount.to_string());
        }
    }
    for (name, amount) in limits.into_iter().filter(|(name, _)| supported(name)) {
        absent(requests, &name, amount);
    }
}

/// What the containers request together: the sum of those that run side by side, or the largest
/// init container beside the sidecars started before it.
fn container_requests(spec: &Value) -> BTreeMap<String, Quantity> {
    let list = |name: &str| spec[name].as_array().into_iter().flatten();
    let mut total: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in list("containers") {
        add(&mut total, container);
    }
    let mut sidecars: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut largest: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in list("initContainers") {
        let mut at_once = sidecars.clone();
        add(&mut at_once, container);
        if container["restartPolicy"] == "Always" {
            add(&mut total, container);
            add(&mut sidecars, container);
        }
        for (name, amount) in at_once {
            let most = largest.entry(name).or_insert(amount);
            if amount.compare(most).is_gt() {
                *most = amount;
            }
        }
    }
    for (name, amount) in largest {
        let most = total.entry(name).or_insert(amount);
        if amount.compare(most).is_gt() {
            *most = amount;
        }
    }
    total
}

fn add(sums: &mut BTreeMap<String, Quantity>, container: &Value) {
    let requests = container.pointer("/resources/requests").and_then(Value::as_object);
    for (name, amount) in requests.into_iter().flatten() {
        let Some(amount) = amount.as_str().and_then(|a| Quantity::parse(a).ok()) else { continue };
        let sum = sums.get(name).map_or(amount, |before| before.plus(&amount));
        sums.insert(name.clone(), sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(resource: &str, mut object: Value) -> Value {
        let kind = ["", "apps"]
            .iter()
            .find_map(|group| crate::kinds::find(group, "v1", resource))
            .expect("a kind");
        kind.default(&mut object);
        let once = object.clone();
        kind.default(&mut object);
        assert_eq!(object, once, "defaulting twice changes nothing");
        object
    }

    #[test]
    fn a_pod_gets_what_kubernetes_gives_it() {
        let pod = defaulted(
            "pods",
            json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a", "image": "busybox", "resources": {"limits": {"cpu": "1"}},
                "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]}}),
        );
        assert_eq!(
            pod["spec"],
            json!({
                "containers": [{
                    "name": "a", "image": "busybox",
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "readinessProbe": {
                        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
                        "failureThreshold": 3,
                    },
                    "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }],
                "volumes": [
                    {"name": "v", "emptyDir": {}},
                    {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
                ],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst", "securityContext": {},
                "schedulerName": "default-scheduler", "enableServiceLinks": true,
            })
        );
        assert_eq!(pod["status"], json!({}));
    }

    #[test]
    fn templates_get_no_requests_and_no_service_links() {
        let deployment = defaulted(
            "deployments",
            json!({"metadata": {"name": "d"}, "spec": {
            "selector": {}, "template": {"spec": {"containers": [
                {"name": "a", "image": "x:1", "resources": {"limits": {"cpu": "1"}}}]}}}}),
        );
        let spec = &deployment["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert!(spec.get("enableServiceLinks").is_none());
        assert_eq!(
            deployment["spec"]["strategy"],
            json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
    }

    #[test]
    fn tags_decide_the_pull_policy() {
        for (image, latest) in [
            ("busybox", true),
            ("localhost:5000/busybox", true),
            ("localhost:5000/busybox:latest", true),
            ("busybox:1", false),
            ("busybox@sha256:0", false),
            ("", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
