//! What Go's encoder writes even when nobody set it: structs, and numbers, texts and truth values
//! whose zero is not left out; and the constant defaults of single fields. What it leaves out, lists
//! and maps with nothing in them, goes.

use serde_json::{Map, Value};

use crate::facts::{Base, Field, Type, Wrap, facts};

/// Fills an object and everything below it.
pub(crate) fn fill(ty: &'static Type, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    for field in ty.filled() {
        if fields.contains_key(field.name) {
            continue;
        }
        if let Some(value) = initial(field) {
            fields.insert(field.name.to_owned(), value);
        }
    }
    fields.retain(|name, value| {
        let Some(field) = ty.field(name) else { return true };
        descend(field, value);
        field.always || !is_empty_collection(field, value)
    });
}

fn is_empty_collection(field: &Field, value: &Value) -> bool {
    match value {
        Value::Array(items) => field.kind.wrap == Wrap::List && items.is_empty(),
        Value::Object(entries) => {
            matches!(field.kind.wrap, Wrap::Map | Wrap::MapOfLists) && entries.is_empty()
        }
        _ => false,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_lists_and_maps_go_where_go_leaves_them_out() {
        let kind = crate::kinds::find("", "v1", "nodes").expect("a kind of the table");
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "a", "labels": {}, "finalizers": []},
            "spec": {"taints": [], "podCIDR": "10.0.0.0/24"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": []},
        });
        let ty = facts().find(kind.schema).expect("a type of the table");
        fill(ty, &mut node);
        assert_eq!(node["metadata"], json!({"name": "a"}));
        assert_eq!(node["spec"], json!({"podCIDR": "10.0.0.0/24"}));
        assert!(node["status"].get("addresses").is_none());
        assert_eq!(node["status"]["conditions"][0]["type"], "Ready");
    }
}
