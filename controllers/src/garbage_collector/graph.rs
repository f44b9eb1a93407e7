//! Who owns whom, by uid.
//!
//! Only objects that own or are owned, or wait for the collector, are kept: most objects of a
//! cluster are neither. An owner that was never seen itself is `assumed` until the server
//! confirms it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::verdict::OwnerState;
use super::{FOREGROUND, Item, ORPHAN, has_finalizer};

/// An object's uid.
pub(super) type Uid = Arc<str>;

/// Where an object is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) api_version: Arc<str>,
    pub(super) kind: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

impl Identity {
    /// Where an owner is found, seen from a dependent's namespace.
    pub(super) fn of_owner(owner: &OwnerReference, namespace: &str) -> Self {
        Self {
            api_version: owner.api_version.as_str().into(),
            kind: owner.kind.as_str().into(),
            namespace: namespace.into(),
            name: owner.name.as_str().into(),
        }
    }
}

/// One object.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) identity: Identity,
    /// Uids of its owners, and whether it holds up their deletion.
    owners: BTreeMap<Uid, bool>,
    dependents: BTreeSet<Uid>,
    /// Known by an owner reference only.
    assumed: bool,
    pub(super) deleting: bool,
    /// Being deleted in the foreground: its dependents go first.
    pub(super) deleting_dependents: bool,
}

/// What of an object's dependents matters for a verdict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    pub(super) has_dependents: bool,
    /// At least one of them waits for dependents itself.
    pub(super) dependents_wait: bool,
}

/// All objects that own or are owned.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<Uid, Node>,
}

