//! What a pod may be told about itself, for environment and downward API volumes. Pure.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ResourceFieldSelector};

use super::lookup::{container_spec, name_of, namespace_of, uid_of};
use super::quantity::Quantity;
use super::resources::{limit, request};

/// Facts that are not in the pod object yet when its containers start.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodFacts {
    pub(crate) pod_ips: Vec<String>,
    pub(crate) host_ips: Vec<String>,
    /// Allocatable resources of the node: stand in for limits that are not set.
    pub(crate) allocatable: BTreeMap<String, Quantity>,
}

/// The value of a field path; none when it is not one that a pod may see.
pub(crate) fn field_value(pod: &Pod, path: &str, facts: &PodFacts) -> Option<String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let (map, key) = match path.split_once("['").and_then(|(m, k)| Some((m, k.strip_suffix("']")?)))
    {
        Some((map, key)) => (map, Some(key)),
        None => (path, None),
    };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let value = match (map, key) {
        ("metadata.labels", Some(key)) => labels.get(key).cloned().unwrap_or_default(),
        ("metadata.annotations", Some(key)) => annotations.get(key).cloned().unwrap_or_default(),
        (_, Some(_)) => return None,
        ("metadata.name", None) => name_of(pod).to_owned(),
        ("metadata.namespace", None) => namespace_of(pod).to_owned(),
        ("metadata.uid", None) => uid_of(pod).to_owned(),
        ("metadata.labels", None) => format_map(&labels),
        ("metadata.annotations", None) => format_map(&annotations),
        ("spec.nodeName", None) => spec.node_name.unwrap_or_default(),
        ("spec.serviceAccountName", None) => spec.service_account_name.unwrap_or_default(),
        ("status.hostIP", None) => facts.host_ips.first().cloned().unwrap_or_default(),
        ("status.hostIPs", None) => facts.host_ips.join(","),
        ("status.podIP", None) => facts.pod_ips.first().cloned().unwrap_or_default(),
        ("status.podIPs", None) => facts.pod_ips.join(","),
        (_, None) => return None,
    };
    Some(value)
}

/// `key="value"` lines, as the downward API writes maps.
fn format_map(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map
        .iter()
        .map(|(key, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{key}=\"{}\"", value.replace('\n', "\\n").replace('\t', "\\t"))
        })
        .collect();
    lines.join("\n")
}

/// The value of a resource of a container of the pod; `container` is the default.
pub(crate) fn resource_value(
    pod: &Pod,
    container: &str,
    selector: &ResourceFieldSelector,
    facts: &PodFacts,
) -> Option<String> {
    let name = selector.container_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(container);
    let container = container_spec(pod, name)?;
    let (kind, resource) = selector.resource.split_once('.')?;
    let quantity = match kind {
        "limits" => limit(container, resource).or_else(|| facts.allocatable.get(resource).copied()),
        "requests" => {
            let asked = container.resources.as_ref().and_then(|r| r.requests.as_ref());
            asked.and_then(|r| r.get(resource)).map(Quantity::of).or(request(container, resource))
        }
        _ => return None,
    };
    let divisor = selector.divisor.as_ref().map(Quantity::of).filter(|d| *d != Quantity::default());
    let divisor = divisor.or_else(|| Quantity::parse("1"))?;
    Some(quantity.unwrap_or_default().divided_by(divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_resources_are_told() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "1", "b": "x\"y"}},
            "spec": {"nodeName": "w", "containers": [{"name": "c", "resources":
                {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}}]},
        }))
        .unwrap();
        let facts = PodFacts {
            pod_ips: vec!["10.0.0.1".into()],
            allocatable: [("cpu".to_owned(), Quantity::parse("2").unwrap())].into(),
            ..Default::default()
        };
        let field = |path| field_value(&pod, path, &facts);
        assert_eq!(field("metadata.name").as_deref(), Some("p"));
        assert_eq!(field("metadata.labels['a']").as_deref(), Some("1"));
        assert_eq!(field("metadata.labels").as_deref(), Some("a=\"1\"\nb=\"x\\\"y\""));
        assert_eq!(field("status.podIP").as_deref(), Some("10.0.0.1"));
        assert_eq!(field("spec.containers"), None);
        let resource = |resource: &str, divisor: Option<&str>| {
            let selector = json!({"resource": resource, "divisor": divisor});
            resource_value(&pod, "c", &serde_json::from_value(selector).unwrap(), &facts)
        };
        assert_eq!(resource("limits.memory", Some("1Mi")).as_deref(), Some("64"));
        assert_eq!(resource("limits.cpu", None).as_deref(), Some("2"));
        assert_eq!(resource("requests.cpu", Some("1m")).as_deref(), Some("250"));
    }
}
