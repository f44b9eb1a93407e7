//! NodeUnschedulable: keeps pods off cordoned nodes, unless they tolerate the taint that says so.

use super::taint_toleration::tolerates;
use super::{Change, Plugin, Reason, Verdict};
use crate::node::NodeView;
use crate::pod::PodView;

pub(super) const ENTRY: Plugin = Plugin {
    name: "NodeUnschedulable",
    wakes_on: &[Change::NodeAdded, Change::NodeTaints],
    filter: Some(filter),
    ..Plugin::EMPTY
};

fn filter(pod: &PodView, node: &NodeView) -> Verdict {
    let tolerated = || {
        pod.tolerations
            .iter()
            .any(|one| tolerates(one, "node.kubernetes.io/unschedulable", "", "NoSchedule"))
    };
    if node.unschedulable && !tolerated() {
        return Verdict::Unfit(Reason::Unresolvable("node(s) were unschedulable"));
    }
    Verdict::Fits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures;
    use super::*;

    #[test]
    fn a_cordoned_node_takes_only_tolerating_pods() {
        let node = fixtures::node(json!({"spec": {"unschedulable": true}}));
        assert_ne!(filter(&fixtures::pod(json!({})), &node), Verdict::Fits);
        let tolerating = json!({"tolerations": [
            {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
        ]});
        assert_eq!(filter(&fixtures::pod(tolerating), &node), Verdict::Fits);
    }
}
