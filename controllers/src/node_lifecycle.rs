//! Node life cycle: a node that falls silent becomes Unknown, its conditions become taints, and
//! its pods are not ready any more.
//!
//! Silence is measured by this process's clock, from when a sign of life was seen: the clocks of
//! nodes need not agree with it.

mod conditions;
mod health;
mod taints;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use keelson_controller_runtime::{
    EventType, Next, ObjectKey, Queue, Recorder, Subject, Watched, now, run_workers,
};
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use self::conditions::{is_ready, ready_status};
use self::health::{Health, Pulse};
use self::zones::Evictions;
use crate::Controller;
use crate::api_error::gone_is_fine;
use crate::env::{BY_NODE, Env};
use crate::objects::Pod;

pub(super) const ENTRY: Controller = Controller {
    name: "node-lifecycle-controller",
    account: "node-controller",
    run: |env| Box::pin(run(env)),
};

const WORKERS: usize = 4;

struct Context {
    env: Env,
    recorder: Recorder,
    health: Mutex<BTreeMap<String, Health>>,
    evictions: Mutex<Evictions>,
}

async fn run(env: Env) {
    let queue = Arc::new(Queue::default());
    let context = Arc::new(Context {
        recorder: env.recorder("node-controller"),
        evictions: Mutex::new(Evictions::new(&env.config)),
        health: Mutex::default(),
        env: env.clone(),
    });
    env.informers.nodes.synced().await;
    env.informers.node_leases.synced().await;
    env.informers.pods.synced().await;
    listen(&context, &queue);
    let monitor = tokio::spawn(monitor(context.clone(), queue.clone()));
    run_workers("node-lifecycle", queue, WORKERS, env.token, move |name| {
        reconcile(context.clone(), name)
    })
    .await;
    if let Err(error) = monitor.await {
        tracing::error!(%error, "the node monitor ended in a panic");
    }
}

fn listen(context: &Arc<Context>, queue: &Arc<Queue<String>>) {
    use keelson_controller_runtime::Change::{Added, Deleted, Updated};

    let (own, cx) = (queue.clone(), context.clone());
    context.env.informers.nodes.on_change(move |change| {
        let node = change.object();
        let name = node.key().name;
        match change {
            Added(_) => {
                let message = format!("Node {name} event: Registered Node {name} in Controller");
                cx.report(node, "RegisteredNode", message);
            }
            Deleted(_) => {
                cx.health.lock().remove(&name);
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                cx.report(node, "RemovingNode", message);
            }
            Updated(..) => {}
        }
        own.add(name);
    });
    // A pod that comes to a silent node, or says it is ready there, is not.
    let (own, nodes) = (queue.clone(), context.env.informers.nodes.clone());
    context.env.informers.pods.on_change(move |change| {
        let (Added(pod) | Updated(_, pod)) = change else { return };
        let node = nodes.get(&ObjectKey::new("", pod.node_name()));
        if pod.is_ready() && node.is_some_and(|node| !is_ready(&node)) {
            own.add(pod.node_name().to_owned());
        }
    });
}

/// Looks at all nodes from time to time, since silence wakes nobody.
async fn monitor(context: Arc<Context>, queue: Arc<Queue<String>>) {
    let mut tick = tokio::time::interval(context.env.config.node_monitor_period);
    while context.env.token.run_until_cancelled(tick.tick()).await.is_some() {
        let nodes = context.env.informers.nodes.list();
        context.evictions.lock().observe(&nodes);
        for node in nodes {
            let silent = context.silent_for(&node);
            if silent > context.grace(&node) && ready_status(&node) != Some("Unknown") {
                queue.add(node.key().name);
            }
        }
    }
}

async fn reconcile(context: Arc<Context>, name: String) -> Result<Next, kube::Error> {
    let Some(mut node) = context.env.informers.nodes.get(&ObjectKey::new("", &name)) else {
        return Ok(Next::Wait);
    };
    if node.is_deleting() {
        return Ok(Next::Wait);
    }
    if context.silent_for(&node) > context.grace(&node) {
        node = context.declare_unknown(node).await?;
    }
    if !is_ready(&node) {
        context.mark_pods_not_ready(&node).await?;
    }
    context.taint(&node).await
}

