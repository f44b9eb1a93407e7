//! ReplicaSet: keeps the wanted number of matching pods.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use keelson_controller_runtime::{
    BatchOutcome, Next, ObjectKey, Queue, Subject, Watched, controller_of, now, run_workers,
    slow_start,
};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::Controller;
use crate::api_error::{Worded, is_namespace_terminating};
use crate::claim::{self, Claimant, Matcher, claim, controller_reference};
use crate::env::{BY_CONTROLLER, Env, Informers, ORPHANS};
use crate::objects::Pod;
use crate::pod_control::{PodControl, PodOwner, from_template};
use crate::pod_ranks::first_to_go;
use crate::pod_state::Availability;

pub(super) const ENTRY: Controller = Controller {
    name: "replicaset-controller",
    account: "replicaset-controller",
    run: |env| Box::pin(run(env)),
};

/// Pods created or deleted in one reconcile at most.
const BURST_REPLICAS: usize = 500;

struct Context {
    client: Client,
    informers: Informers,
    pods: PodControl,
}

async fn run(env: Env) {
    let queue = Arc::new(Queue::default());
    listen(&env.informers, &queue);
    env.informers.replica_sets.synced().await;
    env.informers.pods.synced().await;
    let context = Arc::new(Context {
        client: env.client.clone(),
        informers: env.informers.clone(),
        pods: PodControl {
            client: env.client.clone(),
            recorder: env.recorder("replicaset-controller"),
            pods: env.informers.pods.clone(),
        },
    });
    let workers = env.config.concurrent_replicaset_syncs;
    run_workers("replicaset", queue, workers, env.token, move |key| {
        reconcile(context.clone(), key)
    })
    .await;
}

fn listen(informers: &Informers, queue: &Arc<Queue<ObjectKey>>) {
    let own = queue.clone();
    informers.replica_sets.on_change(move |change| own.add(change.object().key()));
    let (own, sets) = (queue.clone(), informers.replica_sets.clone());
    informers.pods.on_change(move |change| {
        use keelson_controller_runtime::Change::{Added, Deleted, Updated};
        let (Added(pod) | Updated(_, pod) | Deleted(pod)) = change;
        if let Updated(old, _) = change {
            enqueue_owner(&own, old);
        }
        if controller_of(&pod.metadata).is_some() {
            enqueue_owner(&own, pod);
        } else if !matches!(change, Deleted(_)) {
            for set in sets.in_namespace(&pod.key().namespace) {
                if set
                    .spec
                    .as_ref()
                    .is_some_and(|spec| Matcher::new(&spec.selector).matches(&pod.metadata))
                {
                    own.add(set.key());
                }
            }
        }
    });
}

fn enqueue_owner(queue: &Queue<ObjectKey>, pod: &Pod) {
    if let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") {
        queue.add(ObjectKey::new(pod.key().namespace, &owner.name));
    }
}

async fn reconcile(context: Arc<Context>, key: ObjectKey) -> Result<Next, kube::Error> {
    let Some(set) = context.informers.replica_sets.get(&key) else { return Ok(Next::Wait) };
    let pods = own_pods(&context, &set).await?;
    let plan = plan(&set, &pods, &related_pods(&context, &set), Timestamp::now());
    let outcome = carry_out(&context, &set, &plan).await;
    let pods = context.informers.pods.indexed(BY_CONTROLLER, set.uid());
    let failure = outcome.as_ref().err().map(|error| Worded(error).to_string());
    let (status, wait) = status(&set, &pods, failure.as_deref(), Timestamp::now());
    if set.status.as_ref() != Some(&status) {
        let mut updated = ReplicaSet::clone(&set);
        updated.status = Some(status);
        let sets = Api::<ReplicaSet>::namespaced(context.client.clone(), &key.namespace);
        let updated = sets.replace_status(&key.name, &PostParams::default(), &updated).await?;
        context.informers.replica_sets.observe_write(updated);
    }
    outcome?;
    Ok(wait.map_or(Next::Wait, Next::After))
}

