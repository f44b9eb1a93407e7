//! The smallest patch that makes the API's status of a pod what it should be. Pure.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use serde_json::{Map, Value, json};

/// Fields of the status that the agent owns whole.
const OWNED: &[&str] = &[
    "phase",
    "reason",
    "message",
    "hostIP",
    "hostIPs",
    "podIP",
    "qosClass",
    "startTime",
    "observedGeneration",
    "initContainerStatuses",
    "containerStatuses",
];

/// A strategic merge patch, bound to the pod's uid; none when nothing differs.
pub(crate) fn status_patch(pod: &Pod, wanted: &PodStatus) -> Option<Value> {
    let old = pod.status.clone().unwrap_or_default();
    let (old_json, new_json) = (as_map(&old), as_map(wanted));
    let mut status = Map::new();
    for field in OWNED {
        let (before, after) = (old_json.get(*field), new_json.get(*field));
        if before != after {
            status.insert((*field).to_owned(), after.cloned().unwrap_or(Value::Null));
        }
    }
    let ips = pod_ips(&old, wanted);
    if !ips.is_empty() {
        status.insert("podIPs".into(), Value::Array(ips));
    }
    let conditions = conditions(&old, wanted);
    if !conditions.is_empty() {
        status.insert("conditions".into(), Value::Array(conditions));
    }
    if status.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

/// The status as it will be: ours, and the conditions that others own.
pub(crate) fn merged(old: &PodStatus, ours: &PodStatus) -> PodStatus {
    let mut merged = ours.clone();
    let own: BTreeMap<&str, &PodCondition> = by_type(ours);
    let others = old.conditions.iter().flatten().filter(|c| !own.contains_key(c.type_.as_str()));
    let list = others.cloned().chain(ours.conditions.iter().flatten().cloned()).collect();
    merged.conditions = Some(list);
    merged.nominated_node_name = old.nominated_node_name.clone();
    merged.ephemeral_container_statuses = old.ephemeral_container_statuses.clone();
    merged.resource_claim_statuses = old.resource_claim_statuses.clone();
    merged
}

fn as_map(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        Ok(_) | Err(_) => Map::new(),
    }
}

fn by_type(status: &PodStatus) -> BTreeMap<&str, &PodCondition> {
    status.conditions.iter().flatten().map(|c| (c.type_.as_str(), c)).collect()
}

fn conditions(old: &PodStatus, wanted: &PodStatus) -> Vec<Value> {
    let before = by_type(old);
    let mut changed = Vec::new();
    for condition in wanted.conditions.iter().flatten() {
        if before.get(condition.type_.as_str()) == Some(&condition) {
            continue;
        }
        let Ok(Value::Object(mut fields)) = serde_json::to_value(condition) else { continue };
        // The list merges by type: what is not said would stay.
        for field in ["reason", "message"] {
            fields.entry(field).or_insert(Value::Null);
        }
        changed.push(Value::Object(fields));
    }
    changed
}

fn pod_ips(old: &PodStatus, wanted: &PodStatus) -> Vec<Value> {
    let list = |status: &PodStatus| -> Vec<String> {
        status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
    };
    let (before, after) = (list(old), list(wanted));
    if before == after {
        return Vec::new();
    }
    let gone = before.iter().filter(|ip| !after.contains(ip));
    let gone = gone.map(|ip| json!({"$patch": "delete", "ip": ip}));
    after.iter().map(|ip| json!({"ip": ip})).chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": status})).unwrap()
    }

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_unchanged_status_is_not_sent() {
        let value = json!({"phase": "Running", "podIP": "1.1.1.1", "podIPs": [{"ip": "1.1.1.1"}],
            "conditions": [{"type": "Ready", "status": "True"}]});
        let mut with_others = value.clone();
        let others = with_others["conditions"].as_array_mut().unwrap();
        others.push(json!({"type": "example.com/gate", "status": "True"}));
        assert_eq!(status_patch(&pod(with_others), &status(value)), None);
    }

    #[test]
    fn what_is_gone_is_taken_away_and_foreign_conditions_stay() {
        let old = pod(json!({"phase": "Pending", "reason": "R", "podIPs": [{"ip": "1.1.1.1"}],
            "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                {"type": "x", "status": "True"}]}));
        let new = status(json!({"phase": "Pending", "podIPs": [{"ip": "2.2.2.2"}],
            "conditions": [{"type": "Ready", "status": "True"}]}));
        let patch = status_patch(&old, &new).unwrap();
        assert_eq!(
            patch,
            json!({"metadata": {"uid": "u"}, "status": {
                "reason": null,
                "podIPs": [{"ip": "2.2.2.2"}, {"$patch": "delete", "ip": "1.1.1.1"}],
                "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}],
            }})
        );
        let merged = merged(old.status.as_ref().unwrap(), &new);
        assert_eq!(merged.conditions.unwrap().len(), 2);
    }
}
