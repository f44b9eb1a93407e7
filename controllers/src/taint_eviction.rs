//! Taint eviction: a pod leaves a node whose NoExecute taints it does not tolerate, at once or
//! after as long as it tolerates them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use keelson_controller_runtime::{
    EventType, Next, ObjectKey, Queue, Recorder, Subject, Watched, now, run_workers,
};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;

use crate::Controller;
use crate::api_error::gone_is_fine;
use crate::env::{BY_NODE, Env};
use crate::objects::Pod;

pub(super) const ENTRY: Controller = Controller {
    name: "taint-eviction-controller",
    // Upstream's taint eviction has the node controller's rights and none of its own.
    account: "node-controller",
    run: |env| Box::pin(run(env)),
};

const WORKERS: usize = 8;

struct Context {
    env: Env,
    recorder: Recorder,
    /// Pods that are to leave later.
    scheduled: Mutex<BTreeSet<String>>,
}

async fn run(env: Env) {
    use keelson_controller_runtime::Change::{Added, Deleted, Updated};

    let queue = Arc::new(Queue::default());
    let own = queue.clone();
    env.informers.pods.on_change(move |change| {
        let pod = change.object();
        if !pod.node_name().is_empty() {
            own.add(pod.key());
        }
    });
    let (own, pods) = (queue.clone(), env.informers.pods.clone());
    env.informers.nodes.on_change(move |change| {
        let node = match change {
            Added(node) => node,
            Updated(old, node) if evicting(old).ne(evicting(node)) => node,
            Updated(..) | Deleted(_) => return,
        };
        for pod in pods.indexed(BY_NODE, &node.key().name) {
            own.add(pod.key());
        }
    });
    env.informers.nodes.synced().await;
    env.informers.pods.synced().await;
    let context = Arc::new(Context {
        recorder: env.recorder("taint-eviction-controller"),
        scheduled: Mutex::default(),
        env: env.clone(),
    });
    run_workers("taint-eviction", queue, WORKERS, env.token, move |key| {
        reconcile(context.clone(), key)
    })
    .await;
}

async fn reconcile(context: Arc<Context>, key: ObjectKey) -> Result<Next, kube::Error> {
    let informers = &context.env.informers;
    let pod = informers.pods.get(&key).filter(|pod| pod.is_active());
    let node =
        pod.as_ref().and_then(|pod| informers.nodes.get(&ObjectKey::new("", pod.node_name())));
    let (Some(pod), Some(node)) = (pod, node) else {
        return Ok(Next::Wait);
    };
    match plan(&pod, &node, Timestamp::now()) {
        Plan::Stay => {
            if context.scheduled.lock().remove(pod.uid()) {
                context.report(&pod, format!("Cancelling deletion of Pod {key}"));
            }
            Ok(Next::Wait)
        }
        Plan::LeaveIn(wait) => {
            context.scheduled.lock().insert(pod.uid().to_owned());
            Ok(Next::After(wait))
        }
        Plan::Leave => {
            context.evict(&pod).await?;
            context.scheduled.lock().remove(pod.uid());
            Ok(Next::Wait)
        }
    }
}

impl Context {
    fn report(&self, pod: &Pod, message: String) {
        let subject = Subject::of(pod);
        self.recorder.record(&subject, EventType::Normal, "TaintManagerEviction", message);
    }

    async fn evict(&self, pod: &Pod) -> kube::Result<()> {
        let key = pod.key();
        self.report(pod, format!("Marking for deletion Pod {key}"));
        let pods = Api::<Pod>::namespaced(self.env.client.clone(), &key.namespace);
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": pod.uid()},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": now(),
            }]},
        }));
        gone_is_fine(pods.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
        let same = Preconditions { uid: Some(pod.uid().to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        gone_is_fine(pods.delete(&key.name, &params).await)?;
        self.env.informers.pods.observe_delete(&key, pod.uid());
        Ok(())
    }
}

/// What a pod does about its node's taints.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Stay,
    LeaveIn(Duration),
    Leave,
}

fn evicting(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or(&[]);
    taints.iter().filter(|taint| taint.effect == "NoExecute")
}

/// The shortest time that a toleration in use allows counts, from when the taint was given, or the
/// pod was created after that.
fn plan(pod: &Pod, node: &Node, now: Timestamp) -> Plan {
    let tolerations = pod.spec.tolerations.as_deref().unwrap_or(&[]);
    let mut leaves: Option<Timestamp> = None;
    for taint in evicting(node) {
        let mut using = tolerations.iter().filter(|one| tolerates(one, taint)).peekable();
        if using.peek().is_none() {
            return Plan::Leave;
        }
        let Some(seconds) = using.filter_map(|one| one.toleration_seconds).min() else { continue };
        let given = taint.time_added.as_ref().map(|time| time.0);
        let start = given.max(pod.created()).unwrap_or(now);
        let end = start.saturating_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(now);
        leaves = Some(leaves.map_or(end, |leaves| leaves.min(end)));
    }
    let Some(leaves) = leaves else { return Plan::Stay };
    match Duration::try_from(leaves.duration_since(now)) {
        Ok(wait) if wait > Duration::ZERO => Plan::LeaveIn(wait),
        _ => Plan::Leave,
    }
}

/// True if the toleration covers the taint.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    given(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && given(&toleration.key).is_none_or(|key| key == taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => given(&toleration.value) == given(&taint.value),
            Some(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn planned(tolerations: Value, taints: Value, now: &str) -> Plan {
        let pod = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"tolerations": tolerations},
        });
        let node = json!({"spec": {"taints": taints}});
        let pod = serde_json::from_value(pod).unwrap();
        plan(&pod, &serde_json::from_value(node).unwrap(), now.parse().unwrap())
    }

    fn unreachable() -> Value {
        json!([{
            "key": "node.kubernetes.io/unreachable",
            "effect": "NoExecute",
            "timeAdded": "2026-01-01T01:00:00Z",
        }])
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_all_taints() {
        let now = "2026-01-01T01:01:00Z";
        assert_eq!(planned(json!([]), json!([]), now), Plan::Stay);
        assert_eq!(planned(json!([]), unreachable(), now), Plan::Leave);
        let forever = json!([{"operator": "Exists"}]);
        assert_eq!(planned(forever, unreachable(), now), Plan::Stay);
        let for_a_while = json!([{
            "key": "node.kubernetes.io/unreachable",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        }]);
        let wait = Duration::from_secs(240);
        assert_eq!(planned(for_a_while.clone(), unreachable(), now), Plan::LeaveIn(wait));
        assert_eq!(planned(for_a_while, unreachable(), "2026-01-01T01:05:00Z"), Plan::Leave);
    }

    #[test]
    fn a_taint_that_only_keeps_pods_away_does_not_drive_them_out() {
        let taints = json!([{"key": "k", "effect": "NoSchedule"}]);
        assert_eq!(planned(json!([]), taints, "2026-01-01T01:00:00Z"), Plan::Stay);
    }
}
