//! NodeResourcesFit: what a pod requests must be free, and the emptier node is better.

use super::{Change, Normalize, Plugin, Reason, ResourceSet, SCORE_MAX, Score, Verdict};
use crate::node::NodeView;
use crate::pod::PodView;

pub(super) const ENTRY: Plugin = Plugin {
    name: "NodeResourcesFit",
    wakes_on: &[Change::NodeAdded, Change::NodeAllocatable, Change::PodRemoved],
    filter: Some(filter),
    score: Some(Score {
        weight: 1,
        applies: |_| true,
        score: least_allocated,
        normalize: Normalize::AsIs,
    }),
};

fn filter(pod: &PodView, node: &NodeView) -> Verdict {
    let mut resources = ResourceSet::default();
    let mut resolvable = true;
    let mut check = |resource, request: i64, allocatable: i64, taken: i64| {
        if request > 0 && request > allocatable - taken {
            resources.insert(resource);
            resolvable &= request <= allocatable;
        }
    };
    let (request, offer, taken) = (&pod.requests, &node.allocatable, &node.requested);
    check(ResourceSet::PODS, 1, node.allowed_pods, node.pods);
    check(ResourceSet::CPU, request.milli_cpu, offer.milli_cpu, taken.milli_cpu);
    check(ResourceSet::MEMORY, request.memory, offer.memory, taken.memory);
    check(
        ResourceSet::EPHEMERAL_STORAGE,
        request.ephemeral_storage,
        offer.ephemeral_storage,
        taken.ephemeral_storage,
    );
    for (resource, (name, amount)) in (ResourceSet::SCALARS..).zip(&request.scalars) {
        check(resource, *amount, offer.scalar(name), taken.scalar(name));
    }
    if resources == ResourceSet::default() {
        return Verdict::Fits;
    }
    Verdict::Unfit(Reason::Insufficient { resources, resolvable })
}

/// The mean free share of cpu and memory after the pod has come.
fn least_allocated(pod: &PodView, node: &NodeView) -> i64 {
    let share = |request: i64, taken: i64, offer: i64| match offer {
        0 => None,
        _ if request + taken > offer => Some(0),
        _ => Some((offer - taken - request) * SCORE_MAX / offer),
    };
    let (request, offer, taken) = (&pod.scored_requests, &node.allocatable, &node.scored_requested);
    let cpu = share(request.milli_cpu, taken.milli_cpu, offer.milli_cpu);
    let memory = share(request.memory, taken.memory, offer.memory);
    match (cpu, memory) {
        (Some(cpu), Some(memory)) => (cpu + memory) / 2,
        (one, other) => one.or(other).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures;
    use super::*;

    fn pod(cpu: &str, memory: &str) -> PodView {
        fixtures::pod(json!({"containers": [
            {"resources": {"requests": {"cpu": cpu, "memory": memory, "example.com/gpu": "1"}}},
        ]}))
    }

    fn node(pods: &str) -> NodeView {
        fixtures::node(json!({"status": {"allocatable": {
            "cpu": "2", "memory": "4Gi", "pods": pods, "example.com/gpu": "1",
        }}}))
    }

    #[test]
    fn every_resource_that_is_short_is_named() {
        let (mut taken, pod) = (node("1"), pod("1500m", "1Gi"));
        assert_eq!(filter(&pod, &taken), Verdict::Fits);
        taken.place(&pod);
        let Verdict::Unfit(Reason::Insufficient { resources, resolvable }) = filter(&pod, &taken)
        else {
            panic!("fits");
        };
        assert!(resolvable, "an empty node would do");
        let short = [ResourceSet::PODS, ResourceSet::CPU, ResourceSet::SCALARS];
        assert!(short.into_iter().all(|one| resources.contains(one)));
        assert!(!resources.contains(ResourceSet::MEMORY));
    }

    #[test]
    fn what_no_empty_node_has_is_not_resolvable() {
        let verdict = filter(&pod("3", "1Gi"), &node("10"));
        assert!(matches!(verdict, Verdict::Unfit(reason) if !reason.is_resolvable()));
    }

    #[test]
    fn the_emptier_node_scores_higher() {
        let (empty, mut busy) = (node("10"), node("10"));
        busy.place(&pod("1", "1Gi"));
        let next = pod("500m", "1Gi");
        assert!(least_allocated(&next, &empty) > least_allocated(&next, &busy));
        assert_eq!(least_allocated(&next, &empty), 75);
    }
}
