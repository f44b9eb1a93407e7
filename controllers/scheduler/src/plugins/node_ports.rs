//! NodePorts: a host port is taken once on a node.

use super::{Change, Plugin, Reason, Verdict};
use crate::node::NodeView;
use crate::pod::PodView;

pub(super) const ENTRY: Plugin = Plugin {
    name: "NodePorts",
    wakes_on: &[Change::NodeAdded, Change::PodRemoved],
    filter: Some(filter),
    ..Plugin::EMPTY
};

fn filter(pod: &PodView, node: &NodeView) -> Verdict {
    let taken = |port| node.ports.iter().any(|other| other.conflicts(port));
    if pod.ports.iter().any(taken) {
        return Verdict::Unfit(Reason::Resolvable(
            "node(s) didn't have free ports for the requested pod ports",
        ));
    }
    Verdict::Fits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures;
    use super::*;

    #[test]
    fn a_taken_port_is_free_again_when_its_pod_goes() {
        let pod = fixtures::pod(json!({"containers": [{"ports": [{"hostPort": 80}]}]}));
        let mut node = fixtures::node(json!({}));
        node.place(&pod);
        assert_ne!(filter(&pod, &node), Verdict::Fits);
        node.displace(&pod);
        assert_eq!(filter(&pod, &node), Verdict::Fits);
    }
}
