//! Pod garbage collector: removes pods that nobody else will: on nodes that are gone, terminating
//! without ever having had a node, and the oldest of too many that have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use keelson_controller_runtime::{ObjectKey, Watched, now};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::time::Instant;

use crate::Controller;
use crate::api_error::gone_is_fine;
use crate::env::Env;
use crate::objects::Pod;

pub(super) const ENTRY: Controller = Controller {
    name: "pod-garbage-collector-controller",
    account: "pod-garbage-collector",
    run: |env| Box::pin(run(env)),
};

const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be gone before its pods are.
const QUARANTINE: Duration = Duration::from_secs(40);

async fn run(env: Env) {
    env.informers.pods.synced().await;
    env.informers.nodes.synced().await;
    let mut tick = tokio::time::interval(PERIOD);
    let mut missing = BTreeMap::<String, Instant>::new();
    while env.token.run_until_cancelled(tick.tick()).await.is_some() {
        if let Err(error) = collect(&env, &mut missing).await {
            tracing::debug!(%error, "pods not collected, trying again");
        }
    }
}

async fn collect(env: &Env, missing: &mut BTreeMap<String, Instant>) -> kube::Result<()> {
    let pods = env.informers.pods.list();
    let exists = |node: &str| env.informers.nodes.get(&ObjectKey::new("", node)).is_some();
    let quarantined = quarantine(&pods, &exists, missing, Instant::now());
    let nodes = Api::<Node>::all(env.client.clone());
    for node in quarantined {
        if nodes.get_metadata_opt(&node).await?.is_none() {
            for pod in pods.iter().filter(|pod| pod.node_name() == node) {
                remove(env, pod, Some("PodGC: node no longer exists")).await?;
            }
        }
    }
    for pod in pods.iter().filter(|pod| pod.is_deleting() && pod.node_name().is_empty()) {
        remove(env, pod, None).await?;
    }
    for pod in surplus(&pods, env.config.terminated_pod_gc_threshold) {
        remove(env, &pod, None).await?;
    }
    Ok(())
}

/// Nodes that pods name and that have been gone for long enough.
fn quarantine(
    pods: &[Arc<Pod>],
    exists: &dyn Fn(&str) -> bool,
    missing: &mut BTreeMap<String, Instant>,
    now: Instant,
) -> Vec<String> {
    let named = |node: &str| pods.iter().any(|pod| pod.node_name() == node);
    missing.retain(|node, _| !exists(node) && named(node));
    for pod in pods.iter().filter(|pod| !pod.node_name().is_empty()) {
        if !missing.contains_key(pod.node_name()) && !exists(pod.node_name()) {
            missing.insert(pod.node_name().to_owned(), now);
        }
    }
    let over = missing.iter().filter(|(_, since)| now.duration_since(**since) >= QUARANTINE);
    over.map(|(node, _)| node.clone()).collect()
}

/// The oldest of those that have ended, beyond the number that may stay.
fn surplus(pods: &[Arc<Pod>], threshold: usize) -> Vec<Arc<Pod>> {
    let mut ended: Vec<Arc<Pod>> = pods.iter().filter(|pod| pod.is_terminal()).cloned().collect();
    let surplus = if threshold == 0 { 0 } else { ended.len().saturating_sub(threshold) };
    ended.sort_by_key(|pod| (pod.created(), pod.key()));
    ended.truncate(surplus);
    ended
}

async fn remove(env: &Env, pod: &Pod, disrupted: Option<&str>) -> kube::Result<()> {
    let key = pod.key();
    let pods = Api::<Pod>::namespaced(env.client.clone(), &key.namespace);
    if let Some(message) = disrupted.filter(|_| !pod.is_terminal()) {
        // Its controller counts it as failed, and not as gone without a word.
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": pod.uid()},
            "status": {"phase": "Failed", "conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": message,
                "lastTransitionTime": now(),
            }]},
        }));
        gone_is_fine(pods.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
    }
    let same = Preconditions { uid: Some(pod.uid().to_owned()), resource_version: None };
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(same),
        ..DeleteParams::default()
    };
    gone_is_fine(pods.delete(&key.name, &params).await)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, phase: &str) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:0{name}Z")},
            "spec": {"nodeName": node},
            "status": {"phase": phase},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[tokio::test]
    async fn a_node_is_gone_only_after_a_while() {
        let pods = [pod("1", "a", "Running"), pod("2", "b", "Running"), pod("3", "", "Pending")];
        let (start, mut missing) = (Instant::now(), BTreeMap::new());
        let only_a = |node: &str| node == "a";
        assert!(quarantine(&pods, &only_a, &mut missing, start).is_empty());
        let later = start + QUARANTINE;
        assert_eq!(quarantine(&pods, &only_a, &mut missing, later), ["b"]);
        assert!(quarantine(&pods, &|_| true, &mut missing, later).is_empty());
        assert!(missing.is_empty());
    }

    #[test]
    fn the_oldest_that_have_ended_go_first() {
        let pods = [pod("3", "a", "Failed"), pod("1", "a", "Succeeded"), pod("2", "a", "Running")];
        let names: Vec<_> = surplus(&pods, 1).iter().map(|pod| pod.key().name).collect();
        assert_eq!(names, ["1"]);
        assert!(surplus(&pods, 0).is_empty());
    }
}
