//! Garbage collector: deletes what nobody owns any more, in the background or the foreground, and
//! sets free what is to be orphaned.
//!
//! The graph is fed by watches on every kind that can be deleted; whatever it suggests is checked
//! against the server before anything is done.

mod graph;
mod monitors;
mod verdict;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keelson_controller_runtime::{MetaObject, Next, Queue, Watched, run_workers};
use kube::Client;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use parking_lot::{Mutex, RwLock};
use serde_json::json;

use self::graph::{Graph, Identity, Uid};
use self::monitors::Kinds;
use self::verdict::{OwnerState, Verdict, judge};
use crate::Controller;
use crate::api_error::{gone_is_fine, is_conflict, is_not_found};
use crate::env::Env;

pub(super) const ENTRY: Controller = Controller {
    name: "garbage-collector-controller",
    account: "generic-garbage-collector",
    run: |env| Box::pin(run(env)),
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("no kind {kind} in {api_version} is known")]
    UnknownKind { api_version: String, kind: String },
}

/// One piece of work: what to look at, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// Perhaps nobody owns it any more, or it waits for its dependents to go.
    Delete(Uid),
    /// Its dependents are to be set free.
    Orphan(Uid),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Delete(uid) => write!(f, "delete {uid}"),
            Item::Orphan(uid) => write!(f, "orphan {uid}"),
        }
    }
}

/// What feeds and workers share.
struct Collector {
    client: Client,
    graph: Mutex<Graph>,
    kinds: RwLock<Kinds>,
    queue: Arc<Queue<Item>>,
}

async fn run(env: Env) {
    let collector = Arc::new(Collector {
        client: env.client.clone(),
        graph: Mutex::default(),
        kinds: RwLock::default(),
        queue: Arc::new(Queue::default()),
    });
    let monitors = tokio::spawn(monitors::run(collector.clone(), env.token.clone()));
    // Before every kind is known, an owner that is only not seen yet would look gone.
    if env.token.run_until_cancelled(monitors::synced(&collector)).await.is_some() {
        let (queue, workers) = (collector.queue.clone(), env.config.concurrent_gc_syncs);
        run_workers("garbage-collector", queue, workers, env.token, move |item| {
            reconcile(collector.clone(), item)
        })
        .await;
    }
    if let Err(error) = monitors.await {
        tracing::error!(%error, "the garbage collector's watches ended in a panic");
    }
}

async fn reconcile(collector: Arc<Collector>, item: Item) -> Result<Next, Error> {
    let result = match &item {
        Item::Delete(uid) => collector.attempt_to_delete(uid).await,
        Item::Orphan(uid) => collector.attempt_to_orphan(uid).await,
    };
    result.map(|()| Next::Wait)
}

impl Collector {
    fn enqueue(&self, items: impl IntoIterator<Item = Item>) {
        for item in items {
            self.queue.add(item);
        }
    }

    async fn attempt_to_delete(&self, uid: &Uid) -> Result<(), Error> {
        let Some(node) = self.graph.lock().node(uid).cloned() else { return Ok(()) };
        if node.deleting && !node.deleting_dependents {
            return Ok(());
        }
        let Some(live) = self.live(&node.identity, uid).await? else {
            let items = self.graph.lock().remove(uid);
            self.enqueue(items);
            return Ok(());
        };
        self.graph.lock().confirm(uid);
        if node.deleting_dependents {
            return self.wait_for_dependents(uid, &node.identity, &live).await;
        }
        if live.deletion_timestamp.is_some() {
            return Ok(());
        }
        let mut states = Vec::new();
        for owner in live.owner_references.iter().flatten() {
            states.push(self.state_of(owner, &node.identity).await?);
        }
        let family = self.graph.lock().family(uid);
        match judge(&live, &states, &family) {
            Verdict::Keep => Ok(()),
            Verdict::DropOwners(remaining) => {
                self.set_owners(&node.identity, &live, remaining).await
            }
            Verdict::Unblock(owners, policy) => {
                self.set_owners(&node.identity, &live, owners).await?;
                self.delete(&node.identity, uid, policy).await
            }
            Verdict::Delete(policy) => self.delete(&node.identity, uid, policy).await,
        }
    }

    /// Goes on with the foreground deletion of an object: dependents that block it first.
    async fn wait_for_dependents(
        &self,
        uid: &Uid,
        identity: &Identity,
        live: &ObjectMeta,
    ) -> Result<(), Error> {
        let blocking = self.graph.lock().blocking_dependents(uid);
        if blocking.is_empty() {
            return self.remove_finalizer(identity, live, FOREGROUND).await;
        }
        self.enqueue(blocking.into_iter().map(Item::Delete));
        Ok(())
    }

