//! What to do about a deployment, from all that is known of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keelson_controller_runtime::Watched;

use super::set::Set;
use super::status::{self, Conditions};
use super::{revision, scale};

/// All that a plan depends on.
pub(super) struct Seen<'a> {
    pub(super) deployment: &'a Deployment,
    /// The deployment's own sets.
    pub(super) sets: &'a [Arc<ReplicaSet>],
    /// Uids of those that have pods which have not ended.
    pub(super) with_pods: Vec<&'a str>,
    pub(super) now: Timestamp,
}

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) writes: Vec<Write>,
    pub(super) status: DeploymentStatus,
    /// The revision that the deployment is to say it has.
    pub(super) revision: Option<String>,
    /// Reason and message of an event.
    pub(super) warning: Option<(&'static str, String)>,
    /// After how long to look again if nothing happens.
    pub(super) again: Option<Duration>,
}

/// One write of a replica set.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) set: ReplicaSet,
    pub(super) action: Action,
    /// The message of the event about it.
    pub(super) event: Option<String>,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Update,
    Delete,
}

/// Compares what is with what is wanted; does not know which event woke it; may run twice.
pub(super) fn plan(seen: &Seen<'_>) -> Plan {
    let deployment = seen.deployment;
    let Some(spec) = &deployment.spec else { return Plan::default() };
    if spec.selector == LabelSelector::default() {
        return refuse(deployment);
    }
    let mut draft = Draft::new(seen);
    if deployment.is_deleting() {
        return draft.finish(Progress::Ignored);
    }
    draft.conditions.note_pause(deployment);
    let paused = spec.paused.unwrap_or(false);
    if paused || scale::was_scaled(deployment, draft.sets.iter()) {
        draft.sync_new();
        scale::spread(deployment, &mut draft.sets, draft.new);
        if paused {
            draft.clean_up();
        }
        return draft.finish(Progress::Ignored);
    }
    if scale::is_rolling(deployment) {
        draft.ensure_new();
        draft.roll();
    } else {
        draft.recreate(seen);
    }
    let known = deployment.status.clone().unwrap_or_default();
    if status::is_complete(deployment, &known) {
        draft.clean_up();
    }
    draft.finish(Progress::Judged)
}

fn refuse(deployment: &Deployment) -> Plan {
    let message = "This deployment is selecting all pods. A non-empty selector is required.";
    let mut status = deployment.status.clone().unwrap_or_default();
    status.observed_generation = deployment.metadata.generation;
    Plan { status, warning: Some(("SelectingAll", message.to_owned())), ..Plan::default() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Judged,
    /// While paused, scaled or deleted, no progress is expected.
    Ignored,
}

/// A plan in the making.
struct Draft<'a> {
    deployment: &'a Deployment,
    sets: Vec<Set>,
    /// The set with the deployment's template.
    new: Option<usize>,
    conditions: Conditions,
    /// Old sets beyond the history that is kept.
    delete: Vec<ReplicaSet>,
}

impl<'a> Draft<'a> {
    fn new(seen: &Seen<'a>) -> Self {
        Self {
            deployment: seen.deployment,
            sets: seen.sets.iter().map(|set| Set::existing(set)).collect(),
            new: revision::find_new(seen.deployment, seen.sets),
            conditions: Conditions::of(seen.deployment, seen.now),
            delete: Vec::new(),
        }
    }

    fn old(&self) -> impl Iterator<Item = &Set> {
        let new = self.new;
        self.sets.iter().enumerate().filter(move |(at, _)| Some(*at) != new).map(|(_, set)| set)
    }

    /// Brings the new set up to date, if there is one.
    fn sync_new(&mut self) {
        let next = revision::highest(self.old()) + 1;
        if let Some(new) = self.new {
            revision::update_new(self.deployment, &mut self.sets[new], next);
            let name = self.sets[new].object.key().name;
            self.conditions.note_new_set(self.deployment, &name, false);
        }
    }

    /// Brings the new set up to date, and makes one if there is none.
    fn ensure_new(&mut self) {
        self.sync_new();
        if self.new.is_some() {
            return;
        }
        let next = revision::highest(self.sets.iter()) + 1;
        let Some(object) = revision::new_set(self.deployment, next) else { return };
        let all = self.sets.iter().map(Set::replicas).sum();
        let mut set = Set::new(object);
        set.scale(self.deployment, scale::new_replicas(self.deployment, 0, all));
        set.annotate(self.deployment);
        self.conditions.note_new_set(self.deployment, &set.object.key().name, true);
        self.new = Some(self.sets.len());
        self.sets.push(set);
    }

    fn roll(&mut self) {
        let Some(new) = self.new else { return };
        let mut set = self.sets.remove(new);
        scale::roll(self.deployment, &mut set, &mut self.sets);
        self.new = Some(self.sets.len());
        self.sets.push(set);
    }

    /// Old sets to nothing; once their last pod is gone, the new one to full size.
    fn recreate(&mut self, seen: &Seen<'_>) {
        self.sync_new();
        let new = self.new;
        let mut waits = false;
        for (_, set) in self.sets.iter_mut().enumerate().filter(|(at, _)| Some(*at) != new) {
            waits |= set.replicas() > 0
                || set.actual() > 0
                || seen.with_pods.contains(&set.object.uid());
            set.scale(seen.deployment, 0);
        }
        if waits {
            return;
        }
        self.ensure_new();
        if let Some(new) = self.new {
            self.sets[new].scale(seen.deployment, scale::wanted(seen.deployment));
        }
    }

    /// Drops the oldest of the old sets that are empty, beyond the history to keep.
    fn clean_up(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return };
        let mut old: Vec<&Set> = self.old().filter(|set| !set.object.is_deleting()).collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| revision::of_set(set));
        let empty = |set: &&&Set| {
            let status = set.object.status.as_ref();
            let observed = status.and_then(|status| status.observed_generation);
            set.actual() == 0 && set.replicas() == 0 && set.object.metadata.generation <= observed
        };
        self.delete = old[..surplus].iter().filter(empty).map(|set| set.object.clone()).collect();
    }

    fn finish(mut self, progress: Progress) -> Plan {
        let conditions = &mut self.conditions;
        let mut status = status::counted(self.deployment, &self.sets, self.new, conditions);
        let again = match progress {
            Progress::Judged => {
                status::judge(self.deployment, &status, &self.sets, self.new, conditions)
            }
            Progress::Ignored => None,
        };
        status.conditions = Some(self.conditions.list);
        let revision = self
            .new
            .and_then(|new| revision::of(&self.sets[new].object.metadata))
            .filter(|_| !self.deployment.is_deleting())
            .map(str::to_owned);
        let gone: Vec<String> = self.delete.iter().map(|set| set.uid().to_owned()).collect();
        let mut writes: Vec<Write> = self
            .sets
            .into_iter()
            .filter(|set| !gone.iter().any(|uid| uid == set.object.uid()))
            .filter_map(Set::into_write)
            .collect();
        let deletes = self.delete.into_iter();
        writes.extend(deletes.map(|set| Write { set, action: Action::Delete, event: None }));
        Plan { writes, status, revision, warning: None, again }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