impl Context {
    fn report(&self, node: &Node, reason: &str, message: String) {
        let subject = Subject::of(node);
        self.recorder.record(&subject, EventType::Normal, reason, message);
    }

    /// How long the node has given no sign of life.
    fn silent_for(&self, node: &Node) -> Duration {
        let name = node.key().name;
        let lease = self.env.informers.node_leases.get(&ObjectKey::new("kube-node-lease", &name));
        let pulse = Pulse::of(node, lease.as_deref());
        let mut health = self.health.lock();
        health
            .entry(name)
            .or_insert_with(|| Health::new(Instant::now()))
            .observe(pulse, Instant::now())
    }

    fn grace(&self, node: &Node) -> Duration {
        match ready_status(node) {
            None => self.env.config.node_startup_grace_period,
            Some(_) => self.env.config.node_monitor_grace_period,
        }
    }

    /// Says that nothing is known of the node any more.
    async fn declare_unknown(&self, node: Arc<Node>) -> kube::Result<Arc<Node>> {
        let Some(conditions) = conditions::unknown(&node, Timestamp::now()) else {
            return Ok(node);
        };
        let was_ready = is_ready(&node);
        let name = node.key().name;
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "status": {"conditions": conditions},
        });
        let nodes = Api::<Node>::all(self.env.client.clone());
        let params = PatchParams::default();
        let written = nodes.patch_status(&name, &params, &Patch::Strategic(patch)).await?;
        self.env.informers.nodes.observe_write(written.clone());
        if was_ready {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.report(&written, "NodeNotReady", message);
        }
        Ok(Arc::new(written))
    }

    /// Takes the readiness off the node's pods: nobody on the node can say otherwise.
    async fn mark_pods_not_ready(&self, node: &Node) -> kube::Result<()> {
        for pod in self.env.informers.pods.indexed(BY_NODE, &node.key().name) {
            if !pod.is_ready() {
                continue;
            }
            let key = pod.key();
            let patch = json!({
                "metadata": {"uid": pod.uid()},
                "status": {"conditions": [
                    {"type": "Ready", "status": "False", "lastTransitionTime": now()},
                ]},
            });
            let pods = Api::<Pod>::namespaced(self.env.client.clone(), &key.namespace);
            let patch = Patch::Strategic(patch);
            let result = pods.patch_status(&key.name, &PatchParams::default(), &patch).await;
            if let Some(written) = gone_is_fine(result)? {
                self.env.informers.pods.observe_write(written);
                let message = "Node is not ready".to_owned();
                let subject = Subject::of(&*pod);
                self.recorder.record(&subject, EventType::Warning, "NodeNotReady", message);
            }
        }
        Ok(())
    }

    /// Brings the node's taints in line with its conditions.
    async fn taint(&self, node: &Node) -> Result<Next, kube::Error> {
        let name = node.key().name;
        let nodes = self.env.informers.nodes.list();
        let (allowed, wait) = {
            let mut evictions = self.evictions.lock();
            evictions.observe(&nodes);
            evictions.ask(node, taints::lacks_no_execute(node), Instant::now())
        };
        let next = wait.map_or(Next::Wait, Next::After);
        let Some(taints) = taints::plan(node, allowed, Timestamp::now()) else { return Ok(next) };
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        });
        let nodes = Api::<Node>::all(self.env.client.clone());
        let params = PatchParams::default();
        let written = nodes.patch(&name, &params, &Patch::Merge(patch)).await?;
        self.env.informers.nodes.observe_write(written);
        Ok(next)
    }
}

/// Names of all zones, for tests and messages.
fn zone_of(node: &Node) -> String {
    let labels = node.metadata.labels.as_ref();
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map_or("", String::as_str);
    format!("{}:{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// The zones that nodes are in.
fn zones_of(nodes: &[Arc<Node>]) -> BTreeSet<String> {
    nodes.iter().map(|node| zone_of(node)).collect()
}