    async fn attempt_to_orphan(&self, uid: &Uid) -> Result<(), Error> {
        let Some((identity, dependents)) = self.graph.lock().dependents(uid) else {
            return Ok(());
        };
        for (dependent, at) in dependents {
            let Some(live) = self.live(&at, &dependent).await? else { continue };
            let owners = live.owner_references.iter().flatten();
            let remaining: Vec<_> = owners.filter(|owner| owner.uid != **uid).cloned().collect();
            if Some(remaining.len()) != live.owner_references.as_ref().map(Vec::len) {
                self.set_owners(&at, &live, remaining).await?;
            }
        }
        match self.live(&identity, uid).await? {
            Some(live) => self.remove_finalizer(&identity, &live, ORPHAN).await,
            None => Ok(()),
        }
    }

    /// The object's metadata as the server has it; none if it, or that object of the name, is gone.
    async fn live(&self, identity: &Identity, uid: &str) -> Result<Option<ObjectMeta>, Error> {
        let live = self.get(identity).await?;
        Ok(live.filter(|live| live.uid.as_deref() == Some(uid)))
    }

    async fn get(&self, identity: &Identity) -> Result<Option<ObjectMeta>, Error> {
        let requests = self.requests(identity)?;
        let request = requests.get_metadata(&identity.name, &GetParams::default());
        let request = request.map_err(kube::Error::BuildRequest)?;
        match self.client.request::<MetaObject>(request).await {
            Ok(object) => Ok(Some(object.metadata)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn requests(&self, identity: &Identity) -> Result<kube::core::Request, Error> {
        let kinds = self.kinds.read();
        let kind = kinds.find(&identity.api_version, &identity.kind).ok_or_else(|| {
            Error::UnknownKind {
                api_version: identity.api_version.to_string(),
                kind: identity.kind.to_string(),
            }
        })?;
        let namespace = if kind.is_namespaced() { &*identity.namespace } else { "" };
        Ok(kind.requests(namespace))
    }

    /// Whether an owner of the object at `dependent` is there.
    async fn state_of(
        &self,
        owner: &OwnerReference,
        dependent: &Identity,
    ) -> Result<OwnerState, Error> {
        let uid: Uid = owner.uid.as_str().into();
        let identity = Identity::of_owner(owner, &dependent.namespace);
        let namespaced = {
            let kinds = self.kinds.read();
            kinds.find(&owner.api_version, &owner.kind).map(|kind| kind.is_namespaced())
        };
        // A cluster-wide object cannot be owned from within a namespace: what is meant cannot be
        // told, so nothing is concluded from it.
        if dependent.namespace.is_empty() && namespaced == Some(true) {
            return Ok(OwnerState::Solid);
        }
        if let Some(known) = self.graph.lock().owner_state(&uid, &dependent.namespace) {
            return Ok(known);
        }
        let Some(live) = self.live(&identity, &uid).await? else { return Ok(OwnerState::Absent) };
        let waits = live.deletion_timestamp.is_some() && has_finalizer(&live, FOREGROUND);
        Ok(if waits { OwnerState::WaitsForDependents } else { OwnerState::Solid })
    }

    async fn set_owners(
        &self,
        identity: &Identity,
        live: &ObjectMeta,
        owners: Vec<OwnerReference>,
    ) -> Result<(), Error> {
        self.patch(identity, live, &json!({"ownerReferences": owners})).await
    }

    async fn remove_finalizer(
        &self,
        identity: &Identity,
        live: &ObjectMeta,
        finalizer: &str,
    ) -> Result<(), Error> {
        if !has_finalizer(live, finalizer) {
            return Ok(());
        }
        let rest: Vec<_> =
            live.finalizers.iter().flatten().filter(|one| *one != finalizer).collect();
        self.patch(identity, live, &json!({"finalizers": rest})).await
    }

    /// Changes metadata, unless the object has changed since `live` was read: then it fails and is
    /// looked at anew.
    async fn patch(
        &self,
        identity: &Identity,
        live: &ObjectMeta,
        change: &serde_json::Value,
    ) -> Result<(), Error> {
        let mut metadata = change.clone();
        metadata["uid"] = json!(live.uid);
        metadata["resourceVersion"] = json!(live.resource_version);
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let requests = self.requests(identity)?;
        let request = requests.patch_metadata(&identity.name, &PatchParams::default(), &patch);
        let request = request.map_err(kube::Error::BuildRequest)?;
        // The answer stays out of the graph: it may be the last state of an object that this very
        // write let go, and that the watch has taken out already.
        gone_is_fine(self.client.request::<MetaObject>(request).await)?;
        Ok(())
    }

    async fn delete(
        &self,
        identity: &Identity,
        uid: &Uid,
        policy: PropagationPolicy,
    ) -> Result<(), Error> {
        let same = Preconditions { uid: Some(uid.to_string()), resource_version: None };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(same),
            ..DeleteParams::default()
        };
        let request = self.requests(identity)?.delete(&identity.name, &params);
        let request = request.map_err(kube::Error::BuildRequest)?;
        match self.client.request::<serde::de::IgnoredAny>(request).await {
            Ok(_) => {
                tracing::debug!(kind = %identity.kind, name = %identity.name, "collected");
                Ok(())
            }
            // Gone, or another object of the same name by now.
            Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|one| one == finalizer)
}

/// The object's uid, shared by all that refer to it.
fn uid_of(object: &impl Watched) -> Uid {
    object.uid().into()
}
