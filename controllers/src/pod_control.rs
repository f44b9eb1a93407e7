//! Creates pods from templates and deletes them, with the events that say so on their owner.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use keelson_controller_runtime::{EventType, Informer, Recorder, Subject, Watched};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::core::Request;
use serde_json::{Value, json};

use crate::api_error::{Worded, gone_is_fine, is_namespace_terminating};
use crate::objects::Pod;

/// The owner of pods, as their metadata and its events name it.
pub(crate) struct PodOwner {
    pub(crate) reference: OwnerReference,
    pub(crate) subject: Subject,
}

/// Creates and deletes pods.
#[derive(Clone)]
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) pods: Informer<Pod>,
}

impl PodControl {
    /// Creates the pod that `body` describes; the informer knows it from then on.
    pub(crate) async fn create(&self, owner: &PodOwner, body: &Value) -> kube::Result<()> {
        let namespace = &owner.subject.namespace;
        match self.post(namespace, body).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.key().name);
                self.pods.observe_write(pod);
                let subject = &owner.subject;
                self.recorder.record(subject, EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                if !is_namespace_terminating(&error) {
                    let message = format!("Error creating: {}", Worded(&error));
                    let subject = &owner.subject;
                    self.recorder.record(subject, EventType::Warning, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    /// Deletes a pod; one that is gone already is fine.
    pub(crate) async fn delete(&self, owner: &PodOwner, pod: &Pod) -> kube::Result<()> {
        let (key, uid) = (pod.key(), pod.uid());
        let pods = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let same = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        match gone_is_fine(pods.delete(&key.name, &params).await) {
            Ok(_) => {
                self.pods.observe_delete(&key, uid);
                let message = format!("Deleted pod: {}", key.name);
                let subject = &owner.subject;
                self.recorder.record(subject, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) => {
                let message = format!("Error deleting: {}", Worded(&error));
                let subject = &owner.subject;
                self.recorder.record(subject, EventType::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    async fn post(&self, namespace: &str, body: &Value) -> kube::Result<Pod> {
        let path = <Pod as kube::Resource>::url_path(&(), Some(namespace));
        let body = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
        let request = Request::new(path).create(&PostParams::default(), body);
        self.client.request(request.map_err(kube::Error::BuildRequest)?).await
    }
}

/// The pod that a template describes, named after its owner.
pub(crate) fn from_template(template: &PodTemplateSpec, owner: &OwnerReference) -> Value {
    let meta = template.metadata.clone().unwrap_or_default();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": format!("{}-", owner.name), "ownerReferences": [owner]},
        "spec": template.spec,
    });
    if let Some(labels) = meta.labels {
        pod["metadata"]["labels"] = json!(labels);
    }
    if let Some(annotations) = meta.annotations {
        pod["metadata"]["annotations"] = json!(annotations);
    }
    if let Some(finalizers) = meta.finalizers {
        pod["metadata"]["finalizers"] = json!(finalizers);
    }
    pod
}