impl Graph {
    pub(super) fn node(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Takes in an object as it is now. Answers what is to be looked at.
    pub(super) fn observe(&mut self, identity: &Identity, meta: &ObjectMeta) -> Vec<Item> {
        let mut items = Vec::new();
        let Some(uid) = meta.uid.as_deref().map(Uid::from) else { return items };
        let owners = owners_of(meta);
        let deleting = meta.deletion_timestamp.is_some();
        let foreground = deleting && has_finalizer(meta, FOREGROUND);
        let orphan = deleting && has_finalizer(meta, ORPHAN);
        let known = self.nodes.get(&uid);
        if known.is_none() && owners.is_empty() && !foreground && !orphan {
            return items;
        }
        let before = known.map(|node| node.owners.clone()).unwrap_or_default();
        let was_foreground = known.is_some_and(|node| node.deleting_dependents);
        let node = self.nodes.entry(uid.clone()).or_insert_with(|| Node::new(identity.clone()));
        node.identity = identity.clone();
        node.assumed = false;
        node.deleting = deleting;
        node.deleting_dependents = foreground;
        node.owners.clone_from(&owners);
        let dependents = node.dependents.clone();
        for (gone, _) in before.iter().filter(|(owner, _)| !owners.contains_key(*owner)) {
            items.extend(self.disown(gone, &uid));
        }
        for reference in meta.owner_references.iter().flatten() {
            let owner: Uid = reference.uid.as_str().into();
            let block = reference.block_owner_deletion.unwrap_or(false);
            items.extend(self.own(reference, &owner, &uid, &identity.namespace));
            // It holds up its owner no longer.
            if before.get(&owner) == Some(&true) && !block {
                items.push(Item::Delete(owner));
            }
        }
        if orphan {
            items.push(Item::Orphan(uid.clone()));
        }
        if foreground && !was_foreground {
            items.extend(dependents.into_iter().map(Item::Delete));
        }
        if foreground {
            items.push(Item::Delete(uid));
        }
        self.forget_if_alone(meta);
        items
    }

    /// Takes an object out. Answers what is to be looked at: its dependents, and owners that
    /// waited for it.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Item> {
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return Vec::new() };
        let mut items: Vec<Item> = Vec::new();
        for owner in node.owners.keys() {
            items.extend(self.disown(owner, &uid));
        }
        // Its dependents still name it; each of them is looked at, and decides what that means.
        items.extend(node.dependents.into_iter().map(Item::Delete));
        items
    }

    /// Notes that the server has the object.
    pub(super) fn confirm(&mut self, uid: &str) {
        if let Some(node) = self.nodes.get_mut(uid) {
            node.assumed = false;
        }
    }

    /// Uids of the objects of a kind that were seen themselves.
    pub(super) fn seen_of_kind(&self, api_version: &str, kind: &str) -> Vec<Uid> {
        let of_kind = |node: &Node| {
            !node.assumed
                && *node.identity.kind == *kind
                && *node.identity.api_version == *api_version
        };
        self.nodes.iter().filter(|(_, node)| of_kind(node)).map(|(uid, _)| uid.clone()).collect()
    }

    /// The state of an owner, if the graph knows it, for a dependent in `namespace`.
    pub(super) fn owner_state(&self, uid: &str, namespace: &str) -> Option<OwnerState> {
        let node = self.nodes.get(uid).filter(|node| !node.assumed)?;
        // An owner in another namespace is none; the server is asked in the dependent's own.
        if !node.identity.namespace.is_empty() && *node.identity.namespace != *namespace {
            return None;
        }
        Some(if node.deleting_dependents {
            OwnerState::WaitsForDependents
        } else {
            OwnerState::Solid
        })
    }

    pub(super) fn family(&self, uid: &str) -> Family {
        let dependents = self.nodes.get(uid).map(|node| &node.dependents);
        let waits = |uid: &Uid| self.nodes.get(uid).is_some_and(|node| node.deleting_dependents);
        Family {
            has_dependents: dependents.is_some_and(|dependents| !dependents.is_empty()),
            dependents_wait: dependents.is_some_and(|dependents| dependents.iter().any(waits)),
        }
    }

    /// Dependents that hold up the deletion of their owner.
    pub(super) fn blocking_dependents(&self, uid: &str) -> Vec<Uid> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let blocks = |dependent: &&Uid| {
            self.nodes.get(*dependent).is_some_and(|node| node.owners.get(uid) == Some(&true))
        };
        node.dependents.iter().filter(blocks).cloned().collect()
    }

    /// Where the object and all its dependents are.
    pub(super) fn dependents(&self, uid: &str) -> Option<(Identity, Vec<(Uid, Identity)>)> {
        let node = self.nodes.get(uid)?;
        let of = |uid: &Uid| Some((uid.clone(), self.nodes.get(uid)?.identity.clone()));
        Some((node.identity.clone(), node.dependents.iter().filter_map(of).collect()))
    }

    fn own(
        &mut self,
        reference: &OwnerReference,
        owner: &Uid,
        dependent: &Uid,
        namespace: &str,
    ) -> Option<Item> {
        let assumed =
            || Node { assumed: true, ..Node::new(Identity::of_owner(reference, namespace)) };
        let node = self.nodes.entry(owner.clone()).or_insert_with(assumed);
        let new = node.dependents.insert(dependent.clone());
        if node.assumed && new {
            return Some(Item::Delete(owner.clone()));
        }
        // A dependent that comes while its owner goes is to go too. One from another namespace
        // names an owner that is none.
        let elsewhere =
            !node.identity.namespace.is_empty() && *node.identity.namespace != *namespace;
        (new && (node.deleting_dependents || elsewhere)).then(|| Item::Delete(dependent.clone()))
    }

    fn disown(&mut self, owner: &Uid, dependent: &Uid) -> Option<Item> {
        let node = self.nodes.get_mut(owner)?;
        node.dependents.remove(dependent);
        if node.deleting_dependents {
            return Some(Item::Delete(owner.clone()));
        }
        if node.dependents.is_empty() && node.owners.is_empty() {
            self.nodes.remove(owner);
        }
        None
    }

    fn forget_if_alone(&mut self, meta: &ObjectMeta) {
        let Some(uid) = meta.uid.as_deref() else { return };
        let alone = self.nodes.get(uid).is_some_and(|node| {
            node.owners.is_empty()
                && node.dependents.is_empty()
                && !node.deleting_dependents
                && !(node.deleting && has_finalizer(meta, ORPHAN))
        });
        if alone {
            self.nodes.remove(uid);
        }
    }
}

