//! Namespace: empties a namespace that is being deleted, pods first, and lets it go when nothing is
//! left.

mod status;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use keelson_controller_runtime::{Next, ObjectKey, Queue, run_workers};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::core::ObjectList;
use kube::core::metadata::PartialObjectMeta;

use self::status::{Remains, conditions};
use crate::Controller;
use crate::api_error::{Worded, gone_is_fine, is_not_found};
use crate::discovered::{Discovered, discover};
use crate::env::Env;

pub(super) const ENTRY: Controller = Controller {
    name: "namespace-controller",
    account: "namespace-controller",
    run: |env| Box::pin(run(env)),
};

const FINALIZER: &str = "kubernetes";
/// How soon to look again at what is on its way out but did not say when it goes.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("namespace {namespace} still has content: {what}")]
    Remains { namespace: String, what: String },
}

async fn run(env: Env) {
    use keelson_controller_runtime::Change::{Added, Deleted, Updated};

    let queue = Arc::new(Queue::default());
    let own = queue.clone();
    env.informers.namespaces.on_change(move |change| {
        if let Added(namespace) | Updated(_, namespace) = change
            && namespace.metadata.deletion_timestamp.is_some()
        {
            own.add(namespace.metadata.name.clone().unwrap_or_default());
        }
    });
    // The rest waits for the last pod.
    let (own, namespaces) = (queue.clone(), env.informers.namespaces.clone());
    env.informers.pods.on_change(move |change| {
        if let Deleted(pod) = change
            && let Some(namespace) = &pod.metadata.namespace
            && namespaces
                .get(&ObjectKey::new("", namespace))
                .is_some_and(|one| one.metadata.deletion_timestamp.is_some())
        {
            own.add(namespace.clone());
        }
    });
    env.informers.namespaces.synced().await;
    let workers = env.config.concurrent_namespace_syncs;
    let client = env.client.clone();
    run_workers("namespace", queue, workers, env.token, move |name| {
        reconcile(client.clone(), name)
    })
    .await;
}

async fn reconcile(client: Client, name: String) -> Result<Next, Error> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let Some(mut namespace) = namespaces.get_opt(&name).await? else { return Ok(Next::Wait) };
    if namespace.metadata.deletion_timestamp.is_none() || !has_finalizer(&namespace) {
        return Ok(Next::Wait);
    }
    let remains = empty(&client, &name).await;
    let status = namespace.status.get_or_insert_default();
    let new = conditions(status.conditions.as_deref().unwrap_or(&[]), &remains);
    if status.conditions.as_ref() != Some(&new) || status.phase.as_deref() != Some("Terminating") {
        status.conditions = Some(new);
        status.phase = Some("Terminating".to_owned());
        let written = namespaces.replace_status(&name, &PostParams::default(), &namespace).await;
        match gone_is_fine(written)? {
            Some(written) => namespace = written,
            None => return Ok(Next::Wait),
        }
    }
    if !remains.failures.is_empty() {
        return Err(Error::Remains { namespace: name, what: remains.failures.join(", ") });
    }
    if !remains.kinds.is_empty() {
        return Ok(Next::After(LOOK_AGAIN));
    }
    finalize(&client, namespace).await?;
    Ok(Next::Wait)
}

fn has_finalizer(namespace: &Namespace) -> bool {
    let spec = namespace.spec.as_ref();
    let finalizers = spec.and_then(|spec| spec.finalizers.as_ref());
    finalizers.is_some_and(|all| all.iter().any(|one| one == FINALIZER))
}

/// Deletes what there is, pods first; what is left after that.
async fn empty(client: &Client, namespace: &str) -> Remains {
    let mut remains = Remains::default();
    let kinds = match discover(client).await {
        Ok(kinds) => kinds,
        Err(error) => {
            remains.discovery_failure = Some(Worded(&error).to_string());
            remains.failures.push(Worded(&error).to_string());
            return remains;
        }
    };
    let is_pods =
        |kind: &Discovered| kind.resource.plural == "pods" && kind.resource.group.is_empty();
    let (pods, others): (Vec<_>, Vec<_>) = kinds
        .into_iter()
        .filter(|kind| kind.is_namespaced() && kind.supports("delete") && kind.supports("list"))
        .partition(is_pods);
    for kind in pods.iter().chain(&others) {
        if !is_pods(kind) && pods.iter().any(|pods| remains.kinds.contains_key(&pods.name())) {
            break;
        }
        match empty_kind(client, namespace, kind).await {
            Ok(left) => remains.count(&kind.name(), &left),
            Err(error) => remains.failures.push(Worded(&error).to_string()),
        }
    }
    remains
}

/// Deletes all objects of a kind; the finalizers of each that is still there.
async fn empty_kind(
    client: &Client,
    namespace: &str,
    kind: &Discovered,
) -> kube::Result<Vec<Vec<String>>> {
    let found = list(client, namespace, kind).await?;
    if found.is_empty() {
        return Ok(found.into_iter().map(|(_, finalizers)| finalizers).collect());
    }
    let params = DeleteParams::background();
    if kind.supports("deletecollection") {
        let request = kind
            .requests(namespace)
            .delete_collection(&params, &ListParams::default())
            .map_err(kube::Error::BuildRequest)?;
        client.request::<serde::de::IgnoredAny>(request).await?;
    } else {
        for (name, _) in &found {
            let request = kind.requests(namespace).delete(name, &params);
            let request = request.map_err(kube::Error::BuildRequest)?;
            gone_is_fine(client.request::<serde::de::IgnoredAny>(request).await)?;
        }
    }
    let left = list(client, namespace, kind).await?;
    Ok(left.into_iter().map(|(_, finalizers)| finalizers).collect())
}

async fn list(
    client: &Client,
    namespace: &str,
    kind: &Discovered,
) -> kube::Result<Vec<(String, Vec<String>)>> {
    let request = kind.requests(namespace).list_metadata(&ListParams::default());
    let request = request.map_err(kube::Error::BuildRequest)?;
    let list = match client.request::<ObjectList<PartialObjectMeta>>(request).await {
        Ok(list) => list,
        // The kind has gone meanwhile.
        Err(error) if is_not_found(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let describe = |object: PartialObjectMeta| {
        let meta = object.metadata;
        (meta.name.unwrap_or_default(), meta.finalizers.unwrap_or_default())
    };
    Ok(list.items.into_iter().map(describe).collect())
}

/// Takes our finalizer off the namespace, so that it can go.
async fn finalize(client: &Client, mut namespace: Namespace) -> kube::Result<()> {
    let name = namespace.metadata.name.clone().unwrap_or_default();
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|one| one != FINALIZER);
    }
    let body = serde_json::to_vec(&namespace).map_err(kube::Error::SerdeError)?;
    let path = <Namespace as kube::Resource>::url_path(&(), None);
    let request = kube::core::Request::new(path)
        .replace_subresource("finalize", &name, &PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    gone_is_fine(client.request::<serde::de::IgnoredAny>(request).await)?;
    Ok(())
}