/// The set's pods, after those that have to have changed hands.
async fn own_pods(context: &Context, set: &ReplicaSet) -> kube::Result<Vec<Arc<Pod>>> {
    let Some(spec) = &set.spec else { return Ok(Vec::new()) };
    let key = set.key();
    let mut candidates = context.informers.pods.indexed(BY_CONTROLLER, set.uid());
    candidates.extend(context.informers.pods.indexed(ORPHANS, &key.namespace));
    let matcher = Matcher::new(&spec.selector);
    let claimant = Claimant { uid: set.uid(), deleting: set.is_deleting(), matcher: &matcher };
    let claims = claim(&claimant, candidates);
    let mut own = claims.owned;
    let pods = Api::<Pod>::namespaced(context.client.clone(), &key.namespace);
    if !claims.adopt.is_empty() {
        // The set in the cache may be one that was deleted and made anew meanwhile.
        let sets = Api::<ReplicaSet>::namespaced(context.client.clone(), &key.namespace);
        let live = sets.get_metadata_opt(&key.name).await?;
        if live.is_none_or(|live| {
            live.metadata.uid != set.metadata.uid || live.metadata.deletion_timestamp.is_some()
        }) {
            return Ok(own);
        }
    }
    for pod in claims.adopt.iter().filter(|pod| pod.is_active()) {
        let adopted = claim::adopt(&pods, &**pod, &controller_reference(set)).await?;
        context.informers.pods.observe_write(adopted);
        own.push(pod.clone());
    }
    for pod in &claims.release {
        if let Some(released) = claim::release(&pods, &**pod, set.uid()).await? {
            context.informers.pods.observe_write(released);
        }
    }
    Ok(own)
}

/// Pods of all sets with the same controller: those of one deployment.
fn related_pods(context: &Context, set: &ReplicaSet) -> Vec<Arc<Pod>> {
    let Some(owner) = controller_of(&set.metadata) else {
        return context.informers.pods.indexed(BY_CONTROLLER, set.uid());
    };
    let sets = context.informers.replica_sets.indexed(BY_CONTROLLER, &owner.uid);
    sets.iter().flat_map(|set| context.informers.pods.indexed(BY_CONTROLLER, set.uid())).collect()
}

/// What to do about a set's pods.
#[derive(Debug, Default)]
struct Plan {
    create: usize,
    delete: Vec<Arc<Pod>>,
}

/// Compares what is with what is wanted; does not know which event woke it; may run twice.
fn plan(set: &ReplicaSet, pods: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Plan {
    if set.is_deleting() {
        return Plan::default();
    }
    let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| pod.is_active()).cloned().collect();
    let wanted = wanted(set);
    if active.len() < wanted {
        return Plan { create: (wanted - active.len()).min(BURST_REPLICAS), delete: Vec::new() };
    }
    let surplus = (active.len() - wanted).min(BURST_REPLICAS);
    Plan { create: 0, delete: first_to_go(&active, related, surplus, now) }
}

fn wanted(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

async fn carry_out(context: &Context, set: &ReplicaSet, plan: &Plan) -> kube::Result<()> {
    let owner = PodOwner { reference: controller_reference(set), subject: Subject::of(set) };
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
        return Ok(());
    };
    if plan.create > 0 {
        let body = from_template(template, &owner.reference);
        let BatchOutcome { failed, .. } =
            slow_start(plan.create, |_| context.pods.create(&owner, &body)).await;
        return match failed {
            Some(error) if !is_namespace_terminating(&error) => Err(error),
            _ => Ok(()),
        };
    }
    let deletes = plan.delete.iter().map(|pod| context.pods.delete(&owner, pod));
    join_all(deletes).await.into_iter().collect()
}

