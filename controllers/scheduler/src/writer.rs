//! Writes decisions: bindings, and the condition of pods that could not be placed.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use keelson_controller_runtime::{EventType, Recorder, Subject, now};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::objects::Pod as TrimmedPod;
use crate::pod::PodView;

/// Upstream's limit of an event's note.
const EVENT_BYTES_MAX: usize = 1024;

/// Why a pod was not placed, as its condition says it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Failure {
    /// No node fits.
    pub(crate) fn unschedulable(message: String) -> Self {
        Self { reason: "Unschedulable", message }
    }

    /// A node fits, but the pod could not be bound to it.
    pub(crate) fn error(message: String) -> Self {
        Self { reason: "SchedulerError", message }
    }
}

/// Writes to the API and reports what was written as events.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    recorder: Recorder,
}

impl Writer {
    pub(crate) fn new(client: Client, recorder: Recorder) -> Self {
        Self { client, recorder }
    }

    /// Binds a pod to a node.
    pub(crate) async fn bind(&self, pod: Arc<PodView>, node: Arc<str>) -> kube::Result<()> {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": &*pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": &*node},
        });
        let pods = Api::<TrimmedPod>::namespaced(self.client.clone(), pod.namespace());
        pods.create_subresource::<Value, Value>(
            "binding",
            pod.name(),
            &PostParams::default(),
            &binding,
        )
        .await?;
        let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
        self.recorder.record(&subject(&pod), EventType::Normal, "Scheduled", message);
        Ok(())
    }

    /// Says in an event and in the pod's condition why it was not placed.
    pub(crate) async fn report(&self, pod: Arc<PodView>, failure: Failure) -> kube::Result<()> {
        let mut note = failure.message.clone();
        if note.len() > EVENT_BYTES_MAX {
            note.truncate(EVENT_BYTES_MAX - 4);
            note.push_str(" ...");
        }
        self.recorder.record(&subject(&pod), EventType::Warning, "FailedScheduling", note);
        let Some(condition) = condition(&pod, &failure) else {
            return Ok(());
        };
        let pods = Api::<TrimmedPod>::namespaced(self.client.clone(), pod.namespace());
        let patch = json!({
            "metadata": {"uid": &*pod.uid},
            "status": {"conditions": [condition]},
        });
        pods.patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }
}

/// The condition to write, or none if the pod has it already.
fn condition(pod: &PodView, failure: &Failure) -> Option<Value> {
    let known = pod.scheduled.as_ref();
    if known.is_some_and(|known| {
        known.status == "False"
            && known.reason.as_deref() == Some(failure.reason)
            && known.message.as_deref() == Some(&failure.message)
    }) {
        return None;
    }
    let mut condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": failure.reason,
        "message": failure.message,
    });
    if let Some(generation) = pod.generation {
        condition["observedGeneration"] = generation.into();
    }
    if known.is_none_or(|known| known.status != "False") {
        condition["lastTransitionTime"] = json!(now());
    }
    Some(condition)
}

fn subject(pod: &PodView) -> Subject {
    let whole = <Pod as k8s_openapi::Resource>::KIND;
    Subject {
        api_version: "v1".to_owned(),
        kind: whole.to_owned(),
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid.to_string(),
    }
}
