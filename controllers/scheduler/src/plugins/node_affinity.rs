//! NodeAffinity: nodeSelector and required node affinity filter, preferred node affinity scores.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use super::{Change, Normalize, Plugin, Reason, Score, Verdict};
use crate::node::NodeView;
use crate::pod::PodView;

pub(super) const ENTRY: Plugin = Plugin {
    name: "NodeAffinity",
    wakes_on: &[Change::NodeAdded, Change::NodeLabels],
    filter: Some(filter),
    score: Some(Score {
        weight: 2,
        applies: |pod| !pod.preferred_affinity.is_empty(),
        score,
        normalize: Normalize::ShareOfHighest,
    }),
};

fn filter(pod: &PodView, node: &NodeView) -> Verdict {
    let selected = pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let wanted = pod
        .required_affinity
        .as_ref()
        .is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(term, node)));
    if selected && wanted {
        return Verdict::Fits;
    }
    Verdict::Unfit(Reason::Unresolvable("node(s) didn't match Pod's node affinity/selector"))
}

fn score(pod: &PodView, node: &NodeView) -> i64 {
    let terms = pod.preferred_affinity.iter();
    terms
        .filter(|term| term.weight != 0 && matches_or_empty(&term.preference, node))
        .map(|term| i64::from(term.weight))
        .sum()
}

/// A term without any requirement matches nothing.
fn matches(term: &NodeSelectorTerm, node: &NodeView) -> bool {
    let given = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    (given(&term.match_expressions) || given(&term.match_fields)) && matches_or_empty(term, node)
}

fn matches_or_empty(term: &NodeSelectorTerm, node: &NodeView) -> bool {
    let labels = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    labels.into_iter().all(|one| holds(one, node.labels.get(&one.key).map(String::as_str)))
        && fields.into_iter().all(|one| {
            let value = (one.key == "metadata.name").then_some(&*node.name);
            holds(one, value)
        })
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let mut values = requirement.values.iter().flatten();
    let number = |text: &str| text.parse::<i64>().ok();
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.any(|one| one == value)),
        "NotIn" => value.is_none_or(|value| !values.any(|one| one == value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" | "Lt" => {
            let limit = values.next().and_then(|text| number(text));
            let (Some(value), Some(limit)) = (value.and_then(number), limit) else {
                return false;
            };
            if requirement.operator == "Gt" { value > limit } else { value < limit }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures;
    use super::*;

    fn node() -> NodeView {
        fixtures::node(json!({
            "metadata": {"name": "a", "labels": {"zone": "z1", "cores": "8"}},
        }))
    }

    fn required(terms: Value) -> PodView {
        let required = json!({"nodeSelectorTerms": terms});
        fixtures::pod(json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": required,
        }}}))
    }

    #[test]
    fn every_operator_means_what_it_says() {
        for (expression, fits) in [
            (json!({"key": "zone", "operator": "In", "values": ["z1", "z2"]}), true),
            (json!({"key": "zone", "operator": "In", "values": ["z3"]}), false),
            (json!({"key": "zone", "operator": "NotIn", "values": ["z1"]}), false),
            (json!({"key": "none", "operator": "NotIn", "values": ["z1"]}), true),
            (json!({"key": "zone", "operator": "Exists"}), true),
            (json!({"key": "zone", "operator": "DoesNotExist"}), false),
            (json!({"key": "cores", "operator": "Gt", "values": ["7"]}), true),
            (json!({"key": "cores", "operator": "Lt", "values": ["8"]}), false),
            (json!({"key": "zone", "operator": "Gt", "values": ["1"]}), false),
        ] {
            let pod = required(json!([{"matchExpressions": [expression]}]));
            assert_eq!(filter(&pod, &node()) == Verdict::Fits, fits, "{expression}");
        }
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_one_matches_nothing() {
        let by_name = |name| {
            json!({"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": [name]},
            ]})
        };
        assert_eq!(filter(&required(json!([by_name("b"), by_name("a")])), &node()), Verdict::Fits);
        assert_ne!(filter(&required(json!([{}])), &node()), Verdict::Fits);
        assert_ne!(filter(&required(json!([])), &node()), Verdict::Fits);
    }

    #[test]
    fn the_selector_must_match_beside_the_affinity() {
        let pod = |zone| fixtures::pod(json!({"nodeSelector": {"zone": zone}}));
        assert_eq!(filter(&pod("z1"), &node()), Verdict::Fits);
        assert_ne!(filter(&pod("z2"), &node()), Verdict::Fits);
    }

    #[test]
    fn preferences_add_up_by_weight() {
        let prefer = |weight, zone| {
            json!({"weight": weight, "preference": {"matchExpressions": [
                {"key": "zone", "operator": "In", "values": [zone]},
            ]}})
        };
        let pod = fixtures::pod(json!({"affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution":
                [prefer(5, "z1"), prefer(7, "z2"), prefer(11, "z1")],
        }}}));
        assert_eq!(score(&pod, &node()), 16);
    }
}
