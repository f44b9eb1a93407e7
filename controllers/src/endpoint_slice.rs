//! EndpointSlice: the addresses of the pods behind each service that selects pods.

pub(crate) mod endpoints;
mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_controller_runtime::{
    EventType, Informer, Next, ObjectKey, Queue, Recorder, Subject, Watched, run_workers,
};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};

use self::endpoints::{SERVICE_NAME, desired, is_ours, selector};
use self::plan::{Plan, plan};
use crate::Controller;
use crate::api_error::{Worded, gone_is_fine, is_namespace_terminating};
use crate::env::{BY_SERVICE, Env, Informers};
use crate::objects::Pod;

pub(super) const ENTRY: Controller = Controller {
    name: "endpointslice-controller",
    account: "endpointslice-controller",
    run: |env| Box::pin(run(env)),
};

struct Context {
    client: Client,
    informers: Informers,
    recorder: Recorder,
    per_slice: usize,
}

async fn run(env: Env) {
    let queue = Arc::new(Queue::default());
    listen(&env.informers, &queue);
    env.informers.services.synced().await;
    env.informers.endpoint_slices.synced().await;
    env.informers.pods.synced().await;
    env.informers.nodes.synced().await;
    let context = Arc::new(Context {
        client: env.client.clone(),
        informers: env.informers.clone(),
        recorder: env.recorder("endpoint-slice-controller"),
        per_slice: env.config.max_endpoints_per_slice,
    });
    let workers = env.config.concurrent_service_endpoint_syncs;
    run_workers("endpointslice", queue, workers, env.token, move |key| {
        reconcile(context.clone(), key)
    })
    .await;
}

fn listen(informers: &Informers, queue: &Arc<Queue<ObjectKey>>) {
    let own = queue.clone();
    informers.services.on_change(move |change| own.add(change.object().key()));
    let own = queue.clone();
    informers.endpoint_slices.on_change(move |change| {
        let slice = change.object();
        let labels = slice.metadata.labels.as_ref();
        if let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME))
            && is_ours(slice)
        {
            own.add(ObjectKey::new(slice.key().namespace, service));
        }
    });
    enqueue_services_of_pods(informers, queue);
}

/// Wakes the services that select a pod, whenever something happens to one.
pub(crate) fn enqueue_services_of_pods(informers: &Informers, queue: &Arc<Queue<ObjectKey>>) {
    use keelson_controller_runtime::Change::{Added, Deleted, Updated};

    let (own, services) = (queue.clone(), informers.services.clone());
    informers.pods.on_change(move |change| {
        match change {
            Added(pod) | Deleted(pod) => enqueue_selecting(&own, &services, pod),
            Updated(old, pod) => {
                enqueue_selecting(&own, &services, pod);
                if old.metadata.labels != pod.metadata.labels {
                    enqueue_selecting(&own, &services, old);
                }
            }
        };
    });
}

fn enqueue_selecting(queue: &Queue<ObjectKey>, services: &Informer<Service>, pod: &Pod) {
    for service in services.in_namespace(&pod.key().namespace) {
        if selector(&service).is_some_and(|selector| endpoints::selects(selector, pod)) {
            queue.add(service.key());
        }
    }
}

async fn reconcile(context: Arc<Context>, key: ObjectKey) -> Result<Next, kube::Error> {
    let Some(service) = context.informers.services.get(&key) else { return Ok(Next::Wait) };
    let Some(selector) = selector(&service).filter(|_| !service.is_deleting()) else {
        return Ok(Next::Wait);
    };
    let pods = context.informers.pods.in_namespace(&key.namespace);
    let pods = pods.iter().filter(|pod| endpoints::selects(selector, pod));
    let zone = |node: &str| {
        let node = context.informers.nodes.get(&ObjectKey::new("", node))?;
        node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone").cloned()
    };
    let desired = desired(&service, pods.map(Arc::as_ref), &zone);
    let existing = context.informers.endpoint_slices.indexed(BY_SERVICE, &key.name);
    let existing: Vec<Arc<EndpointSlice>> = existing
        .into_iter()
        .filter(|slice| slice.key().namespace == key.namespace && is_ours(slice))
        .filter(|slice| !slice.is_deleting())
        .collect();
    let plan = plan(&service, desired, &existing, context.per_slice);
    let result = carry_out(&context, &key, plan).await;
    if let Err(error) = &result {
        if is_namespace_terminating(error) {
            return Ok(Next::Wait);
        }
        let message =
            format!("Error updating Endpoint Slices for Service {key}: {}", Worded(error));
        let subject = Subject::of(&*service);
        let reason = "FailedToUpdateEndpointSlices";
        context.recorder.record(&subject, EventType::Warning, reason, message);
    }
    result.map(|()| Next::Wait)
}

async fn carry_out(context: &Context, key: &ObjectKey, plan: Plan) -> Result<(), kube::Error> {
    let slices = Api::<EndpointSlice>::namespaced(context.client.clone(), &key.namespace);
    let params = PostParams::default();
    for slice in &plan.create {
        let written = slices.create(&params, slice).await?;
        context.informers.endpoint_slices.observe_write(written);
    }
    for slice in &plan.update {
        let written = slices.replace(&slice.key().name, &params, slice).await?;
        context.informers.endpoint_slices.observe_write(written);
    }
    for slice in &plan.delete {
        gone_is_fine(slices.delete(&slice.key().name, &DeleteParams::default()).await)?;
        context.informers.endpoint_slices.observe_delete(&slice.key(), slice.uid());
    }
    Ok(())
}
