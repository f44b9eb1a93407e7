//! Strategic merge: a merge patch that knows which lists are merged, by which key.
// upstream: Kubernetes apimachinery, pkg/util/strategicpatch

use serde_json::{Map, Value};

use super::PatchError;
use super::order::{identity, normalize};
use crate::facts::{Base, Field, PatchStrategy, Type, Wrap, facts};
use crate::kinds::Kind;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch to an object of a kind.
pub fn strategic_merge(kind: &Kind, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Some(patch) = patch.as_object() else {
        return Err(PatchError::Malformed("error decoding patch: it must be an object".into()));
    };
    let shape = facts().find(kind.schema).map_or(Shape::Unknown, Shape::Struct);
    let original = original.as_object().cloned().unwrap_or_default();
    merge_map(original, patch.clone(), shape).map(Value::Object)
}

/// What is known of a map's values.
#[derive(Clone, Copy)]
enum Shape {
    Struct(&'static Type),
    MapOf(Base),
    Unknown,
}

/// What is known of one value.
#[derive(Clone, Copy)]
struct Place {
    shape: Shape,
    patch: PatchStrategy,
}

const NOWHERE: Place = Place {
    shape: Shape::Unknown,
    patch: PatchStrategy { merge: false, retain_keys: false, merge_key: None },
};

impl Shape {
    fn at(self, name: &str) -> Place {
        match self {
            Shape::Struct(ty) => ty.field(name).map_or(NOWHERE, Place::of),
            Shape::MapOf(base) => Place { shape: single(base), ..NOWHERE },
            Shape::Unknown => NOWHERE,
        }
    }
}

impl Place {
    fn of(field: &Field) -> Self {
        let shape = match field.kind.wrap {
            Wrap::Plain | Wrap::List => single(field.kind.base),
            Wrap::Map => Shape::MapOf(field.kind.base),
            Wrap::MapOfLists => Shape::Unknown,
        };
        Place { shape, patch: field.patch }
    }
}

fn single(base: Base) -> Shape {
    match base {
        Base::Struct(at) => Shape::Struct(facts().at(at)),
        _ => Shape::Unknown,
    }
}

fn malformed<T>(text: String) -> Result<T, PatchError> {
    Err(PatchError::Malformed(text))
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    shape: Shape,
) -> Result<Map<String, Value>, PatchError> {
    if let Some(directive) = patch.shift_remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => malformed(format!("unknown patch type {directive} in map")),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    put_in_order(&mut original, &mut patch, shape)?;
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix(DELETE_FROM) {
            remove_primitives(&mut original, name, &value)?;
            continue;
        }
        if value.is_null() {
            original.shift_remove(&key);
            continue;
        }
        let Some(before) = original.get_mut(&key) else {
            if let Some(value) = without_directives(value) {
                original.insert(key, value);
            }
            continue;
        };
        let place = shape.at(&key);
        *before = match (std::mem::take(before), value) {
            (Value::Object(before), Value::Object(value)) => {
                Value::Object(merge_map(before, value, place.shape)?)
            }
            (Value::Array(before), Value::Array(value)) if place.patch.merge => {
                Value::Array(merge_list(before, value, place)?)
            }
            (_, value) => without_directives(value).unwrap_or_default(),
        };
    }
    Ok(original)
}

/// `$retainKeys`: other fields of the original go.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    let Some(retained) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let Some(retained) = retained.as_array() else {
        return malformed("wrong type for retainKeys".to_owned());
    };
    let kept = |key: &str| retained.iter().any(|r| r == key);
    if patch.iter().any(|(key, value)| !value.is_null() && !key.starts_with('$') && !kept(key)) {
        return malformed("some keys in the patch are not present in the retainKeys list".into());
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

/// `$setElementOrder/F`: merges list F and gives its items the order named.
fn put_in_order(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    shape: Shape,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.shift_remove(&directive) else { continue };
        let Value::Array(order) = order else {
            return malformed(format!("wrong type for {directive}"));
        };
        let name = &directive[ORDER.len()..];
        let place = shape.at(name);
        let wanted = match patch.get(name) {
            Some(Value::Array(_)) | None => patch.shift_remove(name),
            Some(_) => continue,
        };
        let server = match original.get(name) {
            Some(Value::Array(list)) => list.clone(),
            _ => Vec::new(),
        };
        let merged = match wanted {
            Some(Value::Array(list)) if original.contains_key(name) => {
                if place.patch.merge {
                    merge_list(server.clone(), list, place)?
                } else {
                    list
                }
            }
            Some(list) => match without_directives(list) {
                Some(Value::Array(list)) => list,
                _ => continue,
            },
            None if original.contains_key(name) => server.clone(),
            None => continue,
        };
        let ordered = normalize(merged, &order, &server, place.patch.merge_key);
        original.insert(name.to_owned(), Value::Array(ordered));
    }
    Ok(())
}

fn remove_primitives(
    original: &mut Map<String, Value>,
    name: &str,
    gone: &Value,
) -> Result<(), PatchError> {
    let Some(gone) = gone.as_array() else {
        return malformed(format!("wrong type for {DELETE_FROM}{name}"));
    };
    if let Some(Value::Array(list)) = original.get_mut(name) {
        list.retain(|item| !gone.contains(item));
    }
    Ok(())
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    place: Place,
) -> Result<Vec<Value>, PatchError> {
    let has_objects = original.iter().chain(&patch).any(Value::is_object);
    if !has_objects {
        let mut merged: Vec<Value> = Vec::new();
        for item in original.iter().chain(&patch) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(normalize(merged, &patch, &original, None));
    }
    let Some(key) = place.patch.merge_key else {
        return malformed("cannot merge lists without merge key".to_owned());
    };
    let (original, patch) = take_special(original, patch, key)?;
    let mut merged = original.clone();
    for item in &patch {
        let found = merged.iter().position(|m| identity(m, Some(key)) == identity(item, Some(key)));
        match (found, item) {
            (Some(at), Value::Object(item)) => {
                let before = std::mem::take(&mut merged[at]);
                let before = before.as_object().cloned().unwrap_or_default();
                merged[at] = Value::Object(merge_map(before, item.clone(), place.shape)?);
            }
            (Some(at), item) => merged[at] = item.clone(),
            (None, item) => merged.extend(without_directives(item.clone())),
        }
    }
    Ok(normalize(merged, &patch, &original, Some(key)))
}

/// Carries out items with `$patch`: `delete` removes its like, `replace` empties the list.
fn take_special(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).map(Value::as_str) {
            Some(Some("delete")) => {
                let Some(gone) = item.get(key) else {
                    return malformed(format!(
                        "delete patch type with no merge key defined: map: {item}"
                    ));
                };
                original.retain(|o| identity(o, Some(key)) != gone);
            }
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => {
                return malformed("merging lists cannot yet be specified in the patch".to_owned());
            }
            Some(_) => return malformed(format!("unknown patch type in list item: {item}")),
            None if item.get(key).is_none() => {
                return malformed(format!(
                    "map: {item} does not contain declared merge key: {key}"
                ));
            }
            None => plain.push(item),
        }
    }
    if replace {
        original.clear();
    }
    Ok((original, plain))
}

/// A patch's value where there is nothing to patch: nulls and directives mean nothing then.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            if fields.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let kept = fields
                .into_iter()
                .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
                .filter_map(|(key, value)| without_directives(value).map(|value| (key, value)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => {
            Some(Value::Array(items.into_iter().filter_map(without_directives).collect()))
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests;
