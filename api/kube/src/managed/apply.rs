//! Server-side apply: the fields an object names become the manager's, or conflict.

use serde_json::Value;

use super::compare::Comparison;
use super::conflict::{self, Conflicts};
use super::entries::{self, Entry};
use super::fields;
use super::manager::Manager;
use super::merge::merged;
use super::remove::remove;
use super::set::FieldSet;
use super::shape::Shape;
use super::update::{blank, give_up, owned, root};
use crate::kinds::Kind;
use crate::status::Status;

/// Who owned the fields of an object that was not tracked before its first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Only this manager takes over from, and keeps up, the annotation of client-side apply.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The live object (None: there is none) with `config` applied to it.
pub(crate) fn applied(
    kind: &Kind,
    manager: &Manager,
    force: bool,
    live: Option<&Value>,
    config: &Value,
    now: &str,
) -> Result<Value, Status> {
    let served = kind.served();
    let shape = root(kind, served.as_deref()).ok_or_else(Status::unknown_resource)?;
    refuse_ambiguous(kind, shape, config)?;
    let mut all = live.map(|live| tracked(kind, manager, shape, live, now)).unwrap_or_default();
    let mut named = fields::of(shape, config);
    manager.reset(kind, &mut named);
    let before = all.iter().position(|e| e.is(manager, true)).map(|at| all.remove(at));

    let mut new = merged(shape, live, config);
    if let Some(before) = &before {
        let gone = abandoned(shape, &before.set, &named, &all, &new);
        remove(shape, &mut new, &gone);
    }
    if let Some(live) = live {
        let mut difference = Comparison::of(shape, live, &new);
        difference.each(|set| manager.reset(kind, set));
        let changed = difference.changed();
        if !force {
            refuse_conflicts(manager, shape, live, &all, &changed)?;
        }
        give_up(&mut all, &manager.version, &changed, &difference.removed);
    }
    let mut entry = Entry::new(manager, true, owned(&named), now);
    let is_same = live.is_some_and(|live| *live == new);
    if let Some(before) = before.filter(|b| is_same && b.set == entry.set) {
        entry.time = before.time;
    }
    all.push(entry);
    if manager.name == KUBECTL && new["metadata"]["annotations"][LAST_APPLIED].is_string() {
        new["metadata"]["annotations"][LAST_APPLIED] = Value::from(last_applied(config));
    }
    entries::write(all, &mut new);
    Ok(new)
}

/// An object with what another one names laid over it; nobody's ownership changes.
pub(crate) fn laid_over(kind: &Kind, live: &Value, config: &Value) -> Option<Value> {
    let served = kind.served();
    root(kind, served.as_deref()).map(|shape| merged(shape, Some(live), config))
}

fn refuse_ambiguous(kind: &Kind, shape: Shape<'_>, config: &Value) -> Result<(), Status> {
    let problems = fields::problems(shape, config);
    if problems.is_empty() {
        return Ok(());
    }
    let text = |name: &str| config["metadata"][name].as_str().unwrap_or_default();
    Err(Status::bad_request(format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {}",
        text("namespace"),
        text("name"),
        kind.api_version(),
        kind.kind,
        match problems.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        }
    )))
}

/// The entries of the live object. One that has none gets one for all that it holds.
fn tracked(
    kind: &Kind,
    manager: &Manager,
    shape: Shape<'_>,
    live: &Value,
    now: &str,
) -> Vec<Entry> {
    let all = entries::of(live);
    if !all.is_empty() {
        return all;
    }
    let mut held = Comparison::of(shape, &blank(shape), live).changed();
    manager.reset(kind, &mut held);
    let nobody = Manager { name: BEFORE_FIRST_APPLY.to_owned(), ..manager.clone() };
    vec![Entry::new(&nobody, false, owned(&held), now)]
}

/// What the manager named last time, does not name now, and nobody else owns.
fn abandoned(
    shape: Shape<'_>,
    last: &FieldSet,
    named: &FieldSet,
    others: &[Entry],
    merged: &Value,
) -> FieldSet {
    let owned_now = others.iter().fold(named.clone(), |all, entry| all.union(&entry.set));
    fields::with_parents(shape, last)
        .intersection(&fields::with_parents(shape, &fields::of(shape, merged)))
        .difference(&fields::with_parents(shape, &owned_now))
}

fn refuse_conflicts(
    manager: &Manager,
    shape: Shape<'_>,
    live: &Value,
    all: &[Entry],
    changed: &FieldSet,
) -> Result<(), Status> {
    let mut conflicts: Conflicts<'_> = all
        .iter()
        .filter(|e| e.version == manager.version)
        .map(|e| (e, e.set.intersection(changed)))
        .collect();
    if manager.name == KUBECTL {
        let allowed = set_by_client_side_apply(shape, live);
        for (_, set) in &mut conflicts {
            *set = set.difference(&allowed);
        }
    }
    conflicts.retain(|(_, set)| !set.is_empty());
    if conflicts.is_empty() { Ok(()) } else { Err(conflict::refusal(&conflicts)) }
}

/// Fields that client-side apply set and nobody changed since: its successor may take them.
fn set_by_client_side_apply(shape: Shape<'_>, live: &Value) -> FieldSet {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or_default();
    let last: Value = serde_json::from_str(text).unwrap_or_default();
    if last["apiVersion"] != live["apiVersion"] {
        return FieldSet::default();
    }
    let since = Comparison::of(shape, &last, live);
    fields::of(shape, &last).difference(&since.changed()).difference(&since.removed)
}

/// What the annotation holds: the applied object without the annotation itself.
fn last_applied(config: &Value) -> String {
    let mut config = config.clone();
    if let Some(annotations) = config["metadata"]["annotations"].as_object_mut() {
        annotations.shift_remove(LAST_APPLIED);
    }
    config.sort_all_objects();
    format!("{config}\n")
}
