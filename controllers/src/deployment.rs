//! Deployment: one replica set for each template, and a rollout from the old ones to the new.
//!
//! `plan` looks at everything at once and says what to write; a step that depends on what pods do
//! then follows in a later reconcile.

mod plan;
mod revision;
mod scale;
mod set;
mod status;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use keelson_controller_runtime::{
    EventType, Next, ObjectKey, Queue, Recorder, Subject, Watched, controller_of, run_workers,
};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use self::plan::{Plan, Seen, Write, plan};
use crate::Controller;
use crate::api_error::{Worded, gone_is_fine, is_already_exists, is_namespace_terminating};
use crate::claim::{self, Claimant, Matcher, claim, controller_reference};
use crate::env::{BY_CONTROLLER, Env, Informers, ORPHANS};

pub(super) const ENTRY: Controller = Controller {
    name: "deployment-controller",
    account: "deployment-controller",
    run: |env| Box::pin(run(env)),
};

struct Context {
    client: Client,
    informers: Informers,
    recorder: Recorder,
}

async fn run(env: Env) {
    let queue = Arc::new(Queue::default());
    listen(&env.informers, &queue);
    env.informers.deployments.synced().await;
    env.informers.replica_sets.synced().await;
    env.informers.pods.synced().await;
    let context = Arc::new(Context {
        client: env.client.clone(),
        informers: env.informers.clone(),
        recorder: env.recorder("deployment-controller"),
    });
    let workers = env.config.concurrent_deployment_syncs;
    run_workers("deployment", queue, workers, env.token, move |key| {
        reconcile(context.clone(), key)
    })
    .await;
}

fn listen(informers: &Informers, queue: &Arc<Queue<ObjectKey>>) {
    use keelson_controller_runtime::Change::{Added, Deleted, Updated};

    let own = queue.clone();
    informers.deployments.on_change(move |change| own.add(change.object().key()));
    let (own, deployments) = (queue.clone(), informers.deployments.clone());
    informers.replica_sets.on_change(move |change| {
        let (Added(set) | Updated(_, set) | Deleted(set)) = change;
        if let Updated(old, _) = change {
            enqueue_owner(&own, old);
        }
        if controller_of(&set.metadata).is_some() {
            enqueue_owner(&own, set);
        } else if !matches!(change, Deleted(_)) {
            for deployment in deployments.in_namespace(&set.key().namespace) {
                let selector = deployment.spec.as_ref().map(|spec| Matcher::new(&spec.selector));
                if selector.is_some_and(|selector| selector.matches(&set.metadata)) {
                    own.add(deployment.key());
                }
            }
        }
    });
    // A deployment that recreates waits for the last old pod to be gone.
    let (own, sets) = (queue.clone(), informers.replica_sets.clone());
    informers.pods.on_change(move |change| {
        let Deleted(pod) = change else { return };
        let Some(owner) = controller_of(&pod.metadata) else { return };
        let key = ObjectKey::new(pod.key().namespace, &owner.name);
        if let Some(set) = sets.get(&key).filter(|set| set.uid() == owner.uid) {
            enqueue_owner(&own, &set);
        }
    });
}

fn enqueue_owner(queue: &Queue<ObjectKey>, set: &ReplicaSet) {
    if let Some(owner) = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") {
        queue.add(ObjectKey::new(set.key().namespace, &owner.name));
    }
}

async fn reconcile(context: Arc<Context>, key: ObjectKey) -> Result<Next, kube::Error> {
    let Some(deployment) = context.informers.deployments.get(&key) else { return Ok(Next::Wait) };
    let sets = own_sets(&context, &deployment).await?;
    let pods_of = |uid: &str| {
        let pods = context.informers.pods.indexed(BY_CONTROLLER, uid);
        pods.iter().any(|pod| !pod.is_terminal())
    };
    let with_pods: Vec<&str> =
        sets.iter().map(|set| set.uid()).filter(|uid| pods_of(uid)).collect();
    let seen = Seen { deployment: &deployment, sets: &sets, with_pods, now: Timestamp::now() };
    carry_out(&context, &deployment, plan(&seen)).await
}