impl Node {
    fn new(identity: Identity) -> Self {
        Self {
            identity,
            owners: BTreeMap::new(),
            dependents: BTreeSet::new(),
            assumed: false,
            deleting: false,
            deleting_dependents: false,
        }
    }
}

fn owners_of(meta: &ObjectMeta) -> BTreeMap<Uid, bool> {
    let owners = meta.owner_references.iter().flatten();
    owners
        .map(|owner| (owner.uid.as_str().into(), owner.block_owner_deletion.unwrap_or(false)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(name: &str) -> Identity {
        Identity {
            api_version: "v1".into(),
            kind: "K".into(),
            namespace: "n".into(),
            name: name.into(),
        }
    }

    fn meta(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
        let owner = |uid: &&str| {
            json!({"apiVersion": "v1", "kind": "K", "name": uid, "uid": uid,
                "blockOwnerDeletion": true})
        };
        let owners: Vec<_> = owners.iter().map(owner).collect();
        let deleted = deleting.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "uid": uid, "ownerReferences": owners, "finalizers": finalizers,
            "deletionTimestamp": deleted,
        }))
        .unwrap()
    }

    fn delete(uid: &str) -> Item {
        Item::Delete(uid.into())
    }

    #[test]
    fn an_object_without_family_is_not_kept() {
        let mut graph = Graph::default();
        assert!(graph.observe(&at("a"), &meta("a", &[], &[], false)).is_empty());
        assert!(graph.node("a").is_none());
    }

    #[test]
    fn an_unseen_owner_is_checked_and_its_end_concerns_its_dependents() {
        let mut graph = Graph::default();
        let items = graph.observe(&at("pod"), &meta("pod", &["set"], &[], false));
        assert_eq!(items, [delete("set")]);
        assert_eq!(graph.owner_state("set", "n"), None);
        graph.confirm("set");
        assert_eq!(graph.owner_state("set", "n"), Some(OwnerState::Solid));
        assert_eq!(graph.remove("set"), [delete("pod")]);
    }

    #[test]
    fn a_foreground_deletion_waits_for_the_dependents_that_block_it() {
        let mut graph = Graph::default();
        graph.observe(&at("set"), &meta("set", &["deployment"], &[], false));
        graph.observe(&at("pod"), &meta("pod", &["set"], &[], false));
        let items = graph.observe(&at("set"), &meta("set", &["deployment"], &[FOREGROUND], true));
        assert_eq!(items, [delete("pod"), delete("set")]);
        assert_eq!(graph.blocking_dependents("set"), [Uid::from("pod")]);
        assert_eq!(graph.remove("pod"), [delete("set")]);
        assert!(graph.blocking_dependents("set").is_empty());
    }

    #[test]
    fn an_orphaning_owner_is_looked_at_once_it_says_so() {
        let mut graph = Graph::default();
        graph.observe(&at("pod"), &meta("pod", &["set"], &[], false));
        let items = graph.observe(&at("set"), &meta("set", &[], &[ORPHAN], true));
        assert_eq!(items, [Item::Orphan("set".into())]);
        assert_eq!(graph.dependents("set").unwrap().1.len(), 1);
    }

    #[test]
    fn an_owner_in_another_namespace_is_none() {
        let mut graph = Graph::default();
        graph.observe(&at("set"), &meta("set", &["deployment"], &[], false));
        assert_eq!(graph.owner_state("set", "other"), None);
        assert_eq!(graph.owner_state("set", "n"), Some(OwnerState::Solid));
    }

    #[test]
    fn objects_that_part_are_forgotten() {
        let mut graph = Graph::default();
        graph.observe(&at("pod"), &meta("pod", &["set"], &[], false));
        graph.observe(&at("pod"), &meta("pod", &[], &[], false));
        assert!(graph.nodes.is_empty());
    }
}
