//! Pods and pod templates.
// upstream: Kubernetes, pkg/apis/core/validation/validation.go

use std::collections::BTreeSet;

use serde_json::Value;

use super::container::{self, Role};
use super::value::{items, one_of, text};
use super::{Errors, metadata, names, pod_update, volume};

const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Rules of a Pod.
pub(crate) fn check(pod: &Value, errors: &mut Errors) {
    spec(&pod["spec"], "spec", errors);
    if pod["spec"]["ephemeralContainers"].as_array().is_some_and(|c| !c.is_empty())
        && pod["metadata"]["creationTimestamp"].is_null()
    {
        errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
}

/// Rules of a changed Pod.
pub(crate) fn check_update(new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
    if subresource.is_empty() {
        pod_update::check(&new["spec"], &old["spec"], errors);
    }
}

/// Rules of a template.
pub(super) fn template(template: &Value, path: &str, errors: &mut Errors) {
    let at = |field: &str| format!("{path}.metadata.{field}");
    metadata::labels(&template["metadata"]["labels"], &at("labels"), errors);
    metadata::annotations(&template["metadata"]["annotations"], &at("annotations"), errors);
    spec(&template["spec"], &format!("{path}.spec"), errors);
    let ephemeral = template["spec"]["ephemeralContainers"].as_array();
    if ephemeral.is_some_and(|c| !c.is_empty()) {
        let at = format!("{path}.spec.ephemeralContainers");
        errors.forbidden(at, "ephemeral containers not allowed in pod template");
    }
}

/// Rules of a pod's spec.
pub(super) fn spec(spec: &Value, path: &str, errors: &mut Errors) {
    let volumes = volume::check(spec, path, errors);
    containers(spec, &volumes, path, errors);
    host_ports(spec, path, errors);
    one_of(spec, "restartPolicy", path, RESTART_POLICIES, errors);
    one_of(spec, "dnsPolicy", path, DNS_POLICIES, errors);
    metadata::labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), errors);
    for (path, gate) in items(spec, "readinessGates", path) {
        let kind = text(gate, "conditionType");
        errors.all_invalid(&format!("{path}.conditionType"), kind, names::qualified(kind));
    }
    for (path, gate) in items(spec, "schedulingGates", path) {
        let name = text(gate, "name");
        errors.all_invalid(&format!("{path}.name"), name, names::qualified(name));
    }
    type Rule = fn(&str) -> Vec<String>;
    let named: [(&str, Rule); 6] = [
        ("serviceAccountName", names::subdomain),
        ("nodeName", names::subdomain),
        ("hostname", names::label),
        ("subdomain", names::label),
        ("priorityClassName", names::subdomain),
        ("runtimeClassName", names::subdomain),
    ];
    for (field, rule) in named {
        let name = text(spec, field);
        if !name.is_empty() {
            errors.all_invalid(&format!("{path}.{field}"), name, rule(name));
        }
    }
    let deadline = spec["activeDeadlineSeconds"].as_i64();
    if let Some(seconds) = deadline.filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        let at = format!("{path}.activeDeadlineSeconds");
        errors.invalid(at, seconds, "must be between 1 and 2147483647, inclusive");
    }
    for (path, toleration) in items(spec, "tolerations", path) {
        check_toleration(toleration, &path, errors);
    }
}

fn containers(spec: &Value, volumes: &BTreeSet<&str>, path: &str, errors: &mut Errors) {
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        errors.required(format!("{path}.containers"), "");
    }
    let lists = [
        ("containers", Role::Main),
        ("initContainers", Role::Init),
        ("ephemeralContainers", Role::Ephemeral),
    ];
    let mut known = BTreeSet::new();
    for (list, role) in lists {
        for (path, one) in items(spec, list, path) {
            container::check(one, role, volumes, &path, errors);
            let name = text(one, "name");
            if !known.insert(name) {
                errors.duplicate(format!("{path}.name"), name);
            }
        }
    }
}

fn host_ports(spec: &Value, path: &str, errors: &mut Errors) {
    let mut known = BTreeSet::new();
    let host_network = spec["hostNetwork"] == true;
    for (path, container) in items(spec, "containers", path) {
        for (path, port) in items(container, "ports", &path) {
            let number = port["hostPort"].as_i64().unwrap_or(0);
            if number == 0 {
                continue;
            }
            let shown = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if host_network && port["containerPort"].as_i64() != Some(number) {
                let why = "must match `hostPort` when `hostNetwork` is true";
                errors.invalid(format!("{path}.containerPort"), port["containerPort"].clone(), why);
            }
            if !known.insert(shown.clone()) {
                errors.duplicate(format!("{path}.hostPort"), shown);
            }
        }
    }
}

fn check_toleration(toleration: &Value, path: &str, errors: &mut Errors) {
    let (key, operator, value) =
        (text(toleration, "key"), text(toleration, "operator"), text(toleration, "value"));
    if !key.is_empty() {
        errors.all_invalid(&format!("{path}.key"), key, names::qualified(key));
    } else if operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and \
                   all keys\"";
        errors.invalid(format!("{path}.operator"), operator, why);
    }
    let effect = text(toleration, "effect");
    if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(format!("{path}.effect"), effect, why);
    }
    match operator {
        "" | "Equal" => {
            errors.all_invalid(&format!("{path}.operator"), value, names::label_value(value));
        }
        "Exists" if !value.is_empty() => {
            let why = "value must be empty when `operator` is 'Exists'";
            errors.invalid(format!("{path}.operator"), value, why);
        }
        "Exists" => {}
        other => errors.not_supported(format!("{path}.operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.not_supported(format!("{path}.effect"), effect, EFFECTS);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn errors_of(spec: Value) -> Vec<String> {
        let kind = crate::kinds::find("", "v1", "pods").expect("pods");
        let mut pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec});
        kind.default(&mut pod);
        kind.validate_create(&pod).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_pod_is_valid() {
        let none: [&str; 0] = [];
        assert_eq!(errors_of(json!({"containers": [{"name": "a", "image": "b"}]})), none);
    }

    #[test]
    fn what_is_wrong_is_said_in_the_known_words() {
        assert_eq!(errors_of(json!({})), ["spec.containers: Required value"]);
        assert_eq!(
            errors_of(json!({"containers": [
                {"name": "a", "image": "", "volumeMounts": [{"name": "x", "mountPath": "/x"}]},
                {"name": "a", "image": "b", "imagePullPolicy": "Sometimes"}],
                "restartPolicy": "Maybe"})),
            [
                "spec.containers[0].image: Required value",
                "spec.containers[0].volumeMounts[0].name: Not found: \"x\"",
                "spec.containers[1].imagePullPolicy: Unsupported value: \"Sometimes\": supported \
                 values: \"Always\", \"IfNotPresent\", \"Never\"",
                "spec.containers[1].name: Duplicate value: \"a\"",
                "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \
                 \"OnFailure\", \"Never\"",
            ]
        );
        assert_eq!(
            errors_of(json!({"containers": [{"name": "a", "image": "b", "resources": {
                "requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}]})),
            [
                "spec.containers[0].resources.requests: Invalid value: \"2Gi\": must be less than or \
              equal to memory limit of 1Gi"
            ]
        );
    }
}
