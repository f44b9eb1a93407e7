//! The node authorizer: what the agent of one node may do, and for which objects only.
//!
//! Secrets, config maps, claims, volumes and service-account tokens are allowed when a pod bound
//! to the node refers to them. Everything else is the rules of the role `system:node`.

use serde_json::Value;

use super::rbac::Rule;
use super::{Attributes, ResourceAttributes};
use crate::cache::{Cache, Caches};

/// Answers for nodes.
pub(crate) struct NodeAuthorizer {
    rules: Vec<Rule>,
}

impl NodeAuthorizer {
    /// With the rules of the role `system:node`.
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        NodeAuthorizer { rules }
    }

    /// Whether the node may do this; false for who is no node.
    pub(crate) async fn allows(&self, attributes: &Attributes<'_>, caches: &Caches) -> bool {
        let Some(node) = attributes.user.node_name() else { return false };
        let Some(resource) = attributes.resource else { return self.by_rules(attributes) };
        match (resource.group, resource.resource, resource.subresource) {
            ("", "secrets" | "configmaps" | "persistentvolumeclaims", "")
            | ("", "serviceaccounts", "token") => {
                let verbs: &[&str] = match resource.resource {
                    "serviceaccounts" => &["create"],
                    "persistentvolumeclaims" => &["get"],
                    _ => &["get", "list", "watch"],
                };
                verbs.contains(&attributes.verb)
                    && !resource.name.is_empty()
                    && referenced(node, &resource, caches).await
            }
            ("coordination.k8s.io", "leases", "") => {
                resource.namespace == "kube-node-lease"
                    && (resource.name == node
                        || resource.name.is_empty() && attributes.verb == "create")
                    && self.by_rules(attributes)
            }
            _ => self.by_rules(attributes),
        }
    }

    fn by_rules(&self, attributes: &Attributes<'_>) -> bool {
        self.rules.iter().any(|rule| rule.allows(attributes))
    }
}

async fn referenced(node: &str, resource: &ResourceAttributes<'_>, caches: &Caches) -> bool {
    let Ok(pods) = caches.of("pods").await else { return false };
    if any_pod_refers(&pods, node, resource) {
        return true;
    }
    // The pod may have been bound a moment ago.
    caches.freshen(&pods).await.is_ok() && any_pod_refers(&pods, node, resource)
}

fn any_pod_refers(pods: &Cache, node: &str, resource: &ResourceAttributes<'_>) -> bool {
    let bound = format!("\"nodeName\":\"{node}\"");
    let named = format!("\"{}\"", resource.name);
    let contains = |wire: &[u8], what: &str| wire.windows(what.len()).any(|w| w == what.as_bytes());
    pods.snapshot(&format!("{}/", resource.namespace)).objects.iter().any(|pod| {
        // The text is searched first: most pods are ruled out without parsing.
        contains(&pod.wire, &named)
            && contains(&pod.wire, &bound)
            && refers(&pod.value(), node, resource)
    })
}

fn refers(pod: &Value, node: &str, resource: &ResourceAttributes<'_>) -> bool {
    let spec = &pod["spec"];
    if spec["nodeName"] != node {
        return false;
    }
    if resource.resource == "serviceaccounts" {
        return spec["serviceAccountName"] == resource.name;
    }
    mentions(spec, resource.resource, resource.name)
}

/// Whether a pod's spec names the object anywhere that a pod can name such an object.
fn mentions(value: &Value, resource: &str, name: &str) -> bool {
    let named = |v: &Value, keys: &[&str], field: &str| {
        keys.iter().any(|key| v.get(key).is_some_and(|r| r[field] == name))
    };
    match value {
        Value::Array(items) => items.iter().any(|item| mentions(item, resource, name)),
        Value::Object(map) => {
            let here = match resource {
                "secrets" => {
                    named(value, &["secretKeyRef", "secretRef"], "name")
                        || named(value, &["secret"], "secretName")
                        || named(value, &["secret"], "name")
                        || value["imagePullSecrets"]
                            .as_array()
                            .is_some_and(|all| all.iter().any(|s| s["name"] == name))
                }
                "configmaps" => {
                    named(value, &["configMapKeyRef", "configMapRef", "configMap"], "name")
                }
                _ => named(value, &["persistentVolumeClaim"], "claimName"),
            };
            here || map.values().any(|v| mentions(v, resource, name))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_refers_to_what_it_mounts_and_reads() {
        let pod = json!({"spec": {"nodeName": "n", "serviceAccountName": "sa",
            "volumes": [{"secret": {"secretName": "s"}}, {"projected": {"sources": [{"configMap": {"name": "c"}}]}}],
            "containers": [{"envFrom": [{"secretRef": {"name": "t"}}]}]}});
        for (resource, name, want) in [
            ("secrets", "s", true),
            ("secrets", "t", true),
            ("secrets", "c", false),
            ("configmaps", "c", true),
            ("serviceaccounts", "sa", true),
            ("persistentvolumeclaims", "s", false),
        ] {
            let r = ResourceAttributes { resource, name, ..ResourceAttributes::default() };
            assert_eq!(refers(&pod, "n", &r), want, "{resource} {name}");
            assert!(!refers(&pod, "m", &r));
        }
    }
}
