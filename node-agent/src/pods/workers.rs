//! All pod workers of the node, by pod uid.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_proto::cri;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::lookup::{name_of, namespace_of, pod_desc, uid_of};
use super::observe::{LABEL_CONTAINER_NAME, LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID};
use super::worker::Worker;
use crate::agent::Context;

/// A worker that panicked is started again after this.
const RESTART: Duration = Duration::from_secs(10);
/// The grace of a pod that nobody knows any more.
const ORPHAN_GRACE_SECONDS: i64 = 30;

struct Handle {
    pod: Arc<Mutex<Arc<Pod>>>,
    task: JoinHandle<()>,
    /// The API has the pod no longer.
    gone: bool,
}

/// See the module.
pub(crate) struct Workers {
    cx: Arc<Context>,
    handles: Mutex<BTreeMap<String, Handle>>,
}

impl Workers {
    pub(crate) fn new(cx: Arc<Context>) -> Self {
        Self { cx, handles: Mutex::default() }
    }

    /// A pod of this node is new or changed.
    pub(crate) fn apply(&self, pod: Pod) {
        let pod = Arc::new(pod);
        let uid = uid_of(&pod).to_owned();
        let mut handles = self.handles.lock();
        match handles.get(&uid) {
            Some(handle) => {
                *handle.pod.lock() = pod.clone();
                let mailbox = self.cx.mailboxes.open(&uid);
                mailbox.put(|mail| mail.pod = Some(pod));
            }
            None => {
                handles.insert(uid, self.start(pod, false));
            }
        }
    }

    /// The API has the pod no longer.
    pub(crate) fn vanish(&self, uid: &str) {
        let mut handles = self.handles.lock();
        if let Some(handle) = handles.get_mut(uid) {
            handle.gone = true;
            self.cx.mailboxes.open(uid).put(|mail| mail.vanished = true);
        }
        handles.retain(|uid, handle| {
            let keep = !(handle.gone && handle.task.is_finished());
            if !keep {
                self.cx.mailboxes.close(uid);
            }
            keep
        });
    }

    /// All pods of the node are listed: what is not among them ends, in the runtime too.
    pub(crate) async fn listed(&self, uids: &BTreeSet<String>) {
        let known: Vec<String> = self.handles.lock().keys().cloned().collect();
        known.iter().filter(|uid| !uids.contains(*uid)).for_each(|uid| self.vanish(uid));
        match orphans(&self.cx, uids).await {
            Ok(orphans) => {
                let mut handles = self.handles.lock();
                for pod in orphans {
                    let uid = uid_of(&pod).to_owned();
                    tracing::info!(pod = pod_desc(&pod), "ending a pod that the API does not know");
                    handles.entry(uid).or_insert_with(|| self.start(Arc::new(pod), true));
                }
            }
            Err(error) => tracing::warn!(%error, "runtime not asked for orphans"),
        }
    }

    /// The pods as the API has them.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        let handles = self.handles.lock();
        let live = handles.values().filter(|handle| !handle.task.is_finished());
        live.map(|handle| handle.pod.lock().clone()).collect()
    }

    /// A pod by name, the newest if a deleted one still ends.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let matching = self
            .pods()
            .into_iter()
            .filter(|pod| namespace_of(pod) == namespace && name_of(pod) == name);
        matching.max_by_key(|pod| pod.metadata.creation_timestamp.clone())
    }

    /// Ends the workers; containers run on.
    pub(crate) fn abort(&self) {
        let handles = std::mem::take(&mut *self.handles.lock());
        handles.into_values().for_each(|handle| handle.task.abort());
    }

    fn start(&self, pod: Arc<Pod>, vanished: bool) -> Handle {
        let shared = Arc::new(Mutex::new(pod));
        // Opened here, so that mail finds it before the worker first runs.
        self.cx.mailboxes.open(uid_of(&shared.lock()));
        let task = tokio::spawn(supervise(self.cx.clone(), shared.clone(), vanished));
        Handle { pod: shared, task, gone: vanished }
    }
}

/// A panic ends one run of one worker; the next finds everything in the runtime again.
async fn supervise(cx: Arc<Context>, pod: Arc<Mutex<Arc<Pod>>>, vanished: bool) {
    loop {
        let newest = pod.lock().clone();
        let run = AbortOnDrop(tokio::spawn(Worker::new(cx.clone(), newest, vanished).run()));
        match run.join().await {
            Ok(()) => return,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(%error, pod = pod_desc(&pod.lock()), "pod worker panicked");
                tokio::time::sleep(RESTART).await;
            }
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    async fn join(mut self) -> Result<(), tokio::task::JoinError> {
        (&mut self.0).await
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the runtime has and the API has not, as pods that only know what is needed to end them.
async fn orphans(cx: &Context, uids: &BTreeSet<String>) -> Result<Vec<Pod>, tonic::Status> {
    let mut runtime = cx.cri.runtime.clone();
    let sandboxes = runtime.list_pod_sandbox(cri::ListPodSandboxRequest::default()).await?;
    let containers = runtime.list_containers(cri::ListContainersRequest::default()).await?;
    let mut found: BTreeMap<String, Pod> = BTreeMap::new();
    for sandbox in sandboxes.into_inner().items {
        let label = |name: &str| sandbox.labels.get(name).cloned();
        let Some(uid) = label(LABEL_POD_UID).filter(|uid| !uids.contains(uid)) else { continue };
        let metadata = ObjectMeta {
            name: label(LABEL_POD_NAME),
            namespace: label(LABEL_POD_NAMESPACE),
            uid: Some(uid.clone()),
            ..Default::default()
        };
        let spec = PodSpec {
            termination_grace_period_seconds: Some(ORPHAN_GRACE_SECONDS),
            ..Default::default()
        };
        found.insert(uid, Pod { metadata, spec: Some(spec), status: None });
    }
    for container in containers.into_inner().containers {
        let label = |name: &str| container.labels.get(name).cloned();
        let pod = label(LABEL_POD_UID).and_then(|uid| found.get_mut(&uid));
        if let (Some(spec), Some(name)) =
            (pod.and_then(|pod| pod.spec.as_mut()), label(LABEL_CONTAINER_NAME))
        {
            spec.containers.push(Container { name, ..Default::default() });
        }
    }
    Ok(found.into_values().collect())
}