/// The status that the pods amount to, and when it changes by itself.
fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<&str>,
    at: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let old = set.status.clone().unwrap_or_default();
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let labels = template.and_then(|template| template.metadata.as_ref()?.labels.clone());
    let labels = labels.unwrap_or_default();
    let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let (mut replicas, mut labeled, mut ready, mut available) = (0, 0, 0, 0);
    let mut wait: Option<Duration> = None;
    for pod in pods.iter().filter(|pod| pod.is_active()) {
        replicas += 1;
        let has = |(key, value)| {
            pod.metadata.labels.as_ref().is_some_and(|all| all.get(key) == Some(value))
        };
        labeled += i32::from(labels.iter().all(has));
        ready += i32::from(pod.is_ready());
        match pod.availability(min_ready, at) {
            Availability::Available => available += 1,
            Availability::AvailableIn(more) => {
                wait = Some(wait.map_or(more, |wait| wait.min(more)));
            }
            Availability::NotReady => {}
        }
    }
    let terminating = pods.iter().filter(|pod| pod.is_deleting() && !pod.is_terminal()).count();
    let status = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: Some(labeled).filter(|count| *count > 0),
        ready_replicas: Some(ready).filter(|count| *count > 0),
        available_replicas: Some(available).filter(|count| *count > 0),
        terminating_replicas: Some(i32::try_from(terminating).unwrap_or(i32::MAX)),
        observed_generation: set.metadata.generation,
        conditions: conditions(&old, failure, usize::try_from(replicas).unwrap_or(0), wanted(set)),
    };
    (status, wait)
}

fn conditions(
    old: &ReplicaSetStatus,
    failure: Option<&str>,
    replicas: usize,
    wanted: usize,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let known = conditions.iter().any(|condition| condition.type_ == "ReplicaFailure");
    match failure {
        Some(message) if !known => {
            let reason = if replicas < wanted { "FailedCreate" } else { "FailedDelete" };
            conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".to_owned(),
                status: "True".to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_transition_time: Some(now()),
            });
        }
        None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some(_) => {}
    }
    Some(conditions).filter(|conditions| !conditions.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "set", "generation": 3},
            "spec": {
                "replicas": replicas,
                "minReadySeconds": 10,
                "selector": {"matchLabels": {"app": "a"}},
                "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}},
            },
        }))
        .unwrap()
    }

    fn pod(name: &str, status: Value) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": name, "uid": name, "labels": {"app": "a"}},
            "status": status,
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn ready(since: &str) -> Value {
        json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": since},
        ]})
    }

    const NOW: &str = "2026-01-01T00:01:00Z";

    fn planned(replicas: i32, pods: &[Arc<Pod>]) -> (usize, usize) {
        let plan = plan(&set(replicas), pods, pods, NOW.parse().unwrap());
        (plan.create, plan.delete.len())
    }

    #[test]
    fn missing_pods_are_created_and_surplus_ones_deleted() {
        let pods = [
            pod("a", json!({"phase": "Running"})),
            pod("b", json!({})),
            pod("failed", json!({"phase": "Failed"})),
        ];
        assert_eq!(planned(3, &pods), (1, 0));
        assert_eq!(planned(2, &pods), (0, 0));
        assert_eq!(planned(0, &pods), (0, 2));
        assert_eq!(planned(9999, &pods), (500, 0));
    }

    #[test]
    fn a_set_being_deleted_leaves_its_pods_to_the_collector() {
        let mut set = set(3);
        set.metadata.deletion_timestamp = Some(now());
        assert_eq!(plan(&set, &[], &[], Timestamp::now()).create, 0);
    }

    #[test]
    fn a_pod_is_available_after_its_min_ready_seconds() {
        let pods =
            [pod("a", ready("2026-01-01T00:00:50Z")), pod("b", ready("2026-01-01T00:00:56Z"))];
        let (status, wait) = status(&set(2), &pods, None, NOW.parse().unwrap());
        assert_eq!((status.replicas, status.ready_replicas), (2, Some(2)));
        assert_eq!(status.available_replicas, Some(1));
        assert_eq!(wait, Some(Duration::from_secs(6)));
        assert_eq!(status.observed_generation, Some(3));
    }

    #[test]
    fn a_failure_stands_in_the_status_until_it_is_over() {
        let mut set = set(2);
        let (failed, _) = status(&set, &[], Some("exceeded quota"), NOW.parse().unwrap());
        let conditions = failed.conditions.clone().unwrap();
        assert_eq!(conditions[0].reason.as_deref(), Some("FailedCreate"));
        set.status = Some(failed);
        assert_eq!(status(&set, &[], None, NOW.parse().unwrap()).0.conditions, None);
    }
}
