//! A deployment's status: counts, and the conditions that tell how its rollout goes.
//! upstream: pkg/controller/deployment, progress.go

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSetStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keelson_controller_runtime::Watched;

use super::scale;
use super::set::Set;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// A deployment's conditions while they are worked on.
pub(super) struct Conditions {
    pub(super) list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    pub(super) fn of(deployment: &Deployment, now: Timestamp) -> Self {
        let list = deployment.status.as_ref().and_then(|status| status.conditions.clone());
        Self { list: list.unwrap_or_default(), now }
    }

    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    fn reason(&self, kind: &str) -> Option<&str> {
        self.get(kind)?.reason.as_deref()
    }

    fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition.type_ != kind);
    }

    /// Sets a condition; one with the same status and reason stays as it is.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let known = self.get(kind);
        let same = known
            .is_some_and(|known| known.status == status && known.reason.as_deref() == Some(reason));
        if !same {
            self.replace(kind, status, reason, message);
        }
    }

    /// Sets a condition and when it was last looked at, even if it stays the same.
    fn replace(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let known = self.get(kind).filter(|known| known.status == status);
        let since = known.and_then(|known| known.last_transition_time.clone());
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: Some(Time(self.now)),
            last_transition_time: since.or(Some(Time(self.now))),
        };
        self.remove(kind);
        self.list.push(condition);
    }

    /// Notes that a deployment was paused, or goes on: its deadline does not run meanwhile.
    pub(super) fn note_pause(&mut self, deployment: &Deployment) {
        if deadline(deployment).is_none() || self.reason(PROGRESSING) == Some(TIMED_OUT) {
            return;
        }
        let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
        let was_paused = self.reason(PROGRESSING) == Some(PAUSED);
        if paused && !was_paused {
            self.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned());
        } else if !paused && was_paused {
            let message = "Deployment is resumed".to_owned();
            self.set(PROGRESSING, "Unknown", "DeploymentResumed", message);
        }
    }

    /// Notes the set that the rollout goes to.
    pub(super) fn note_new_set(&mut self, deployment: &Deployment, name: &str, created: bool) {
        if deadline(deployment).is_none() {
            return;
        }
        if created {
            let message = format!("Created new replica set \"{name}\"");
            self.set(PROGRESSING, "True", "NewReplicaSetCreated", message);
        } else if self.get(PROGRESSING).is_none() {
            let message = format!("Found new replica set \"{name}\"");
            self.set(PROGRESSING, "True", "FoundNewReplicaSet", message);
        }
    }
}

/// How long a rollout may stand still; none if for ever.
fn deadline(deployment: &Deployment) -> Option<Duration> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    let seconds = u64::try_from(seconds).ok().filter(|_| seconds != i32::MAX)?;
    Some(Duration::from_secs(seconds))
}

/// The status that the sets amount to, before progress is judged.
pub(super) fn counted(
    deployment: &Deployment,
    sets: &[Set],
    new: Option<usize>,
    conditions: &mut Conditions,
) -> DeploymentStatus {
    let statuses = || sets.iter().filter_map(|set| set.object.status.as_ref());
    let sum = |count: fn(&ReplicaSetStatus) -> i32| statuses().map(count).sum::<i32>();
    let available = sum(|status| status.available_replicas.unwrap_or(0));
    let wanted_of_sets: i32 = sets.iter().map(Set::replicas).sum();
    let enough = available >= scale::wanted(deployment) - scale::max_unavailable(deployment);
    if enough {
        let message = "Deployment has minimum availability.".to_owned();
        conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    let some = |count: i32| Some(count).filter(|count| *count > 0);
    let terminating = statuses().filter_map(|status| status.terminating_replicas);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(|status| status.replicas)),
        updated_replicas: some(new.map_or(0, |new| sets[new].actual())),
        ready_replicas: some(sum(|status| status.ready_replicas.unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some(wanted_of_sets - available),
        terminating_replicas: terminating.reduce(|all, one| all + one),
        collision_count: deployment.status.as_ref().and_then(|status| status.collision_count),
        conditions: None,
    }
}

/// True if the rollout is over: all replicas are new and available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = scale::wanted(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Judges the rollout's progress. Answers after how long to look again, if nothing happens.
pub(super) fn judge(
    deployment: &Deployment,
    status: &DeploymentStatus,
    sets: &[Set],
    new: Option<usize>,
    conditions: &mut Conditions,
) -> Option<Duration> {
    let subject = match new {
        Some(new) => format!("ReplicaSet \"{}\"", sets[new].object.key().name),
        None => format!("Deployment \"{}\"", deployment.key().name),
    };
    note_failures(sets, new, conditions);
    let Some(deadline) = deadline(deployment) else {
        conditions.remove(PROGRESSING);
        return None;
    };
    let settled = status.replicas == status.updated_replicas
        && conditions.reason(PROGRESSING) == Some(NEW_SET_AVAILABLE);
    if settled {
        return None;
    }
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        conditions.set(PROGRESSING, "True", NEW_SET_AVAILABLE, message);
        return None;
    }
    if has_progressed(deployment, status) {
        let message = format!("{subject} is progressing.");
        conditions.replace(PROGRESSING, "True", "ReplicaSetUpdated", message);
    }
    let condition = conditions.get(PROGRESSING)?;
    if matches!(condition.reason.as_deref(), Some(TIMED_OUT | NEW_SET_AVAILABLE)) {
        return None;
    }
    let since = condition.last_update_time.as_ref()?.0;
    let passed = Duration::try_from(conditions.now.duration_since(since)).unwrap_or_default();
    if passed > deadline {
        let message = format!("{subject} has timed out progressing.");
        conditions.set(PROGRESSING, "False", TIMED_OUT, message);
        return None;
    }
    // The deadline counts whole seconds that have passed.
    Some(deadline - passed + Duration::from_secs(1))
}

fn has_progressed(deployment: &Deployment, new: &DeploymentStatus) -> bool {
    let none = DeploymentStatus::default();
    let old = deployment.status.as_ref().unwrap_or(&none);
    let outdated = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    new.updated_replicas > old.updated_replicas
        || outdated(new) < outdated(old)
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

/// Takes over the failure of the new set, or of any other.
fn note_failures(sets: &[Set], new: Option<usize>, conditions: &mut Conditions) {
    let failure = |set: &Set| {
        let list = set.object.status.as_ref()?.conditions.as_ref()?;
        list.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned()
    };
    let found = new.and_then(|new| failure(&sets[new])).or_else(|| sets.iter().find_map(failure));
    match found {
        Some(failure) => {
            let reason = failure.reason.unwrap_or_default();
            let message = failure.message.unwrap_or_default();
            conditions.set(REPLICA_FAILURE, &failure.status, &reason, message);
        }
        None => conditions.remove(REPLICA_FAILURE),
    }
}

/// Counts that the new set's name was taken: the next hash differs.
pub(super) fn count_collision(deployment: &Deployment, status: &mut DeploymentStatus) {
    let before = deployment.status.as_ref().and_then(|status| status.collision_count);
    *status = deployment.status.clone().unwrap_or_default();
    status.collision_count = Some(before.unwrap_or(0) + 1);
}

/// Notes that the new set could not be created.
pub(super) fn creation_failed(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    message: &str,
) {
    let mut conditions = Conditions::of(deployment, Timestamp::now());
    *status = deployment.status.clone().unwrap_or_default();
    if deadline(deployment).is_some() {
        conditions.set(PROGRESSING, "False", "ReplicaSetCreateError", message.to_owned());
        status.conditions = Some(conditions.list);
    }
}
