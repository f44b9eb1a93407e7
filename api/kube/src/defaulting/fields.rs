//! Small steps of defaulting. A zero counts as absent where Go's type has no pointer.

use serde_json::{Map, Value};

/// Sets a field that is absent or null.
pub(super) fn absent(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        let entry = fields.entry(name.to_owned()).or_insert(Value::Null);
        if entry.is_null() {
            *entry = value.into();
        }
    }
}

/// Sets a text that is absent or empty.
pub(super) fn empty(object: &mut Value, name: &str, value: &str) {
    if object.is_object() && object[name].as_str().unwrap_or_default().is_empty() {
        object[name] = value.into();
    }
}

/// Sets a number that is absent or zero.
pub(super) fn unset(object: &mut Value, name: &str, value: i64) {
    if object.is_object() && object[name].as_i64().unwrap_or(0) == 0 {
        object[name] = value.into();
    }
}

/// The object in a field, made when it is absent.
pub(super) fn made<'a>(object: &'a mut Value, name: &str) -> &'a mut Value {
    absent(object, name, Map::new());
    &mut object[name]
}

/// The value in a field when it is an object.
pub(super) fn present<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    object.get_mut(name).filter(|v| v.is_object())
}

/// The entries of a list.
pub(super) fn each<'a>(object: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}
