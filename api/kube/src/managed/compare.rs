//! What one object has more, less and different than another, as sets of fields.

use std::collections::BTreeMap;

use serde_json::Value;

use super::set::{FieldSet, Node, Part};
use super::shape::Shape;

/// How two objects differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Added,
    Removed,
    Modified,
}

impl Comparison {
    /// How `new` differs from `old`.
    pub(super) fn of(shape: Shape<'_>, old: &Value, new: &Value) -> Self {
        walk(shape, Some(old), Some(new)).1
    }

    /// Added or modified.
    pub(super) fn changed(&self) -> FieldSet {
        self.added.union(&self.modified)
    }

    /// Applies a change to all three sets.
    pub(super) fn each(&mut self, change: impl Fn(&mut FieldSet)) {
        change(&mut self.added);
        change(&mut self.removed);
        change(&mut self.modified);
    }

    fn put(&mut self, part: &Part, (mark, below): (Option<Mark>, Comparison)) {
        for (set, kind, below) in [
            (&mut self.added, Mark::Added, below.added),
            (&mut self.removed, Mark::Removed, below.removed),
            (&mut self.modified, Mark::Modified, below.modified),
        ] {
            set.put(part.clone(), Node { member: mark == Some(kind), below });
        }
    }
}

fn walk(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> (Option<Mark>, Comparison) {
    let mut below = Comparison::default();
    let free_scalar = matches!(shape, Shape::Free)
        && !(old.is_none_or(Value::is_object) && new.is_none_or(Value::is_object));
    let descended = if shape.has_fields() && !free_scalar {
        walk_fields(shape, old, new, &mut below)
    } else {
        shape.has_items() && walk_items(shape, old, new, &mut below)
    };
    let mark = match (old, new) {
        (None, _) => Some(Mark::Added),
        (_, None) => Some(Mark::Removed),
        (Some(old), Some(new)) if !descended && old != new => Some(Mark::Modified),
        _ => None,
    };
    (mark, below)
}

/// False: both are empty, so that the value is compared as a whole.
fn walk_fields(
    shape: Shape<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    below: &mut Comparison,
) -> bool {
    let (old, new) = (shape.fields(old), shape.fields(new));
    if old.is_none_or(|m| m.is_empty()) && new.is_none_or(|m| m.is_empty()) {
        return false;
    }
    let before = old.into_iter().flatten();
    let after = new.into_iter().flatten().filter(|(k, _)| !old.is_some_and(|m| m.contains_key(*k)));
    for (name, _) in before.chain(after) {
        let (a, b) = (old.and_then(|m| m.get(name)), new.and_then(|m| m.get(name)));
        if a == b {
            continue;
        }
        below.put(&Part::field(name), walk(shape.below(name), a, b));
    }
    true
}

/// False: both are empty, so that the value is compared as a whole.
fn walk_items(
    shape: Shape<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    below: &mut Comparison,
) -> bool {
    let old = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let new = new.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if old.is_empty() && new.is_empty() {
        return false;
    }
    let (old, new) = (by_part(shape, old), by_part(shape, new));
    let only_new = new.keys().filter(|part| !old.contains_key(*part));
    for part in old.keys().chain(only_new) {
        let empty = Vec::new();
        let (a, b) = (old.get(part).unwrap_or(&empty), new.get(part).unwrap_or(&empty));
        let found = match (a.as_slice(), b.as_slice()) {
            ([] | [_], [] | [_]) => walk(shape.item(), a.first().copied(), b.first().copied()),
            // Items that occur twice are told apart by nothing: they change as one.
            (a, b) => ((a != b).then_some(Mark::Modified), Comparison::default()),
        };
        below.put(part, found);
    }
    true
}

fn by_part<'v>(shape: Shape<'_>, items: &'v [Value]) -> BTreeMap<Part, Vec<&'v Value>> {
    let mut all: BTreeMap<Part, Vec<&'v Value>> = BTreeMap::new();
    for item in items {
        if let Ok(part) = shape.part(item) {
            all.entry(part).or_default().push(item);
        }
    }
    all
}
