//! NodeName: a pod that names its node runs there and nowhere else.

use super::{Change, Plugin, Reason, Verdict};
use crate::node::NodeView;
use crate::pod::PodView;

pub(super) const ENTRY: Plugin = Plugin {
    name: "NodeName",
    wakes_on: &[Change::NodeAdded],
    filter: Some(filter),
    ..Plugin::EMPTY
};

fn filter(pod: &PodView, node: &NodeView) -> Verdict {
    match &pod.node_name {
        Some(name) if *name != node.name => {
            Verdict::Unfit(Reason::Unresolvable("node(s) didn't match the requested node name"))
        }
        _ => Verdict::Fits,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures;
    use super::*;

    #[test]
    fn only_the_named_node_fits() {
        let node = fixtures::node(json!({"metadata": {"name": "a"}}));
        assert_eq!(filter(&fixtures::pod(json!({"nodeName": "a"})), &node), Verdict::Fits);
        assert_eq!(filter(&fixtures::pod(json!({})), &node), Verdict::Fits);
        assert_ne!(filter(&fixtures::pod(json!({"nodeName": "b"})), &node), Verdict::Fits);
    }
}
