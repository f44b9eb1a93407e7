//! Records events about objects, as `kubectl describe` shows them: like events become one with a
//! count, and a source that reports too much about one object is throttled.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait to be written; more are dropped, since events are a courtesy.
const QUEUE_MAX: usize = 1024;
/// Events remembered so that the next one like it is counted and not written anew.
const REMEMBERED_MAX: usize = 2048;
/// How many events about one object pass at once, and how often one more may.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// Upstream's limit of an event's message.
const MESSAGE_BYTES_MAX: usize = 1024;

/// How an event reads: business as usual, or something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Business as usual.
    Normal,
    /// Something to look at.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Subject {
    /// The subject that is `object`.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Note {
    subject: Subject,
    kind: EventType,
    reason: String,
    message: String,
}

/// Hands events to the task that writes them; never waits and never fails.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<(Note, jiff::Timestamp)>,
}

impl Recorder {
    /// A recorder for `component`, which writes until cancelled.
    pub fn start(client: Client, component: &'static str, token: CancellationToken) -> Self {
        let (notes, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(Writer::new(client, component).run(queue, token));
        Self { notes }
    }

    /// A recorder whose events go nowhere, for tests.
    pub fn silent() -> Self {
        Self { notes: mpsc::channel(1).0 }
    }

    /// Reports an event about `subject`.
    pub fn record(&self, subject: &Subject, kind: EventType, reason: &str, message: String) {
        let mut message = message;
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX - 3).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
            message.push_str("...");
        }
        let note = Note { subject: subject.clone(), kind, reason: reason.to_owned(), message };
        if self.notes.try_send((note, jiff::Timestamp::now())).is_err() {
            tracing::debug!(reason, "event dropped, too many wait");
        }
    }
}

struct Written {
    name: String,
    count: i32,
}

struct Allowance {
    tokens: f64,
    at: jiff::Timestamp,
}

struct Writer {
    client: Client,
    component: &'static str,
    written: BTreeMap<Note, Written>,
    order: VecDeque<Note>,
    allowances: BTreeMap<String, Allowance>,
}

impl Writer {
    fn new(client: Client, component: &'static str) -> Self {
        let (written, order, allowances) = Default::default();
        Self { client, component, written, order, allowances }
    }

    async fn run(
        mut self,
        mut queue: mpsc::Receiver<(Note, jiff::Timestamp)>,
        token: CancellationToken,
    ) {
        while let Some(Some((note, at))) = token.run_until_cancelled(queue.recv()).await {
            if !self.allow(&note.subject.uid, at) {
                continue;
            }
            if let Err(error) = self.write(note, at).await {
                tracing::debug!(component = self.component, %error, "event not written");
            }
        }
    }

    fn allow(&mut self, uid: &str, at: jiff::Timestamp) -> bool {
        if self.allowances.len() > REMEMBERED_MAX {
            self.allowances.clear();
        }
        let fresh = || Allowance { tokens: BURST, at };
        let allowance = match self.allowances.entry(uid.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(fresh()),
        };
        let passed = at.duration_since(allowance.at).as_secs_f64().max(0.0);
        allowance.tokens = (allowance.tokens + passed / REFILL_SECONDS).min(BURST);
        allowance.at = at;
        if allowance.tokens < 1.0 {
            return false;
        }
        allowance.tokens -= 1.0;
        true
    }

    async fn write(&mut self, note: Note, at: jiff::Timestamp) -> kube::Result<()> {
        let namespace = match note.subject.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        if let Some(written) = self.written.get_mut(&note) {
            let count = written.count + 1;
            let patch = serde_json::json!({"count": count, "lastTimestamp": Time(at)});
            match events
                .patch_metadata(&written.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Ok(_) => {
                    written.count = count;
                    return Ok(());
                }
                // The event has expired: a new one begins.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let event = self.event(&note, namespace, at);
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        self.remember(note, Written { name, count: 1 });
        Ok(())
    }

    fn event(&self, note: &Note, namespace: &str, at: jiff::Timestamp) -> Event {
        let subject = &note.subject;
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:x}", subject.name, at.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: some(&subject.api_version),
                kind: some(&subject.kind),
                namespace: some(&subject.namespace),
                name: some(&subject.name),
                uid: some(&subject.uid),
                ..ObjectReference::default()
            },
            type_: Some(note.kind.as_str().to_owned()),
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            source: Some(EventSource { component: Some(self.component.to_owned()), host: None }),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(String::new()),
            first_timestamp: Some(Time(at)),
            last_timestamp: Some(Time(at)),
            count: Some(1),
            ..Event::default()
        }
    }

    fn remember(&mut self, note: Note, written: Written) {
        if self.written.insert(note.clone(), written).is_none() {
            self.order.push_back(note);
        }
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.written.remove(&oldest);
            }
        }
    }
}
