//! Taking a set of fields out of an object.

use serde_json::Value;

use super::set::{FieldSet, Part};
use super::shape::Shape;

/// Removes the members of `set`, each with all that is below it. What is empty then goes too.
pub(super) fn remove(shape: Shape<'_>, value: &mut Value, set: &FieldSet) {
    match (shape, value) {
        (shape, Value::Object(fields)) if shape.has_fields() => {
            fields.retain(|name, value| match set.get(&Part::field(name)) {
                None => true,
                Some(node) if node.member => false,
                Some(node) => {
                    remove(shape.below(name), value, &node.below);
                    !is_empty(value)
                }
            });
        }
        (shape, Value::Array(items)) if shape.has_items() => {
            items.retain_mut(|item| {
                let node = shape.part(item).ok().and_then(|part| set.get(&part));
                match node {
                    None => true,
                    Some(node) if node.member => false,
                    Some(node) => {
                        remove(shape.item(), item, &node.below);
                        true
                    }
                }
            });
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
