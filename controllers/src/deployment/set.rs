//! A replica set as a plan works on it: what it is, and what it is to become.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use keelson_controller_runtime::Watched;

use super::plan::{Action, Write};
use super::revision;
use super::scale;

/// A replica set in a plan.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) object: ReplicaSet,
    was: i32,
    is_new: bool,
    changed: bool,
}

impl Set {
    /// One that exists.
    pub(super) fn existing(object: &ReplicaSet) -> Self {
        let was = replicas(object);
        Self { object: object.clone(), was, is_new: false, changed: false }
    }

    /// One to be created.
    pub(super) fn new(object: ReplicaSet) -> Self {
        Self { object, was: 0, is_new: true, changed: true }
    }

    /// Replicas wanted of it.
    pub(super) fn replicas(&self) -> i32 {
        replicas(&self.object)
    }

    /// Replicas that are available.
    pub(super) fn available(&self) -> i32 {
        let status = self.object.status.as_ref();
        status.and_then(|status| status.available_replicas).unwrap_or(0)
    }

    /// Replicas that exist.
    pub(super) fn actual(&self) -> i32 {
        self.object.status.as_ref().map_or(0, |status| status.replicas)
    }

    /// Wants other replicas of it, and notes what the deployment wants of all its sets.
    pub(super) fn scale(&mut self, deployment: &Deployment, replicas: i32) {
        if self.replicas() != replicas {
            if let Some(spec) = &mut self.object.spec {
                spec.replicas = Some(replicas);
            }
            self.changed = true;
            self.annotate(deployment);
        }
    }

    /// Notes what the deployment wants of all its sets.
    pub(super) fn annotate(&mut self, deployment: &Deployment) {
        let wanted = scale::wanted(deployment);
        let most = wanted + scale::max_surge(deployment);
        let annotations = self.object.metadata.annotations.get_or_insert_default();
        for (name, value) in [(revision::DESIRED_REPLICAS, wanted), (revision::MAX_REPLICAS, most)]
        {
            let value = value.to_string();
            if annotations.get(name) != Some(&value) {
                annotations.insert(name.to_owned(), value);
                self.changed = true;
            }
        }
    }

    /// Says that the object was changed.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    /// What there is to write, if anything.
    pub(super) fn into_write(self) -> Option<Write> {
        if !self.changed {
            return None;
        }
        let (was, is) = (self.was, self.replicas());
        let direction = if was < is { "up" } else { "down" };
        let name = self.object.key().name;
        let event = (was != is)
            .then(|| format!("Scaled {direction} replica set {name} from {was} to {is}"));
        let action = if self.is_new { Action::Create } else { Action::Update };
        Some(Write { set: self.object, action, event })
    }
}

fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}
