//! How many replicas each set of a deployment gets, from step to step.
//! upstream: pkg/controller/deployment, rolling.go, recreate.go, sync.go

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy};

use super::revision;
use super::set::Set;
use crate::int_or_percent::{Round, resolve};

/// Replicas that the deployment wants.
pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// True unless the deployment stops all old pods before it starts new ones.
pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    strategy(deployment).and_then(|one| one.type_.as_deref()) != Some("Recreate")
}

/// Pods that may exist beyond those wanted.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    fenceposts(deployment).0
}

/// Pods of those wanted that may be unavailable.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if !is_rolling(deployment) || wanted(deployment) == 0 {
        return 0;
    }
    fenceposts(deployment).1.min(wanted(deployment))
}

/// Surge and unavailability, never both 0: then nothing could move.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    if !is_rolling(deployment) {
        return (0, 0);
    }
    let rolling = strategy(deployment).and_then(|one| one.rolling_update.as_ref());
    let total = wanted(deployment);
    let surge = resolve(rolling.and_then(|one| one.max_surge.as_ref()), total, Round::Up);
    let unavailable =
        resolve(rolling.and_then(|one| one.max_unavailable.as_ref()), total, Round::Down);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn strategy(deployment: &Deployment) -> Option<&DeploymentStrategy> {
    deployment.spec.as_ref()?.strategy.as_ref()
}

/// Replicas that the new set may have now, next to the old ones.
pub(super) fn new_replicas(deployment: &Deployment, new: i32, all: i32) -> i32 {
    let wanted = wanted(deployment);
    if !is_rolling(deployment) {
        return wanted;
    }
    let room = wanted + max_surge(deployment) - all;
    if room <= 0 { new } else { new + room.min(wanted - new) }
}

/// Takes the next step of a rolling update: the new set up, or else old ones down.
pub(super) fn roll(deployment: &Deployment, new: &mut Set, old: &mut [Set]) {
    let all: i32 = new.replicas() + old.iter().map(Set::replicas).sum::<i32>();
    let before = new.replicas();
    if before > wanted(deployment) {
        new.scale(deployment, wanted(deployment));
    } else if before < wanted(deployment) {
        new.scale(deployment, new_replicas(deployment, before, all));
    }
    if new.replicas() == before {
        shrink_old(deployment, new, old, all);
    }
}

/// Takes replicas off old sets, unhealthy ones first, as far as availability allows.
fn shrink_old(deployment: &Deployment, new: &Set, old: &mut [Set], all: i32) {
    if old.iter().all(|set| set.replicas() == 0) {
        return;
    }
    let available_min = wanted(deployment) - max_unavailable(deployment);
    // Pods of the new set that are not available must not make room for more.
    let new_unavailable = new.replicas() - new.available();
    let mut removable = all - available_min - new_unavailable;
    if removable <= 0 {
        return;
    }
    old.sort_by(|a, b| {
        a.object.metadata.creation_timestamp.cmp(&b.object.metadata.creation_timestamp)
    });
    for set in old.iter_mut() {
        let unhealthy = (set.replicas() - set.available()).clamp(0, removable.max(0));
        set.scale(deployment, set.replicas() - unhealthy);
        removable -= unhealthy;
    }
    let available: i32 = new.available() + old.iter().map(Set::available).sum::<i32>();
    let mut surplus = available - available_min;
    for set in old.iter_mut() {
        let less = set.replicas().min(surplus.max(0));
        set.scale(deployment, set.replicas() - less);
        surplus -= less;
    }
}

/// True if the deployment was scaled since its sets were: that comes before a rollout goes on.
pub(super) fn was_scaled<'a>(
    deployment: &Deployment,
    mut sets: impl Iterator<Item = &'a Set>,
) -> bool {
    sets.any(|set| {
        set.replicas() > 0
            && revision::number(&set.object.metadata, revision::DESIRED_REPLICAS)
                .is_some_and(|desired| desired != i64::from(wanted(deployment)))
    })
}

