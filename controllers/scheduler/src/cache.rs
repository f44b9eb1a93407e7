//! What is placed where: nodes with the pods on them, those assumed but not yet bound included.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::node::{NodeChanges, NodeView};
use crate::objects::Node;
use crate::pod::PodView;

/// A node's place in the cache.
pub(crate) type Slot = usize;

struct Placed {
    pod: Arc<PodView>,
    node: Slot,
    assumed: bool,
}

/// Nodes and placed pods, kept current by deltas.
#[derive(Default)]
pub(crate) struct Cache {
    nodes: Vec<NodeView>,
    by_name: BTreeMap<Arc<str>, Slot>,
    /// Slots of nodes that exist.
    live: Vec<Slot>,
    pods: BTreeMap<Arc<str>, Placed>,
}

impl Cache {
    /// Slots of the nodes that exist.
    pub(crate) fn live(&self) -> &[Slot] {
        &self.live
    }

    pub(crate) fn node(&self, slot: Slot) -> &NodeView {
        &self.nodes[slot]
    }

    /// Names of the nodes that exist.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.live.iter().map(|slot| &self.nodes[*slot].name)
    }

    /// Uids of all pods here.
    pub(crate) fn pod_uids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pods.keys()
    }

    pub(crate) fn update_node(&mut self, node: Node) -> (Slot, NodeChanges) {
        let slot = self.slot(node.metadata.name.as_deref().unwrap_or(""));
        let changes = self.nodes[slot].update(node);
        if changes.added {
            self.live.push(slot);
        }
        (slot, changes)
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        if let Some(slot) = self.by_name.get(name).copied() {
            self.nodes[slot].vanish();
            self.live.retain(|one| *one != slot);
        }
    }

    /// Takes in a pod that the API says has a node. Answers the slot if it now holds less than
    /// before.
    pub(crate) fn update_pod(&mut self, pod: Arc<PodView>) -> Option<Slot> {
        let name = pod.node_name.clone()?;
        let before = self.remove_pod(&pod.uid);
        let slot = self.slot(&name);
        self.put(pod, slot, false);
        let (old, old_slot) = before?;
        let now = &self.pods.get(&old.uid)?.pod.requests;
        let shrunk = old_slot != slot
            || now.milli_cpu < old.requests.milli_cpu
            || now.memory < old.requests.memory;
        shrunk.then_some(old_slot)
    }

    /// Places a pod before its binding is written.
    pub(crate) fn assume(&mut self, pod: Arc<PodView>, slot: Slot) {
        self.put(pod, slot, true);
    }

    /// True if the pod is placed, but not yet seen bound.
    pub(crate) fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|placed| placed.assumed)
    }

    /// Takes back an assumed placement. None if the pod is gone, or bound after all.
    pub(crate) fn forget(&mut self, uid: &str) -> Option<Slot> {
        if !self.is_assumed(uid) {
            return None;
        }
        self.remove_pod(uid).map(|(_, slot)| slot)
    }

    /// Removes a pod; itself and where it was.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> Option<(Arc<PodView>, Slot)> {
        let placed = self.pods.remove(uid)?;
        self.nodes[placed.node].displace(&placed.pod);
        Some((placed.pod, placed.node))
    }

    fn put(&mut self, pod: Arc<PodView>, slot: Slot, assumed: bool) {
        self.nodes[slot].place(&pod);
        let replaced = self.pods.insert(pod.uid.clone(), Placed { pod, node: slot, assumed });
        assert!(replaced.is_none(), "a pod was placed twice");
    }

    fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let name: Arc<str> = name.into();
        // A slot that neither a node nor a pod needs any more is used again.
        let unused = |node: &NodeView| !node.exists && node.pods == 0;
        let slot = match self.nodes.iter().position(unused) {
            Some(slot) => {
                self.by_name.remove(&self.nodes[slot].name);
                self.nodes[slot] = NodeView::unknown(name.clone());
                slot
            }
            None => {
                self.nodes.push(NodeView::unknown(name.clone()));
                self.nodes.len() - 1
            }
        };
        self.by_name.insert(name, slot);
        slot
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::fixtures;

    fn node(name: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    fn pod(uid: &str, node: Option<&str>) -> Arc<PodView> {
        let mut pod = fixtures::pod(json!({
            "nodeName": node,
            "containers": [{"resources": {"requests": {"cpu": "1"}}}],
        }));
        pod.uid = uid.into();
        Arc::new(pod)
    }

    #[test]
    fn an_assumed_pod_counts_until_forgotten_and_once_when_confirmed() {
        let mut cache = Cache::default();
        let (slot, _) = cache.update_node(node("a"));
        cache.assume(pod("u", None), slot);
        assert_eq!(cache.node(slot).requested.milli_cpu, 1000);
        cache.update_pod(pod("u", Some("a")));
        assert_eq!(cache.node(slot).requested.milli_cpu, 1000);
        assert_eq!(cache.forget("u"), None, "it is bound");
        cache.remove_pod("u");
        assert_eq!((cache.node(slot).requested.milli_cpu, cache.node(slot).pods), (0, 0));
    }

    #[test]
    fn a_pod_seen_before_its_node_counts_when_the_node_comes() {
        let mut cache = Cache::default();
        cache.update_pod(pod("u", Some("a")));
        assert!(cache.live().is_empty());
        let (slot, changes) = cache.update_node(node("a"));
        assert!(changes.added);
        assert_eq!(cache.node(slot).requested.milli_cpu, 1000);
    }

    #[test]
    fn a_node_that_goes_and_comes_back_keeps_its_pods() {
        let mut cache = Cache::default();
        cache.update_node(node("a"));
        cache.update_pod(pod("u", Some("a")));
        cache.remove_node("a");
        cache.update_node(node("b"));
        assert_eq!(cache.live().len(), 1);
        let (slot, _) = cache.update_node(node("a"));
        assert_eq!(cache.node(slot).pods, 1);
    }
}
