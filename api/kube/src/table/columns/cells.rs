//! Cells that many tables share.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::selectors::{LabelSelector, Operator};
use crate::table::since;

/// The object's name.
pub(super) fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// The time since creation.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    json!(since(&object["metadata"]["creationTimestamp"], now))
}

/// A text; empty when absent.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A text, or what stands for none.
pub(super) fn text_or<'a>(object: &'a Value, pointer: &str, absent: &'a str) -> &'a str {
    match text(object, pointer) {
        "" => absent,
        text => text,
    }
}

/// A number; zero when absent.
pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A truth value, with its default.
pub(super) fn flag(object: &Value, pointer: &str, absent: bool) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(absent)
}

/// A list's entries; none when absent.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// How many entries a list or map has.
pub(super) fn length(object: &Value, pointer: &str) -> i64 {
    let found = match object.pointer(pointer) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    };
    i64::try_from(found).unwrap_or(i64::MAX)
}

/// An integer or text as text, or what stands for none.
pub(super) fn shown(object: &Value, pointer: &str, absent: &str) -> String {
    match object.pointer(pointer) {
        None | Some(Value::Null) => absent.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Names and images of containers, a comma between: two cells.
pub(super) fn containers(object: &Value, pointer: &str) -> [Value; 2] {
    let all = |field: &str| {
        let texts: Vec<&str> = items(object, pointer).filter_map(|c| c[field].as_str()).collect();
        json!(texts.join(","))
    };
    [all("name"), all("image")]
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn labels(map: Option<&Value>) -> String {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    let mut all: Vec<String> =
        entries.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    all.sort();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

/// A structured selector as text; empty for one that selects everything.
pub(super) fn selector(value: &Value) -> String {
    let parsed = LabelSelector::from_value(value);
    let mut requirements: Vec<_> = parsed.requirements().iter().collect();
    requirements.sort_by_key(|r| r.key.as_str());
    let texts = requirements.into_iter().map(|r| {
        let values: Vec<&str> = r.values.iter().map(String::as_str).collect();
        let (key, list) = (&r.key, values.join(","));
        match r.operator {
            Operator::In if values.len() == 1 => format!("{key}={list}"),
            Operator::In => format!("{key} in ({list})"),
            Operator::NotIn => format!("{key} notin ({list})"),
            Operator::Exists => key.clone(),
            Operator::DoesNotExist => format!("!{key}"),
            Operator::GreaterThan => format!("{key}>{list}"),
            Operator::LessThan => format!("{key}<{list}"),
        }
    });
    texts.collect::<Vec<_>>().join(",")
}

/// The same, with `<none>` for one that selects everything.
pub(super) fn selector_or_none(value: &Value) -> String {
    match selector(value) {
        text if text.is_empty() => "<none>".to_owned(),
        text => text,
    }
}

/// The first three of a list, and how many more.
pub(super) fn first_three(all: &[String], none: &str) -> String {
    const SHOWN: usize = 3;
    match all.len() {
        0 => none.to_owned(),
        n if n <= SHOWN => all.join(","),
        n => format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN),
    }
}
