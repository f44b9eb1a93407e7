//! The plugins, one a file, in the order in which they are asked.

use crate::node::NodeView;
use crate::pod::PodView;

mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod taint_toleration;

/// Every plugin; a plugin's place here is its number in a `PluginSet`.
pub(crate) const PLUGINS: &[Plugin] = &[
    node_unschedulable::ENTRY,
    node_name::ENTRY,
    taint_toleration::ENTRY,
    node_affinity::ENTRY,
    node_ports::ENTRY,
    node_resources_fit::ENTRY,
    node_resources_balanced_allocation::ENTRY,
];

/// The best score of a plugin for a node, before its weight.
pub(crate) const SCORE_MAX: i64 = 100;

/// One plugin.
pub(crate) struct Plugin {
    /// Its name as in the scheduler's configuration.
    pub(crate) name: &'static str,
    /// What can make a pod fit that this plugin rejected.
    pub(crate) wakes_on: &'static [Change],
    /// Says whether a pod may run on a node.
    pub(crate) filter: Option<fn(&PodView, &NodeView) -> Verdict>,
    /// Says how well a pod would run on a node.
    pub(crate) score: Option<Score>,
}

impl Plugin {
    /// A plugin that does nothing.
    pub(crate) const EMPTY: Self = Self { name: "", wakes_on: &[], filter: None, score: None };
}

/// How a plugin scores.
pub(crate) struct Score {
    /// Weight of the score among all.
    pub(crate) weight: i64,
    /// False for pods for which all nodes are alike.
    pub(crate) applies: fn(&PodView) -> bool,
    /// The raw score.
    pub(crate) score: fn(&PodView, &NodeView) -> i64,
    /// How raw scores become scores of 0 to 100.
    pub(crate) normalize: Normalize,
}

/// How raw scores become scores of 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Normalize {
    /// They are.
    AsIs,
    /// As a share of the highest.
    ShareOfHighest,
    /// The same, and then the lowest is best.
    ShareOfHighestReversed,
}

/// What a filter says of a pod and a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The pod may run there.
    Fits,
    /// It may not.
    Unfit(Reason),
}

/// Why a pod may not run on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Something that removing pods cannot change.
    Unresolvable(&'static str),
    /// Something that removing pods could change.
    Resolvable(&'static str),
    /// Too little is free of these resources; `resolvable` if an empty node would do.
    Insufficient { resources: ResourceSet, resolvable: bool },
}

impl Reason {
    /// True if removing pods from the node could help.
    pub(crate) fn is_resolvable(self) -> bool {
        match self {
            Reason::Unresolvable(_) => false,
            Reason::Resolvable(_) => true,
            Reason::Insufficient { resolvable, .. } => resolvable,
        }
    }
}

/// A set of resources: four that every node has, then the pod's scalar resources by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResourceSet(pub(crate) u64);

impl ResourceSet {
    pub(crate) const PODS: u32 = 0;
    pub(crate) const CPU: u32 = 1;
    pub(crate) const MEMORY: u32 = 2;
    pub(crate) const EPHEMERAL_STORAGE: u32 = 3;
    pub(crate) const SCALARS: u32 = 4;

    pub(crate) fn insert(&mut self, resource: u32) {
        self.0 |= 1 << resource.min(63);
    }

    pub(crate) fn contains(self, resource: u32) -> bool {
        self.0 & (1 << resource.min(63)) != 0
    }
}

/// What can change in a cluster that makes a pod fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A node came.
    NodeAdded,
    /// A node offers other amounts.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints changed, or whether it is cordoned.
    NodeTaints,
    /// A pod with a node went, or holds less.
    PodRemoved,
}

/// A set of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PluginSet(u32);

impl PluginSet {
    pub(crate) fn insert(&mut self, plugin: usize) {
        self.0 |= 1 << plugin;
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'static Plugin> {
        PLUGINS.iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, p)| p)
    }
}

/// Asks every filter in turn; the first that rejects, and why.
pub(crate) fn filter(pod: &PodView, node: &NodeView) -> Option<(usize, Reason)> {
    PLUGINS.iter().enumerate().find_map(|(at, plugin)| match plugin.filter?(pod, node) {
        Verdict::Fits => None,
        Verdict::Unfit(reason) => Some((at, reason)),
    })
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! Pods and nodes for the tests of plugins, from JSON.

    use serde_json::{Value, json};

    use crate::node::NodeView;
    use crate::pod::PodView;

    pub(crate) fn pod(spec: Value) -> PodView {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
        PodView::new(serde_json::from_value(pod).unwrap())
    }

    pub(crate) fn node(mut object: Value) -> NodeView {
        if object["metadata"]["name"].is_null() {
            object["metadata"]["name"] = json!("node-1");
        }
        let name = object["metadata"]["name"].as_str().unwrap_or("").into();
        let mut view = NodeView::unknown(name);
        view.update(serde_json::from_value(object).unwrap());
        view
    }
}
