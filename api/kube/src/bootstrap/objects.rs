//! Namespaces, priority classes and what else is there from the start.

use serde_json::json;

use super::Wanted;
use crate::config::Config;

/// The namespaces that are always there.
pub(super) fn namespaces() -> Vec<Wanted> {
    ["default", "kube-node-lease", "kube-public", "kube-system"]
        .into_iter()
        .map(|name| {
            let object = json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            });
            Wanted::once("", "namespaces", object)
        })
        .collect()
}

/// Everything but namespaces and RBAC.
pub(super) fn all(config: &Config) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = [
        (
            "system-node-critical",
            2_000_001_000_i64,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
    .into_iter()
    .map(|(name, value, description)| {
        let object = json!({
            "metadata": {"name": name}, "value": value, "globalDefault": false,
            "description": description, "preemptionPolicy": "PreemptLowerPriority",
        });
        Wanted::once("scheduling.k8s.io", "priorityclasses", object)
    })
    .collect();
    let cidrs: Vec<String> =
        config.service_cluster_ip_range.iter().map(|range| range.trunc().to_string()).collect();
    let object = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}});
    all.push(Wanted::once("networking.k8s.io", "servicecidrs", object));
    if let Some(ca) = &config.client_ca {
        let object = json!({
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": {"client-ca-file": ca},
        });
        all.push(Wanted::once("", "configmaps", object));
    }
    all
}
