//! ConfigMaps and Secrets that pods on this node use, each followed by a watch of its own while a pod refers to it.
//!
//! A watch by name is all that the node may have of them; one is shared by all pods that name the object.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How long a reader waits for the first answer of a watch.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// The two kinds of objects that give pods data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectKind {
    ConfigMap,
    Secret,
}

impl ObjectKind {
    /// The lower-case name in error messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) kind: ObjectKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The data of a ConfigMap or Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) data: BTreeMap<String, Bytes>,
    /// The type of a Secret.
    pub(crate) secret_type: String,
}

impl From<ConfigMap> for Contents {
    fn from(map: ConfigMap) -> Self {
        let text = map.data.into_iter().flatten().map(|(k, v)| (k, Bytes::from(v)));
        let binary = map.binary_data.into_iter().flatten().map(|(k, v)| (k, Bytes::from(v.0)));
        Self { data: text.chain(binary).collect(), secret_type: String::new() }
    }
}

impl From<Secret> for Contents {
    fn from(secret: Secret) -> Self {
        Self {
            data: secret.data.into_iter().flatten().map(|(k, v)| (k, Bytes::from(v.0))).collect(),
            secret_type: secret.type_.unwrap_or_default(),
        }
    }
}

/// What the watch of one object knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ObjectState {
    /// No answer yet, or the API server refuses: the words say why.
    Unknown(String),
    Missing,
    Found(Arc<Contents>),
}

/// Called with the uid of each pod that refers to an object that changed.
pub(crate) type Nudge = Arc<dyn Fn(&str) + Send + Sync>;

struct Entry {
    state: watch::Receiver<ObjectState>,
    task: AbortHandle,
    users: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The followed objects.
pub(crate) struct ObjectCache {
    client: kube::Client,
    nudge: Nudge,
    entries: Mutex<BTreeMap<ObjectKey, Entry>>,
}

impl ObjectCache {
    pub(crate) fn new(client: kube::Client, nudge: Nudge) -> Self {
        Self { client, nudge, entries: Mutex::new(BTreeMap::new()) }
    }

    /// Follows exactly `keys` on behalf of the pod `uid`; an empty set lets go of all.
    pub(crate) fn follow(&self, uid: &str, keys: &BTreeSet<ObjectKey>) {
        let mut entries = self.entries.lock();
        for key in keys {
            let entry = entries.entry(key.clone()).or_insert_with(|| self.start(key));
            entry.users.lock().insert(uid.to_owned());
        }
        entries.retain(|key, entry| {
            let mut users = entry.users.lock();
            if !keys.contains(key) {
                users.remove(uid);
            }
            !users.is_empty()
        });
    }

    /// The object's data, when the first answer has come; an object that nobody follows is unknown.
    pub(crate) async fn get(&self, key: &ObjectKey) -> ObjectState {
        let Some(mut state) = self.entries.lock().get(key).map(|entry| entry.state.clone()) else {
            return ObjectState::Unknown(format!("{} is not followed", key.kind.word()));
        };
        let answered =
            state.wait_for(|s| !matches!(s, ObjectState::Unknown(why) if why.is_empty()));
        match tokio::time::timeout(FIRST_ANSWER, answered).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => {
                ObjectState::Unknown("timed out waiting for the condition".to_owned())
            }
        }
    }

    fn start(&self, key: &ObjectKey) -> Entry {
        let (sender, state) = watch::channel(ObjectState::Unknown(String::new()));
        let users = Arc::new(Mutex::new(BTreeSet::new()));
        let (client, nudge) = (self.client.clone(), self.nudge.clone());
        let told = users.clone();
        let tell = move || {
            let users: Vec<String> = told.lock().iter().cloned().collect();
            users.iter().for_each(|uid| nudge(uid));
        };
        let key = key.clone();
        let task = match key.kind {
            ObjectKind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(client, &key.namespace);
                tokio::spawn(follow_one(api, key.name, sender, tell))
            }
            ObjectKind::Secret => {
                let api: Api<Secret> = Api::namespaced(client, &key.namespace);
                tokio::spawn(follow_one(api, key.name, sender, tell))
            }
        };
        Entry { state, task: task.abort_handle(), users }
    }
}

async fn follow_one<K>(
    api: Api<K>,
    name: String,
    sender: watch::Sender<ObjectState>,
    tell: impl Fn(),
) where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
    Contents: From<K>,
{
    let stream = watcher::watch_object(api, &name).default_backoff();
    let mut stream = std::pin::pin!(stream);
    while let Some(answer) = stream.next().await {
        let state = match answer {
            Ok(Some(object)) => ObjectState::Found(Arc::new(object.into())),
            Ok(None) => ObjectState::Missing,
            Err(error) if matches!(*sender.borrow(), ObjectState::Unknown(_)) => {
                ObjectState::Unknown(error.to_string())
            }
            // What was known stays good while the API server is away.
            Err(_) => continue,
        };
        let first = matches!(*sender.borrow(), ObjectState::Unknown(_));
        let changed = sender.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
        if changed && !first {
            tell();
        }
    }
}