/// The deployment's replica sets, after those that have to have changed hands.
async fn own_sets(
    context: &Context,
    deployment: &Deployment,
) -> kube::Result<Vec<Arc<ReplicaSet>>> {
    let Some(spec) = &deployment.spec else { return Ok(Vec::new()) };
    let key = deployment.key();
    let informer = &context.informers.replica_sets;
    let mut candidates = informer.indexed(BY_CONTROLLER, deployment.uid());
    candidates.extend(informer.indexed(ORPHANS, &key.namespace));
    let matcher = Matcher::new(&spec.selector);
    let claimant =
        Claimant { uid: deployment.uid(), deleting: deployment.is_deleting(), matcher: &matcher };
    let claims = claim(&claimant, candidates);
    let mut own = claims.owned;
    if claims.adopt.is_empty() && claims.release.is_empty() {
        return Ok(own);
    }
    let sets = Api::<ReplicaSet>::namespaced(context.client.clone(), &key.namespace);
    let deployments = Api::<Deployment>::namespaced(context.client.clone(), &key.namespace);
    // The deployment in the cache may be one that was deleted and made anew meanwhile.
    let live = deployments.get_metadata_opt(&key.name).await?.is_some_and(|live| {
        live.metadata.uid == deployment.metadata.uid && live.metadata.deletion_timestamp.is_none()
    });
    for set in claims.adopt.iter().filter(|_| live) {
        let adopted = claim::adopt(&sets, &**set, &controller_reference(deployment)).await?;
        informer.observe_write(adopted.clone());
        own.push(Arc::new(adopted));
    }
    for set in &claims.release {
        if let Some(released) = claim::release(&sets, &**set, deployment.uid()).await? {
            informer.observe_write(released);
        }
    }
    Ok(own)
}

async fn carry_out(
    context: &Context,
    deployment: &Deployment,
    mut plan: Plan,
) -> Result<Next, kube::Error> {
    let key = deployment.key();
    let subject = Subject::of(deployment);
    let sets = Api::<ReplicaSet>::namespaced(context.client.clone(), &key.namespace);
    if let Some((reason, message)) = plan.warning.take() {
        context.recorder.record(&subject, EventType::Warning, reason, message);
    }
    let mut failure = None;
    for Write { set, action, event } in plan.writes.drain(..) {
        let result = match action {
            plan::Action::Create => sets.create(&PostParams::default(), &set).await,
            plan::Action::Update => {
                sets.replace(&set.key().name, &PostParams::default(), &set).await
            }
            plan::Action::Delete => {
                let same = Preconditions { uid: set.metadata.uid.clone(), resource_version: None };
                let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
                gone_is_fine(sets.delete(&set.key().name, &params).await)?;
                context.informers.replica_sets.observe_delete(&set.key(), set.uid());
                continue;
            }
        };
        match result {
            Ok(written) => {
                context.informers.replica_sets.observe_write(written);
                if let Some(message) = event {
                    context.recorder.record(
                        &subject,
                        EventType::Normal,
                        "ScalingReplicaSet",
                        message,
                    );
                }
            }
            Err(error) if action == plan::Action::Create && is_already_exists(&error) => {
                // Another set has the name: count the collision, the next hash differs. Unless
                // it is this deployment's own, not seen yet: then it will be.
                let taken = sets.get_opt(&set.key().name).await?;
                let own = taken.as_ref().and_then(|taken| controller_of(&taken.metadata));
                if own.is_none_or(|owner| owner.uid != deployment.uid()) {
                    status::count_collision(deployment, &mut plan.status);
                }
                failure = Some(error);
                break;
            }
            Err(error) => {
                if action == plan::Action::Create && !is_namespace_terminating(&error) {
                    let name = set.key().name;
                    let message =
                        format!("Failed to create new replica set \"{name}\": {}", Worded(&error));
                    status::creation_failed(deployment, &mut plan.status, &message);
                    context.recorder.record(
                        &subject,
                        EventType::Warning,
                        "ReplicaSetCreateError",
                        message,
                    );
                }
                failure = Some(error);
                break;
            }
        }
    }
    write_status(context, deployment, &plan).await?;
    match failure {
        Some(error) => Err(error),
        None => Ok(plan.again.map_or(Next::Wait, Next::After)),
    }
}

async fn write_status(
    context: &Context,
    deployment: &Deployment,
    plan: &Plan,
) -> Result<(), kube::Error> {
    let key = deployment.key();
    let deployments = Api::<Deployment>::namespaced(context.client.clone(), &key.namespace);
    let annotated = revision::of(&deployment.metadata) == plan.revision.as_deref();
    let annotated = annotated || plan.revision.is_none();
    if annotated && deployment.status.as_ref() == Some(&plan.status) {
        return Ok(());
    }
    let mut updated = deployment.clone();
    updated.status = Some(plan.status.clone());
    if let Some(revision) = &plan.revision {
        revision::set(&mut updated.metadata, revision);
    }
    let mut written =
        deployments.replace_status(&key.name, &PostParams::default(), &updated).await?;
    // Upstream's server takes annotations with a status; one that does not gets them on their own.
    if let Some(revision) = &plan.revision
        && revision::of(&written.metadata) != Some(revision)
    {
        revision::set(&mut written.metadata, revision);
        written = deployments.replace(&key.name, &PostParams::default(), &written).await?;
    }
    context.informers.deployments.observe_write(written);
    Ok(())
}
