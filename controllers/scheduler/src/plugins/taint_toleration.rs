//! TaintToleration: keeps pods off nodes whose taints they do not tolerate, and prefers nodes with
//! fewer taints that would rather not have them.

use k8s_openapi::api::core::v1::Toleration;

use super::{Change, Normalize, Plugin, Reason, Score, Verdict};
use crate::node::NodeView;
use crate::pod::PodView;

pub(super) const ENTRY: Plugin = Plugin {
    name: "TaintToleration",
    wakes_on: &[Change::NodeAdded, Change::NodeTaints],
    filter: Some(filter),
    score: Some(Score {
        weight: 3,
        applies: |_| true,
        score,
        normalize: Normalize::ShareOfHighestReversed,
    }),
};

fn filter(pod: &PodView, node: &NodeView) -> Verdict {
    let unwanted = node.taints.iter().any(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerated(pod, &taint.key, taint.value.as_deref(), &taint.effect)
    });
    if unwanted {
        return Verdict::Unfit(Reason::Unresolvable("node(s) had untolerated taint(s)"));
    }
    Verdict::Fits
}

fn score(pod: &PodView, node: &NodeView) -> i64 {
    let unwanted = node.taints.iter().filter(|taint| {
        taint.effect == "PreferNoSchedule"
            && !tolerated(pod, &taint.key, taint.value.as_deref(), &taint.effect)
    });
    i64::try_from(unwanted.count()).unwrap_or(i64::MAX)
}

fn tolerated(pod: &PodView, key: &str, value: Option<&str>, effect: &str) -> bool {
    pod.tolerations.iter().any(|one| tolerates(one, key, value.unwrap_or(""), effect))
}

/// True if the toleration covers the taint. upstream: api core/v1, Toleration.ToleratesTaint
pub(super) fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if given(&toleration.effect) && toleration.effect.as_deref() != Some(effect) {
        return false;
    }
    if given(&toleration.key) && toleration.key.as_deref() != Some(key) {
        return false;
    }
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => toleration.value.as_deref().unwrap_or("") == value,
        Some("Exists") => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures;
    use super::*;

    #[test]
    fn a_taint_must_be_tolerated_by_key_value_and_effect() {
        let node = fixtures::node(json!({
            "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
        }));
        for (tolerations, fits) in [
            (json!([]), false),
            (json!([{"key": "gpu", "value": "yes"}]), true),
            (json!([{"key": "gpu", "operator": "Equal", "value": "no"}]), false),
            (json!([{"key": "gpu", "operator": "Exists"}]), true),
            (json!([{"operator": "Exists"}]), true),
            (json!([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]), false),
            (json!([{"key": "other", "operator": "Exists"}]), false),
        ] {
            let pod = fixtures::pod(json!({"tolerations": tolerations}));
            assert_eq!(filter(&pod, &node) == Verdict::Fits, fits, "{:?}", pod.tolerations);
        }
    }

    #[test]
    fn a_taint_that_only_prefers_scores_and_does_not_filter() {
        let node = fixtures::node(json!({
            "spec": {"taints": [{"key": "slow", "effect": "PreferNoSchedule"}]},
        }));
        let pod = fixtures::pod(json!({}));
        assert_eq!((filter(&pod, &node), score(&pod, &node)), (Verdict::Fits, 1));
    }
}
