//! The set of fields that an object names.

use serde_json::Value;

use super::set::{FieldSet, Node, Part};
use super::shape::Shape;

/// All fields of an object.
pub(super) fn of(shape: Shape<'_>, object: &Value) -> FieldSet {
    node(shape, object).below
}

fn node(shape: Shape<'_>, value: &Value) -> Node {
    let mut set = FieldSet::default();
    match shape {
        Shape::Free if !value.is_object() => return Node { member: true, below: set },
        shape if shape.has_fields() => {
            for (name, value) in shape.fields(Some(value)).into_iter().flatten() {
                let mut below = node(shape.below(name), value);
                let empty = value.is_null() || value.as_object().is_some_and(|m| m.is_empty());
                below.member |= empty || !shape.names(name);
                set.put(Part::field(name), below);
            }
        }
        shape if shape.has_items() => {
            for item in value.as_array().into_iter().flatten() {
                if let Ok(part) = shape.part(item) {
                    let below = node(shape.item(), item).below;
                    set.put(part, Node { member: true, below });
                }
            }
        }
        _ => return Node { member: true, below: set },
    }
    Node { member: false, below: set }
}

/// The set with every struct's field that has something below it as a member of its own.
pub(super) fn with_parents(shape: Shape<'_>, set: &FieldSet) -> FieldSet {
    let mut all = FieldSet::default();
    for (part, node) in set.nodes() {
        let (below, named) = match part {
            Part::Field(name) => (shape.below(name), shape.names(name)),
            Part::Key(_) | Part::Value(_) | Part::Index(_) => (shape.item(), false),
        };
        let member = node.member || named && !node.below.is_empty();
        all.put(part.clone(), Node { member, below: with_parents(below, &node.below) });
    }
    all
}

/// Why the lists of an applied object cannot be told apart by item, by path.
pub(super) fn problems(shape: Shape<'_>, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    visit(shape, object, "", &mut found);
    found
}

fn visit(shape: Shape<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    for (name, value) in shape.fields(Some(value)).into_iter().flatten() {
        visit(shape.below(name), value, &format!("{path}.{name}"), found);
    }
    if !shape.has_items() {
        return;
    }
    let mut seen = Vec::new();
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        match shape.part(item) {
            Err(key) => found.push(format!(
                "{path}: element {at}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
            )),
            Ok(part) if seen.contains(&part) => {
                found.push(format!("{path}: duplicate entries for key {part}"));
            }
            Ok(part) => {
                visit(shape.item(), item, &format!("{path}{part}"), found);
                seen.push(part);
            }
        }
    }
}
