//! A cluster with one node whose pods run an image of busybox from a registry.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::registry::Registry;
use crate::{Cluster, Settings, wait};

/// How long something may take that a pod does at once.
const PROMPT: Duration = Duration::from_secs(40);

/// The cluster and its registry.
pub struct Pods {
    /// The cluster, its node Ready.
    pub cluster: Cluster,
    /// The registry that holds [`Pods::image`].
    pub registry: Registry,
    /// The image's name.
    pub image: String,
}

impl Pods {
    /// Starts both.
    pub fn start() -> Result<Self> {
        let registry = Registry::with_busybox(&[("box", "1", "one")])?;
        let image = registry.reference("box", "1");
        let cluster = Cluster::start(Settings::default())?;
        cluster.node_ready()?;
        Ok(Self { cluster, registry, image })
    }

    /// Applies a manifest in which `IMAGE` stands for the image.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.cluster.apply(&manifest.replace("IMAGE", &self.image))
    }

    /// Waits until the pod is Ready.
    pub fn ready(&self, pod: &str) -> Result<()> {
        self.cluster.k(&format!("wait --for=condition=Ready pod/{pod} --timeout=40s")).map(|_| ())
    }

    /// What a shell in the pod's container prints.
    pub fn shell(&self, pod: &str, script: &str) -> Result<String> {
        self.cluster.kubectl(&["exec", pod, "--", "sh", "-c", script])?.ok()
    }

    /// Waits until `kubectl get` with these words shows `text`; gives what it shows.
    pub fn shows(&self, get: &str, text: &str) -> Result<String> {
        let what = format!("{text} in kubectl get {get}");
        wait::until(&what, PROMPT, || {
            let shown = self.cluster.k(&format!("get {get}"))?;
            Ok(shown.contains(text).then_some(shown))
        })
        .with_context(|| self.cluster.k(&format!("get {get} -o yaml")).unwrap_or_default())
    }

    /// Waits until a field of an object, by JSONPath, has `text` in it; gives the field.
    pub fn field_has(&self, object: &str, path: &str, text: &str) -> Result<String> {
        wait::until(&format!("{text} in {path} of {object}"), PROMPT, || {
            let field = self.cluster.field(object, path)?;
            if field.contains(text) {
                return Ok(Some(field));
            }
            anyhow::bail!("it is {field:?}")
        })
    }

    /// Waits for an event of the pod with this reason and text; gives its message.
    pub fn event(&self, pod: &str, reason: &str, text: &str) -> Result<String> {
        let list = format!("events --field-selector involvedObject.name={pod},reason={reason}");
        self.field_has(&list, "{.items[*].message}", text)
    }
}
