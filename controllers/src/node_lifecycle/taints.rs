//! The taints that a node's conditions amount to.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{ready_status, status};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that, when true, are taints.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// What may be done about taints that make pods leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    /// The taint may be given.
    Allowed,
    /// Not now; one that the node has may stay, if it is still the right one.
    NotNow,
    /// Nothing is to leave anywhere: all zones are down, which says more about us than about them.
    Never,
}

/// True if the node is to have a taint that makes pods leave, and has not.
pub(super) fn lacks_no_execute(node: &Node) -> bool {
    let Some(key) = trouble(node) else { return false };
    !taints(node).iter().any(|taint| taint.key == key && taint.effect == "NoExecute")
}

/// The node's taints as they are to be, or none if they are.
pub(super) fn plan(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let old = taints(node);
    let mut wanted = Vec::new();
    if let Some(key) = trouble(node) {
        wanted.push((key, "NoSchedule"));
        let has = old.iter().any(|taint| taint.key == key && taint.effect == "NoExecute");
        if eviction == Eviction::Allowed || (eviction == Eviction::NotNow && has) {
            wanted.push((key, "NoExecute"));
        }
    }
    for (condition, key) in PRESSURES {
        if status(node, condition) == Some("True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_wanted = |taint: &Taint| {
        wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect)
    };
    let mut new: Vec<Taint> =
        old.iter().filter(|taint| !is_managed(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if !new.iter().any(|taint| taint.key == key && taint.effect == effect) {
            new.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    (new != old).then_some(new)
}

/// The taint key of a node that is not ready.
fn trouble(node: &Node) -> Option<&'static str> {
    match ready_status(node)? {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or(&[])
}

/// True for the taints that only this controller gives and takes.
fn is_managed(taint: &Taint) -> bool {
    let trouble = [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
    match taint.effect.as_str() {
        "NoExecute" => trouble,
        "NoSchedule" => {
            trouble
                || taint.key == UNSCHEDULABLE
                || PRESSURES.iter().any(|(_, key)| taint.key == *key)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, spec: Value) -> Node {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        serde_json::from_value(json!({"spec": spec, "status": {"conditions": conditions}})).unwrap()
    }

    fn keys(node: &Node, eviction: Eviction) -> Option<Vec<String>> {
        let taints = plan(node, eviction, Timestamp::now())?;
        Some(taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect())
    }

    #[test]
    fn a_condition_gives_a_taint_and_takes_it() {
        assert_eq!(keys(&node("True", json!({})), Eviction::Allowed), None);
        let mut unreachable =
            node("Unknown", json!({"taints": [{"key": "own", "effect": "NoSchedule"}]}));
        let wanted = [
            "own:NoSchedule",
            "node.kubernetes.io/unreachable:NoSchedule",
            "node.kubernetes.io/unreachable:NoExecute",
        ];
        assert_eq!(keys(&unreachable, Eviction::Allowed).unwrap(), wanted);
        let taints = plan(&unreachable, Eviction::Allowed, Timestamp::now());
        unreachable.spec.as_mut().unwrap().taints = taints;
        assert_eq!(keys(&unreachable, Eviction::NotNow), None);
        assert_eq!(keys(&unreachable, Eviction::Never).unwrap(), wanted[..2]);
        unreachable.status = node("True", json!({})).status;
        assert_eq!(keys(&unreachable, Eviction::Allowed).unwrap(), wanted[..1]);
    }

    #[test]
    fn a_cordoned_node_says_so_in_a_taint() {
        let cordoned = node("True", json!({"unschedulable": true}));
        let wanted = ["node.kubernetes.io/unschedulable:NoSchedule"];
        assert_eq!(keys(&cordoned, Eviction::Allowed).unwrap(), wanted);
    }
}
