//! Records events about pods and the node: repeated ones are counted, floods are dropped.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::mpsc;

/// Notes that wait to be written; more are dropped.
const QUEUE_MAX: usize = 1024;
/// Distinct events whose count is remembered.
const KNOWN_MAX: usize = 4096;
/// An object may send this many events at once, and then one each `REFILL`.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

/// The two types of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventType {
    Normal,
    Warning,
}

impl EventType {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Debug)]
struct Note {
    about: ObjectReference,
    kind: EventType,
    reason: &'static str,
    message: String,
}

/// A handle that any task may record events with; never blocks, never fails.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Note>,
    node: String,
}

impl Recorder {
    /// Starts the task that writes; it ends when the last handle is dropped.
    pub(crate) fn start(client: kube::Client, node: String) -> (Self, impl Future<Output = ()>) {
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        (Self { queue, node: node.clone() }, write_all(client, node, inbox))
    }

    /// An event about a pod.
    pub(crate) fn pod(&self, pod: &Pod, kind: EventType, reason: &'static str, message: String) {
        self.send(pod_reference(pod), kind, reason, message);
    }

    /// An event about a container of a pod.
    pub(crate) fn container(
        &self,
        pod: &Pod,
        container: &str,
        kind: EventType,
        reason: &'static str,
        message: String,
    ) {
        let mut about = pod_reference(pod);
        about.field_path = Some(field_path(pod, container));
        self.send(about, kind, reason, message);
    }

    /// An event about the node. The kubelet's node references carry the name as uid.
    pub(crate) fn node(&self, kind: EventType, reason: &'static str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node.clone()),
            uid: Some(self.node.clone()),
            ..Default::default()
        };
        self.send(about, kind, reason, message);
    }

    fn send(&self, about: ObjectReference, kind: EventType, reason: &'static str, message: String) {
        tracing::debug!(name = about.name.as_deref(), reason, message, "event");
        if self.queue.try_send(Note { about, kind, reason, message }).is_err() {
            tracing::warn!(reason, "event dropped: the queue is full");
        }
    }
}

fn pod_reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: None,
    }
}

fn field_path(pod: &Pod, container: &str) -> String {
    let init = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
    let list =
        if init.into_iter().any(|c| c.name == container) { "initContainers" } else { "containers" };
    format!("spec.{list}{{{container}}}")
}

/// What tells one event from another.
type EventKey = (String, String, &'static str, String, EventType);

struct Known {
    name: String,
    count: i32,
}

struct Tokens {
    left: f64,
    at: Instant,
}

async fn write_all(client: kube::Client, node: String, mut inbox: mpsc::Receiver<Note>) {
    let mut known: BTreeMap<EventKey, Known> = BTreeMap::new();
    let mut tokens: BTreeMap<String, Tokens> = BTreeMap::new();
    while let Some(note) = inbox.recv().await {
        let uid = note.about.uid.clone().unwrap_or_default();
        if !take_token(&mut tokens, &uid, Instant::now()) {
            continue;
        }
        let field_path = note.about.field_path.clone().unwrap_or_default();
        let key = (uid, field_path, note.reason, note.message.clone(), note.kind);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let now = Timestamp::now();
        if let Some(known) = known.get_mut(&key) {
            known.count = known.count.saturating_add(1);
            let patch = serde_json::json!({
                "count": known.count,
                "lastTimestamp": Time(now),
            });
            match api.patch(&known.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => continue,
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::debug!(%error, "event not counted");
                    continue;
                }
            }
        }
        let event = event(&node, &namespace, note, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                known.insert(key, Known { name, count: 1 });
            }
            Err(error) => tracing::debug!(%error, name, "event not written"),
        }
    }
}

fn take_token(tokens: &mut BTreeMap<String, Tokens>, uid: &str, now: Instant) -> bool {
    if tokens.len() >= KNOWN_MAX {
        tokens.clear();
    }
    let entry = tokens.entry(uid.to_owned()).or_insert(Tokens { left: BURST, at: now });
    let refill = now.duration_since(entry.at).as_secs_f64() / REFILL.as_secs_f64();
    entry.left = (entry.left + refill).min(BURST);
    entry.at = now;
    if entry.left < 1.0 {
        return false;
    }
    entry.left -= 1.0;
    true
}

fn event(node: &str, namespace: &str, note: Note, now: Timestamp) -> Event {
    let object = note.about.name.clone().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{object}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..Default::default()
        },
        involved_object: note.about,
        reason: Some(note.reason.into()),
        message: Some(note.message),
        type_: Some(note.kind.name().into()),
        source: Some(EventSource { component: Some("kubelet".into()), host: Some(node.into()) }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node.into()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_events_is_cut_after_the_burst_and_resumes() {
        let mut tokens = BTreeMap::new();
        let start = Instant::now();
        let passed = (0..40).filter(|_| take_token(&mut tokens, "a", start)).count();
        assert_eq!(passed, 25);
        assert!(take_token(&mut tokens, "b", start));
        assert!(!take_token(&mut tokens, "a", start + Duration::from_secs(200)));
        assert!(take_token(&mut tokens, "a", start + Duration::from_secs(400)));
    }
}
