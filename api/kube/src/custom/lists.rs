//! Lists of type set and map: no item twice.
// upstream: apiextensions-apiserver, pkg/apiserver/schema/listtype

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::{ListType, Schema};
use crate::validation::Errors;

/// Items that are there twice.
pub(crate) fn check(schema: &Schema, value: &Value, path: &str, errors: &mut Errors) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match schema.properties.get(name) {
                    Some(below) => check(below, value, &child(path, name), errors),
                    None => {
                        if let Some(below) = schema.field(name) {
                            check(below, value, &format!("{path}[{name}]"), errors);
                        }
                    }
                }
            }
        }
        Value::Array(items) => {
            match schema.list {
                ListType::Atomic => {}
                ListType::Set => duplicates(items.iter().cloned(), path, errors),
                ListType::Map => keyed(schema, items, path, errors),
            }
            if let Some(below) = schema.items.as_deref() {
                for (at, item) in items.iter().enumerate() {
                    check(below, item, &format!("{path}[{at}]"), errors);
                }
            }
        }
        _ => {}
    }
}

pub(crate) fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn keyed(schema: &Schema, items: &[Value], path: &str, errors: &mut Errors) {
    let odd = items.iter().enumerate().find(|(_, i)| !i.is_object() && !i.is_null());
    if let Some((at, item)) = odd {
        let why = "must be an object for an array of list-type map";
        errors.invalid(format!("{path}[{at}]"), item.clone(), why);
        return;
    }
    let keys = items.iter().map(|item| {
        let given = |k: &String| Some((k.clone(), item.get(k)?.clone()));
        Value::Object(schema.keys.iter().filter_map(given).collect::<Map<_, _>>())
    });
    duplicates(keys, path, errors);
}

fn duplicates(items: impl Iterator<Item = Value>, path: &str, errors: &mut Errors) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (at, item) in items.enumerate() {
        let mut sorted = item.clone();
        sorted.sort_all_objects();
        let times = seen.entry(sorted.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            errors.duplicate(format!("{path}[{at}]"), item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_key_and_each_value_once() {
        let schema = Schema::of(&json!({"type": "object", "properties": {
            "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "m": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["a"], "items": {"type": "object"}}}}));
        let mut errors = Errors::default();
        let value = json!({"s": ["x", "y", "x", "x"], "m": [{"a": 1}, {"a": 2}, {"a": 1, "b": 1}]});
        check(&schema, &value, "", &mut errors);
        let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["s[2]: Duplicate value: \"x\"", "m[2]: Duplicate value: {\"a\":1}"]);
    }
}
