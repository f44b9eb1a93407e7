//! Which part of the old object a part of the new one is compared with.
// upstream: apiserver, pkg/cel/common, CorrelatedObject

use serde_json::Value;

use super::schema::{ListType, Schema};

/// The old value of a field.
pub(crate) fn at_key<'v>(schema: &Schema, old: Option<&'v Value>, name: &str) -> Option<&'v Value> {
    if schema.atomic_map {
        return None;
    }
    old?.get(name)
}

/// The old value of a list's item: lists of type map have their keys to go by.
pub(crate) fn at_index<'v>(
    schema: &Schema,
    old: Option<&'v Value>,
    item: &Value,
) -> Option<&'v Value> {
    if schema.list != ListType::Map {
        return None;
    }
    let same = |was: &&Value| schema.keys.iter().all(|k| was.get(k) == item.get(k));
    old?.as_array()?.iter().find(same)
}
