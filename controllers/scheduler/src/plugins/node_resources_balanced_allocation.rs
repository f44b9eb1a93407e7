//! NodeResourcesBalancedAllocation: prefers nodes where the pod brings cpu and memory closer to
//! the same share of use.

use super::{Normalize, Plugin, SCORE_MAX, Score};
use crate::node::NodeView;
use crate::pod::PodView;

pub(super) const ENTRY: Plugin = Plugin {
    name: "NodeResourcesBalancedAllocation",
    score: Some(Score {
        weight: 1,
        // A pod that asks for nothing changes no balance.
        applies: |pod| pod.requests.milli_cpu > 0 || pod.requests.memory > 0,
        score,
        normalize: Normalize::AsIs,
    }),
    ..Plugin::EMPTY
};

/// 75 if the balance stays, up to 100 as it gets better, down to 50 as it gets worse.
fn score(pod: &PodView, node: &NodeView) -> i64 {
    let with = balance(node, pod.requests.milli_cpu, pod.requests.memory);
    let without = balance(node, 0, 0);
    SCORE_MAX / 2 + (SCORE_MAX / 2 + with - without) / 2
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // a score, 50 to 100
fn balance(node: &NodeView, milli_cpu: i64, memory: i64) -> i64 {
    let (offer, taken) = (&node.allocatable, &node.requested);
    let share = |amount: i64, of: i64| (of > 0).then(|| (amount as f64 / of as f64).min(1.0));
    let cpu = share(taken.milli_cpu + milli_cpu, offer.milli_cpu);
    let memory = share(taken.memory + memory, offer.memory);
    let deviation = match (cpu, memory) {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures;
    use super::*;

    #[test]
    fn a_pod_that_evens_out_a_node_scores_higher_there() {
        let pod = |cpu, memory| {
            fixtures::pod(json!({"containers": [
                {"resources": {"requests": {"cpu": cpu, "memory": memory}}},
            ]}))
        };
        let offer = json!({"cpu": "4", "memory": "4Gi", "pods": "10"});
        let empty = fixtures::node(json!({"status": {"allocatable": offer}}));
        let mut lopsided = empty.clone();
        lopsided.place(&pod("2", "0"));
        let next = pod("0", "2Gi");
        assert_eq!(score(&next, &lopsided), 87);
        assert_eq!(score(&next, &empty), 62);
    }
}
