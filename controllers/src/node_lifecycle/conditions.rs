//! A node's conditions, and what becomes of them when it is silent.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The conditions that a node reports.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// A condition's status.
pub(super) fn status<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some(&found.status)
}

/// The Ready condition's status.
pub(super) fn ready_status(node: &Node) -> Option<&str> {
    status(node, "Ready")
}

/// True if the node says that it is ready.
pub(super) fn is_ready(node: &Node) -> bool {
    ready_status(node) == Some("True")
}

/// The conditions to write for a silent node, or none if they say so already.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let none = Vec::new();
    let old = node.status.as_ref().and_then(|status| status.conditions.as_ref()).unwrap_or(&none);
    let mut changed = Vec::new();
    for kind in REPORTED {
        let known = old.iter().find(|condition| condition.type_ == kind);
        let (reason, message) = match known {
            Some(known) if known.status == "Unknown" => continue,
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let heartbeat = match known {
            Some(known) => known.last_heartbeat_time.clone(),
            None => node.metadata.creation_timestamp.clone(),
        };
        changed.push(NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: heartbeat,
            last_transition_time: Some(Time(now)),
        });
    }
    Some(changed).filter(|changed| !changed.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_silent_node_is_unknown_in_all_that_it_reports() {
        let mut node: Node = serde_json::from_value(json!({"status": {"conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "DiskPressure", "status": "Unknown"},
            {"type": "Other", "status": "True"},
        ]}}))
        .unwrap();
        let changed = unknown(&node, Timestamp::now()).unwrap();
        let reasons: Vec<_> = changed
            .iter()
            .map(|one| (one.type_.as_str(), one.reason.as_deref().unwrap()))
            .collect();
        assert_eq!(
            reasons,
            [
                ("Ready", "NodeStatusUnknown"),
                ("MemoryPressure", "NodeStatusNeverUpdated"),
                ("PIDPressure", "NodeStatusNeverUpdated"),
            ]
        );
        node.status.as_mut().unwrap().conditions = Some(changed);
        let disk = unknown(&node, Timestamp::now()).unwrap();
        assert_eq!(disk.len(), 1);
    }
}
