//! Registers the Node and keeps its status: computed often, sent when it changed or the last report is old.
use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use super::conditions::transitions;
use super::machine::architecture;
use super::status::measure;
use crate::agent::{Context, EventType};

/// While the node is not ready, or its status not written, it is looked at this often.
const IMPATIENT: Duration = Duration::from_millis(500);

/// Creates the Node, or brings the labels of one that is there up to date; writes the first status.
pub(crate) async fn register(cx: &Context) -> Result<Node, kube::Error> {
    let api: Api<Node> = Api::all(cx.client.clone());
    let name = &cx.config.node_name;
    let status = measure(cx, &[]).await;
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels(cx)),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..Default::default()
        },
        status: Some(status),
        ..Default::default()
    };
    if !cx.config.register_node {
        return api.get(name).await;
    }
    match api.create(&PostParams::default(), &node).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            let patch = json!({"metadata": {"labels": labels(cx)}});
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
        }
        Err(error) => Err(error),
    }
}

fn labels(cx: &Context) -> BTreeMap<String, String> {
    let arch = architecture();
    let own = [
        ("kubernetes.io/hostname", cx.config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    own.chain(cx.config.node_labels.clone()).collect()
}

/// Keeps the status until dropped; `node` is what the API answered at registration.
pub(crate) async fn run(cx: &Context, node: Node) {
    let mut sent = node.status.unwrap_or_default();
    let mut sent_at: Option<Instant> = None;
    cx.recorder.node(EventType::Normal, "Starting", "Starting kubelet.".into());
    loop {
        let old = sent.conditions.clone().unwrap_or_default();
        let status = measure(cx, &old).await;
        let due = sent_at.is_none_or(|at| at.elapsed() >= cx.config.node_status_report_frequency);
        let mut written = true;
        if due || differs(&sent, &status) {
            written = send(cx, &sent, &status).await;
        }
        let new = status.conditions.clone().unwrap_or_default();
        let ready = new.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if written && (due || differs(&sent, &status)) {
            // A start tells all of them, as the kubelet's does.
            let before = if sent_at.is_none() { &[] } else { old.as_slice() };
            for reason in transitions(before, &new) {
                let message = format!("Node {} status is now: {reason}", cx.config.node_name);
                cx.recorder.node(EventType::Normal, reason, message);
            }
            sent = status;
            sent_at = Some(Instant::now());
        }
        let pause =
            if ready && written { cx.config.node_status_update_frequency } else { IMPATIENT };
        tokio::time::sleep(pause).await;
    }
}

/// Whether anything but the time of the heartbeat changed.
fn differs(old: &NodeStatus, new: &NodeStatus) -> bool {
    let plain = |status: &NodeStatus| -> Vec<NodeCondition> {
        let ours = status.conditions.iter().flatten().filter(|c| c.type_ != "NetworkUnavailable");
        let still = |c: &NodeCondition| NodeCondition {
            last_heartbeat_time: None,
            last_transition_time: None,
            ..c.clone()
        };
        ours.map(still).collect()
    };
    plain(old) != plain(new)
        || old.addresses != new.addresses
        || old.capacity != new.capacity
        || old.allocatable != new.allocatable
        || old.images != new.images
        || old.node_info != new.node_info
        || old.daemon_endpoints != new.daemon_endpoints
}

async fn send(cx: &Context, old: &NodeStatus, new: &NodeStatus) -> bool {
    let api: Api<Node> = Api::all(cx.client.clone());
    let Ok(mut status) = serde_json::to_value(new) else { return false };
    let gone = old
        .addresses
        .iter()
        .flatten()
        .filter(|old| !new.addresses.iter().flatten().any(|new| new.type_ == old.type_));
    let gone: Vec<_> = gone.map(|a| json!({"$patch": "delete", "type": a.type_})).collect();
    if let Some(list) = status.get_mut("addresses").and_then(|a| a.as_array_mut()) {
        list.extend(gone);
    }
    let patch = Patch::Strategic(json!({"status": status}));
    let answer = api.patch_status(&cx.config.node_name, &PatchParams::default(), &patch).await;
    match answer {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 404 => {
            // Somebody deleted the Node: it is registered again.
            if let Err(error) = register(cx).await {
                tracing::warn!(%error, "node not registered again");
            }
            false
        }
        Err(error) => {
            tracing::warn!(%error, "node status not written");
            false
        }
    }
}
