//! Which of a controller's pods to delete first.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keelson_controller_runtime::Watched;

use crate::objects::Pod;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods to delete first. `related` are the pods that share a purpose with them: of two
/// pods, the one on a node with more of those that are ready goes first.
/// upstream: ActivePodsWithRanks
pub(crate) fn first_to_go(
    pods: &[Arc<Pod>],
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count >= pods.len() {
        return pods.to_vec();
    }
    let mut on_node = BTreeMap::<&str, usize>::new();
    for pod in related.iter().filter(|pod| pod.is_active() && pod.is_ready()) {
        *on_node.entry(pod.node_name()).or_default() += 1;
    }
    let neighbours = |pod: &Pod| on_node.get(pod.node_name()).copied().unwrap_or(0);
    let mut ranked = pods.to_vec();
    ranked.sort_by(|a, b| {
        let assigned = |pod: &Pod| !pod.node_name().is_empty();
        (assigned(a).cmp(&assigned(b)))
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| a.is_ready().cmp(&b.is_ready()))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| neighbours(b).cmp(&neighbours(a)))
            .then_with(|| younger_first(a.ready_since(), b.ready_since(), a, b, now))
            .then_with(|| b.restarts().cmp(&a.restarts()))
            .then_with(|| younger_first(a.created(), b.created(), a, b, now))
    });
    ranked.truncate(count);
    ranked
}

fn phase_rank(pod: &Pod) -> u8 {
    match pod.phase() {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(DELETION_COST))
        .and_then(|cost| cost.parse().ok())
        .unwrap_or(0)
}

/// Younger goes first; ages of the same power of two are alike and go by uid, so that pods of one
/// rollout are not always deleted in the order in which they came.
fn younger_first(
    a_time: Option<Timestamp>,
    b_time: Option<Timestamp>,
    a: &Pod,
    b: &Pod,
    now: Timestamp,
) -> Ordering {
    let (Some(a_time), Some(b_time)) = (a_time, b_time) else {
        return a_time.is_some().cmp(&b_time.is_some());
    };
    if a_time == b_time {
        return Ordering::Equal;
    }
    let rank = |time: Timestamp| {
        u128::try_from(now.duration_since(time).as_nanos()).ok().and_then(u128::checked_ilog2)
    };
    rank(a_time).cmp(&rank(b_time)).then_with(|| a.uid().cmp(b.uid()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, object: Value) -> Arc<Pod> {
        let mut pod: Pod = serde_json::from_value(object).unwrap();
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(name.into());
        Arc::new(pod)
    }

    fn ready(node: &str, since: &str) -> Value {
        json!({"spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": since},
        ]}})
    }

    #[test]
    fn what_is_worth_least_goes_first() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let mut cheap = ready("b", "2026-01-01T00:00:00Z");
        cheap["metadata"] = json!({"annotations": {DELETION_COST: "-1"}});
        let pods = [
            pod("old", ready("b", "2026-01-01T00:00:00Z")),
            pod("young", ready("b", "2026-01-01T11:59:00Z")),
            pod("crowded", ready("a", "2026-01-01T00:00:00Z")),
            pod("cheap", cheap),
            pod("unready", json!({"spec": {"nodeName": "a"}, "status": {"phase": "Running"}})),
            pod("pending", json!({"spec": {"nodeName": "a"}, "status": {"phase": "Pending"}})),
            pod("unassigned", json!({"status": {"phase": "Pending"}})),
        ];
        let mut related = pods.to_vec();
        for name in ["x", "y", "z"] {
            related.push(pod(name, ready("a", "2026-01-01T00:00:00Z")));
        }
        let order = first_to_go(&pods, &related, 6, now);
        let names: Vec<_> = order.iter().map(|pod| pod.uid()).collect();
        assert_eq!(names, ["unassigned", "pending", "unready", "cheap", "crowded", "young"]);
    }
}
