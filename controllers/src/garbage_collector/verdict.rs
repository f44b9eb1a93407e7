//! What becomes of an object, given the state of its owners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

use super::graph::Family;
use super::{FOREGROUND, ORPHAN, has_finalizer};

/// Whether an owner is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It is.
    Solid,
    /// It is being deleted and waits for its dependents to go first.
    WaitsForDependents,
    /// It is not, or another object has its name.
    Absent,
}

/// What to do with an object.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// It has other owners: only these are to stay.
    DropOwners(Vec<OwnerReference>),
    /// It is part of a circle: give it these owners, which it does not hold up, and delete it.
    Unblock(Vec<OwnerReference>, PropagationPolicy),
    /// Delete it.
    Delete(PropagationPolicy),
}

/// Decides about an object with the owners whose states are given in their order.
pub(super) fn judge(live: &ObjectMeta, states: &[OwnerState], family: &Family) -> Verdict {
    let owners: Vec<&OwnerReference> = live.owner_references.iter().flatten().collect();
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let has = |state| states.contains(&state);
    if has(OwnerState::Solid) {
        if !has(OwnerState::Absent) && !has(OwnerState::WaitsForDependents) {
            return Verdict::Keep;
        }
        let solid = owners.iter().zip(states).filter(|(_, state)| **state == OwnerState::Solid);
        return Verdict::DropOwners(solid.map(|(owner, _)| (*owner).clone()).collect());
    }
    if has(OwnerState::WaitsForDependents) && family.has_dependents {
        let policy = PropagationPolicy::Foreground;
        if family.dependents_wait {
            let mut owners: Vec<OwnerReference> = owners.into_iter().cloned().collect();
            owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
            return Verdict::Unblock(owners, policy);
        }
        return Verdict::Delete(policy);
    }
    Verdict::Delete(if has_finalizer(live, ORPHAN) {
        PropagationPolicy::Orphan
    } else if has_finalizer(live, FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned_by(uids: &[&str]) -> ObjectMeta {
        let owner = |uid: &&str| {
            json!({"apiVersion": "v1", "kind": "K", "name": uid, "uid": uid,
                "blockOwnerDeletion": true})
        };
        let owners: Vec<_> = uids.iter().map(owner).collect();
        serde_json::from_value(json!({"ownerReferences": owners})).unwrap()
    }

    const ALONE: Family = Family { has_dependents: false, dependents_wait: false };

    #[test]
    fn an_object_lives_as_long_as_one_owner_does() {
        use OwnerState::{Absent, Solid, WaitsForDependents};
        let two = owned_by(&["a", "b"]);
        assert_eq!(judge(&two, &[Solid, Solid], &ALONE), Verdict::Keep);
        for gone in [Absent, WaitsForDependents] {
            let Verdict::DropOwners(rest) = judge(&two, &[gone, Solid], &ALONE) else {
                panic!("not kept")
            };
            assert_eq!(rest[0].uid, "b");
        }
        let verdict = judge(&two, &[Absent, Absent], &ALONE);
        assert_eq!(verdict, Verdict::Delete(PropagationPolicy::Background));
        assert_eq!(judge(&ObjectMeta::default(), &[], &ALONE), Verdict::Keep);
    }

    #[test]
    fn a_waiting_owners_dependent_goes_in_the_foreground_and_circles_are_broken() {
        let one = owned_by(&["a"]);
        let waits = [OwnerState::WaitsForDependents];
        let parent = Family { has_dependents: true, dependents_wait: false };
        let foreground = PropagationPolicy::Foreground;
        assert_eq!(judge(&one, &waits, &parent), Verdict::Delete(foreground));
        let circle = Family { has_dependents: true, dependents_wait: true };
        let Verdict::Unblock(owners, _) = judge(&one, &waits, &circle) else {
            panic!("not unblocked")
        };
        assert_eq!(owners[0].block_owner_deletion, Some(false));
    }
}
