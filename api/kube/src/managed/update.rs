//! Noting the fields that a create, update or patch changed.

use serde_json::{Map, Value};

use super::compare::Comparison;
use super::entries::{self, Entry};
use super::manager::Manager;
use super::set::FieldSet;
use super::shape::Shape;
use crate::custom::Served;
use crate::defaulting::zero;
use crate::facts::{Base, Type, Wrap, facts};
use crate::kinds::Kind;

/// What nobody owns.
const NEVER_OWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Enters what `new` changes in `old` (None: everything) under the manager's name. `given` are
/// the entries that the request itself carried.
pub(crate) fn updated(
    kind: &Kind,
    manager: &Manager,
    old: Option<&Value>,
    new: &mut Value,
    given: &Value,
    now: &str,
) {
    let served = kind.served();
    let Some(shape) = root(kind, served.as_deref()) else { return };
    let mut all = match old {
        Some(old) => known(manager, old, given),
        None => Vec::new(),
    };
    if all.is_empty() && old.is_some() {
        // An object that nobody tracked so far stays so until its first apply.
        entries::write(all, new);
        return;
    }
    let empty = old.is_none().then(|| blank(shape));
    let mut difference = Comparison::of(shape, old.or(empty.as_ref()).unwrap_or(&Value::Null), new);
    difference.each(|set| manager.reset(kind, set));
    let changed = difference.changed();
    give_up(&mut all, &manager.version, &changed, &difference.removed);
    let own = owned(&changed);
    if !own.is_empty() {
        match all.iter_mut().find(|e| e.is(manager, false)) {
            Some(entry) => {
                entry.set = entry.set.union(&own);
                entry.time = Some(now.to_owned());
            }
            None => all.push(Entry::new(manager, false, own, now)),
        }
    }
    entries::write(all, new);
}

/// The shape of a whole object of a kind.
pub(super) fn root<'s>(kind: &Kind, served: Option<&'s Served>) -> Option<Shape<'s>> {
    match served {
        Some(served) => Some(Shape::Object(&served.version().schema)),
        None => facts().find(kind.schema).map(Shape::Struct),
    }
}

/// The entries to go on from: those of the request if it carries any, else the object's.
fn known(manager: &Manager, old: &Value, given: &Value) -> Vec<Entry> {
    if !manager.subresource.is_empty() {
        return entries::of(old);
    }
    let is_reset = match given.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(one)]) => one.is_empty(),
        _ => false,
    };
    match entries::decode(given) {
        _ if is_reset => Vec::new(),
        none if none.is_empty() => entries::of(old),
        carried => carried,
    }
}

/// Everybody else loses what changed or went.
pub(super) fn give_up(all: &mut Vec<Entry>, version: &str, changed: &FieldSet, removed: &FieldSet) {
    for entry in all.iter_mut().filter(|e| e.version == version) {
        entry.set = entry.set.difference(changed).difference(removed);
    }
    all.retain(|e| !e.set.is_empty());
}

/// A set without what nobody owns.
pub(super) fn owned(set: &FieldSet) -> FieldSet {
    let mut never = FieldSet::default();
    for path in NEVER_OWNED {
        never.insert(path);
    }
    set.difference(&never)
}

/// An object that nothing was written to, as Go prints it: with empty structs, and null for the
/// lists and maps that it never leaves out.
pub(super) fn blank(shape: Shape<'_>) -> Value {
    let mut object = Value::Object(Map::new());
    let Shape::Struct(ty) = shape else { return object };
    zero::fill(ty, &mut object);
    fill_nulls(ty, &mut object);
    object
}

fn fill_nulls(ty: &'static Type, object: &mut Value) {
    let Some(values) = object.as_object_mut() else { return };
    for field in &ty.fields {
        match (field.kind.wrap, field.kind.base) {
            (Wrap::Plain, Base::Struct(at)) => {
                if let Some(value) = values.get_mut(field.name) {
                    fill_nulls(facts().at(at), value);
                }
            }
            (Wrap::Plain, _) => {}
            _ if field.required => {
                values.insert(field.name.to_owned(), Value::Null);
            }
            _ => {}
        }
    }
}
