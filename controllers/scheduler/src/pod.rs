//! A pod as decisions see it: requests added up, ports collected, the rest as the API has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, PreferredSchedulingTerm, Toleration};
use keelson_controller_runtime::{ObjectKey, Watched};

use crate::objects::{Condition, Container, Pod, PodSpec};
use crate::resources::Resources;

/// A pod, ready to be compared with nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodView {
    pub(crate) key: Option<ObjectKey>,
    pub(crate) uid: Arc<str>,
    pub(crate) generation: Option<i64>,
    pub(crate) priority: i32,
    pub(crate) preempts: bool,
    pub(crate) gated: bool,
    pub(crate) deleting: bool,
    /// It has ended and holds nothing any more.
    pub(crate) terminal: bool,
    pub(crate) scheduler_name: String,
    pub(crate) node_name: Option<Arc<str>>,
    /// What must be free on a node.
    pub(crate) requests: Resources,
    /// The same with a minimum for containers that ask for nothing; for scores.
    pub(crate) scored_requests: Resources,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) required_affinity: Option<NodeSelector>,
    pub(crate) preferred_affinity: Vec<PreferredSchedulingTerm>,
    pub(crate) tolerations: Vec<Toleration>,
    /// The PodScheduled condition as it stands.
    pub(crate) scheduled: Option<Condition>,
}

/// A port that a pod takes on its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) ip: String,
    pub(crate) protocol: String,
    pub(crate) port: u16,
}

const ANY_ADDRESS: &str = "0.0.0.0";

impl HostPort {
    /// True if both cannot be on one node.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY_ADDRESS || other.ip == ANY_ADDRESS)
    }
}

impl PodView {
    /// Reads a pod from the API.
    pub(crate) fn new(pod: Pod) -> Self {
        let key = pod.key();
        let (requests, scored_requests) = requests(&pod.spec);
        let ports = host_ports(&pod.spec);
        let Pod { metadata, spec, status } = pod;
        let affinity =
            spec.affinity.and_then(|affinity| affinity.node_affinity).unwrap_or_default();
        Self {
            uid: metadata.uid.as_deref().unwrap_or("").into(),
            key: Some(key),
            generation: metadata.generation,
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            gated: spec.scheduling_gates.is_some_and(|gates| !gates.is_empty()),
            deleting: metadata.deletion_timestamp.is_some(),
            terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            scheduler_name: spec.scheduler_name.unwrap_or_else(|| "default-scheduler".to_owned()),
            node_name: spec.node_name.filter(|name| !name.is_empty()).map(Arc::from),
            requests,
            scored_requests,
            ports,
            node_selector: spec.node_selector.unwrap_or_default(),
            required_affinity: affinity.required_during_scheduling_ignored_during_execution,
            preferred_affinity: affinity
                .preferred_during_scheduling_ignored_during_execution
                .unwrap_or_default(),
            tolerations: spec.tolerations.unwrap_or_default(),
            scheduled: status
                .conditions
                .unwrap_or_default()
                .into_iter()
                .find(|condition| condition.kind == "PodScheduled"),
        }
    }

    /// Namespace of the pod.
    pub(crate) fn namespace(&self) -> &str {
        self.key.as_ref().map_or("", |key| &key.namespace)
    }

    /// Name of the pod.
    pub(crate) fn name(&self) -> &str {
        self.key.as_ref().map_or("", |key| &key.name)
    }
}

/// What a pod needs at its highest: all containers and sidecars together, or an init container
/// with the sidecars started before it. Amounts given for the whole pod replace that sum.
/// upstream: component-helpers/resource, PodRequests
fn requests(spec: &PodSpec) -> (Resources, Resources) {
    let (mut steady, mut steady_scored) = (Resources::default(), Resources::default());
    let (mut peak, mut peak_scored) = (Resources::default(), Resources::default());
    for container in &spec.containers {
        let (exact, scored) = container_requests(container);
        steady.add(&exact);
        steady_scored.add(&scored);
    }
    let (mut sidecars, mut sidecars_scored) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let (mut exact, mut scored) = container_requests(container);
        if container.restart_policy.as_deref() == Some("Always") {
            steady.add(&exact);
            steady_scored.add(&scored);
            sidecars.add(&exact);
            sidecars_scored.add(&scored);
            peak.raise_to(&sidecars);
            peak_scored.raise_to(&sidecars_scored);
        } else {
            exact.add(&sidecars);
            scored.add(&sidecars_scored);
            peak.raise_to(&exact);
            peak_scored.raise_to(&scored);
        }
    }
    steady.raise_to(&peak);
    steady_scored.raise_to(&peak_scored);
    let of_pod = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if let Some(quantities) = of_pod {
        let whole = Resources::parse(quantities);
        if quantities.contains_key("cpu") {
            steady.milli_cpu = whole.milli_cpu;
            steady_scored.milli_cpu = whole.milli_cpu;
        }
        if quantities.contains_key("memory") {
            steady.memory = whole.memory;
            steady_scored.memory = whole.memory;
        }
    }
    if let Some(overhead) = &spec.overhead {
        let overhead = Resources::parse(overhead);
        steady.add(&overhead);
        steady_scored.milli_cpu += overhead.milli_cpu;
        steady_scored.memory += overhead.memory;
    }
    (steady, steady_scored)
}

fn container_requests(container: &Container) -> (Resources, Resources) {
    let quantities = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let exact = quantities.map(Resources::parse).unwrap_or_default();
    let scored = exact.or_scored_minimum(quantities);
    (exact, scored)
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let ip = port.host_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "::");
            Some(HostPort {
                ip: ip.unwrap_or(ANY_ADDRESS).to_owned(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: port.host_port.filter(|port| *port > 0)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(spec: serde_json::Value) -> PodView {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
        PodView::new(serde_json::from_value(pod).unwrap())
    }

    fn asks(cpu: &str) -> serde_json::Value {
        json!({"requests": {"cpu": cpu}})
    }

    #[test]
    fn the_higher_of_start_and_steady_state_is_requested() {
        let pod = view(json!({
            "containers": [{"resources": asks("100m")}, {"resources": asks("200m")}],
            "initContainers": [
                {"resources": asks("50m"), "restartPolicy": "Always"},
                {"resources": asks("400m")},
            ],
            "overhead": {"cpu": "10m"},
        }));
        assert_eq!(pod.requests.milli_cpu, 460); // 400 with the sidecar's 50 before, and overhead
    }

    #[test]
    fn amounts_of_the_whole_pod_replace_the_sum() {
        let pod = view(json!({
            "containers": [{"resources": asks("100m")}],
            "resources": asks("1"),
        }));
        assert_eq!(pod.requests.milli_cpu, 1000);
    }

    #[test]
    fn a_container_without_requests_is_scored_but_not_counted() {
        let pod = view(json!({"containers": [{}]}));
        assert_eq!(pod.requests, Resources::default());
        assert_eq!(pod.scored_requests.milli_cpu, 100);
    }

    #[test]
    fn host_ports_conflict_by_address_protocol_and_number() {
        let port = |ip: &str, protocol: &str, port| HostPort {
            ip: ip.into(),
            protocol: protocol.into(),
            port,
        };
        assert!(port("0.0.0.0", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("10.0.0.2", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("0.0.0.0", "TCP", 80).conflicts(&port("0.0.0.0", "UDP", 80)));
    }
}