/// Brings the sets to the deployment's size without moving the rollout: all to the only active
/// one, none to old ones beside a finished new one, or to each its share.
pub(super) fn spread(deployment: &Deployment, sets: &mut [Set], new: Option<usize>) {
    let wanted = wanted(deployment);
    let active: Vec<usize> = (0..sets.len()).filter(|at| sets[*at].replicas() > 0).collect();
    let only = match active.as_slice() {
        [] => new.or_else(|| newest(sets)),
        [only] => Some(*only),
        _ => None,
    };
    if active.len() <= 1 {
        if let Some(only) = only {
            sets[only].scale(deployment, wanted);
            sets[only].annotate_if_active(deployment);
        }
        return;
    }
    if new.is_some_and(|new| is_saturated(deployment, &sets[new])) {
        for at in active.into_iter().filter(|at| Some(*at) != new) {
            sets[at].scale(deployment, 0);
        }
        return;
    }
    if is_rolling(deployment) {
        spread_by_share(deployment, sets, active);
    }
}

fn newest(sets: &[Set]) -> Option<usize> {
    (0..sets.len()).max_by_key(|at| sets[*at].object.metadata.creation_timestamp.clone())
}

fn is_saturated(deployment: &Deployment, new: &Set) -> bool {
    let wanted = wanted(deployment);
    new.replicas() == wanted
        && new.available() == wanted
        && revision::number(&new.object.metadata, revision::DESIRED_REPLICAS)
            == Some(i64::from(wanted))
}

fn spread_by_share(deployment: &Deployment, sets: &mut [Set], mut active: Vec<usize>) {
    let total: i32 = active.iter().map(|at| sets[*at].replicas()).sum();
    let allowed = match wanted(deployment) {
        0 => 0,
        wanted => wanted + max_surge(deployment),
    };
    let to_add = allowed - total;
    // The largest first; of equal ones the newer gets more, and the older loses more.
    active.sort_by(|a, b| {
        let (a, b) = (&sets[*a], &sets[*b]);
        let age = a.object.metadata.creation_timestamp.cmp(&b.object.metadata.creation_timestamp);
        let age = if to_add > 0 { age.reverse() } else { age };
        b.replicas().cmp(&a.replicas()).then(age)
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for at in &active {
        let share = share(deployment, &sets[*at], to_add, added);
        added += share;
        sizes.push(sets[*at].replicas() + share);
    }
    sizes[0] = (sizes[0] + to_add - added).max(0);
    for (at, size) in active.into_iter().zip(sizes) {
        sets[at].scale(deployment, size);
        sets[at].annotate(deployment);
    }
}

/// A set's part of the replicas to add (or, if negative, to remove).
#[allow(clippy::cast_possible_truncation)] // replica counts fit
fn share(deployment: &Deployment, set: &Set, to_add: i32, added: i32) -> i32 {
    let left = to_add - added;
    if set.replicas() == 0 || left == 0 {
        return 0;
    }
    let fraction = if wanted(deployment) == 0 {
        -set.replicas()
    } else {
        let before = revision::number(&set.object.metadata, revision::MAX_REPLICAS)
            .filter(|most| *most > 0)
            .unwrap_or_else(|| {
                i64::from(deployment.status.as_ref().and_then(|one| one.replicas).unwrap_or(0))
            });
        if before == 0 {
            return 0;
        }
        let most = f64::from(wanted(deployment) + max_surge(deployment));
        #[allow(clippy::cast_precision_loss)] // a replica count
        let size = f64::from(set.replicas()) * most / before as f64;
        size.round() as i32 - set.replicas()
    };
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

impl Set {
    /// A set with pods must say what size it was scaled for, or it would be scaled for ever.
    fn annotate_if_active(&mut self, deployment: &Deployment) {
        if self.replicas() > 0 {
            self.annotate(deployment);
        }
    }
}
