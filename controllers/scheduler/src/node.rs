//! A node as decisions see it: what it offers, what is taken, who may come.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Taint;

use crate::objects::Node;
use crate::pod::{HostPort, PodView};
use crate::quantity;
use crate::resources::Resources;

/// A node, ready to be compared with pods.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeView {
    pub(crate) name: Arc<str>,
    /// False while only pods of it are known, or after it was deleted.
    pub(crate) exists: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Resources,
    pub(crate) allowed_pods: i64,
    /// Requests of all pods placed here.
    pub(crate) requested: Resources,
    /// The same with a minimum for containers that ask for nothing; for scores.
    pub(crate) scored_requested: Resources,
    pub(crate) pods: i64,
    pub(crate) ports: Vec<HostPort>,
}

impl NodeView {
    /// A node of which only the name is known.
    pub(crate) fn unknown(name: Arc<str>) -> Self {
        Self { name, ..Self::default() }
    }

    /// Takes over what the API says of the node; what is placed on it stays. Answers what of it
    /// changed.
    pub(crate) fn update(&mut self, node: Node) -> NodeChanges {
        let allocatable = node.status.allocatable.unwrap_or_default();
        let allowed_pods =
            allocatable.get("pods").and_then(|pods| quantity::whole(&pods.0)).unwrap_or(0);
        let allocatable = Resources::parse(&allocatable);
        let labels = node.metadata.labels.unwrap_or_default();
        let taints = node.spec.taints.unwrap_or_default();
        let unschedulable = node.spec.unschedulable.unwrap_or(false);
        let changes = NodeChanges {
            added: !self.exists,
            allocatable: self.allocatable != allocatable || self.allowed_pods != allowed_pods,
            labels: self.labels != labels,
            taints: self.taints != taints || self.unschedulable != unschedulable,
        };
        self.exists = true;
        self.labels = labels;
        self.taints = taints;
        self.unschedulable = unschedulable;
        self.allocatable = allocatable;
        self.allowed_pods = allowed_pods;
        changes
    }

    /// Forgets what the API said of the node.
    pub(crate) fn vanish(&mut self) {
        self.exists = false;
        self.labels = BTreeMap::new();
        self.taints = Vec::new();
        self.allocatable = Resources::default();
        self.allowed_pods = 0;
    }

    pub(crate) fn place(&mut self, pod: &PodView) {
        self.requested.add(&pod.requests);
        self.scored_requested.add(&pod.scored_requests);
        self.ports.extend_from_slice(&pod.ports);
        self.pods += 1;
    }

    pub(crate) fn displace(&mut self, pod: &PodView) {
        self.requested.subtract(&pod.requests);
        self.scored_requested.subtract(&pod.scored_requests);
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(at);
            }
        }
        self.pods -= 1;
    }
}

/// Which parts of a node changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeChanges {
    pub(crate) added: bool,
    pub(crate) allocatable: bool,
    pub(crate) labels: bool,
    pub(crate) taints: bool,
}
