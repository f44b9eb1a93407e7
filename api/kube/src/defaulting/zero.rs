//! What Go's encoder writes even when nobody set it: structs, and numbers, texts and truth values
//! whose zero is not left out; and the constant defaults of single fields.

use serde_json::{Map, Value};

use crate::facts::{Base, Field, Type, Wrap, facts};

/// Fills an object and everything below it.
pub(super) fn fill(ty: &'static Type, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    for field in ty.filled() {
        if fields.contains_key(field.name) {
            continue;
        }
        if let Some(value) = initial(field) {
            fields.insert(field.name.to_owned(), value);
        }
    }
    for (name, value) in fields.iter_mut() {
        if let Some(field) = ty.field(name) {
            descend(field, value);
        }
    }
}

/// Fills one field of an object.
pub(super) fn fill_field(ty: &'static Type, object: &mut Value, name: &str) {
    if let (Some(field), Some(value)) = (ty.field(name), object.get_mut(name)) {
        descend(field, value);
    }
}

fn descend(field: &'static Field, value: &mut Value) {
    let Base::Struct(at) = field.kind.base else { return };
    let ty = facts().at(at);
    match (field.kind.wrap, value) {
        (Wrap::Plain, value) => fill(ty, value),
        (Wrap::List, Value::Array(items)) => items.iter_mut().for_each(|item| fill(ty, item)),
        (Wrap::Map, Value::Object(entries)) => entries.values_mut().for_each(|v| fill(ty, v)),
        _ => {}
    }
}

fn initial(field: &Field) -> Option<Value> {
    if let Some(default) = field.default {
        return serde_json::from_str(default).ok();
    }
    if field.kind.wrap != Wrap::Plain {
        return None;
    }
    match field.kind.base {
        Base::Struct(_) => Some(Value::Object(Map::new())),
        Base::String => Some(Value::from("")),
        Base::Int32 | Base::Int64 => Some(Value::from(0)),
        Base::Bool => Some(Value::Bool(false)),
        Base::IntOrString => Some(Value::from(0)),
        Base::Quantity => Some(Value::from("0")),
        Base::Double | Base::Bytes | Base::Time | Base::MicroTime | Base::Any => None,
    }
}
