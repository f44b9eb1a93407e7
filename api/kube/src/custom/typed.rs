//! What validation rules see of a value: its type by the schema, and its fields by names that
//! expressions can write.
// upstream: apiserver, pkg/cel/common and pkg/cel/openapi

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::formats::go_duration;
use super::schema::{Additional, Schema};
use crate::cel::{RESERVED, Type, Value};

/// Bytes of the largest request.
const REQUEST_MAX: u64 = 3 * 1024 * 1024;
/// Words of expressions beside those that are reserved.
const LITERALS: &[&str] = &["true", "false", "null"];

/// The name by which expressions call a field. None: they cannot.
pub(crate) fn escaped(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&name) || LITERALS.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out.push_str("__underscores__");
            rest = after;
            continue;
        }
        match c {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(out)
}

/// The type of a value; that of a whole object has its own fields too.
pub(crate) fn type_of(schema: &Schema, root: bool) -> Type {
    if schema.int_or_string {
        return Type::Dyn;
    }
    let checks = schema.checks.as_deref();
    match schema.kind.as_str() {
        "boolean" => Type::Bool,
        "integer" => Type::Int,
        "number" => Type::Double,
        "string" => match checks.map_or("", |c| c.format.as_str()) {
            "byte" => Type::Bytes(text_max(schema)),
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::Text(text_max(schema)),
        },
        "array" => {
            let Some(items) = schema.items.as_deref() else {
                return Type::List(Arc::new(Type::Dyn), REQUEST_MAX);
            };
            Type::List(Arc::new(type_of(items, false)), items_max(schema, items))
        }
        "object" => {
            if let Some(Additional::Of(values)) = &schema.additional
                && schema.properties.is_empty()
            {
                let max = entries_max(schema, values);
                return Type::Map(
                    Arc::new(Type::Text(REQUEST_MAX)),
                    Arc::new(type_of(values, false)),
                    max,
                );
            }
            let mut fields: BTreeMap<String, Type> = schema
                .properties
                .iter()
                .filter(|(_, s)| is_visible(s))
                .filter_map(|(name, s)| Some((escaped(name)?, type_of(s, false))))
                .collect();
            if root || schema.embedded {
                let text = || Type::Text(REQUEST_MAX);
                let metadata = ["name", "generateName"].map(|n| (n.to_owned(), text()));
                fields.insert("apiVersion".to_owned(), text());
                fields.insert("kind".to_owned(), text());
                fields.insert("metadata".to_owned(), Type::Object(Arc::new(metadata.into())));
            }
            Type::Object(Arc::new(fields))
        }
        _ => Type::Dyn,
    }
}

/// Fields whose shape is not known cannot be read.
fn is_visible(schema: &Schema) -> bool {
    !schema.kind.is_empty() || schema.int_or_string
}

fn text_max(schema: &Schema) -> u64 {
    let checks = schema.checks.as_deref();
    if let Some(max) = checks.and_then(|c| c.max_length) {
        // Characters are up to four bytes.
        return max.saturating_mul(4);
    }
    let longest = |all: &Vec<Json>| all.iter().filter_map(|v| v.as_str()).map(str::len).max();
    if let Some(longest) = checks.and_then(|c| c.values.as_ref()).and_then(longest) {
        return longest as u64;
    }
    REQUEST_MAX - 2
}

/// The most items that a list can have.
pub(crate) fn items_max(schema: &Schema, items: &Schema) -> u64 {
    let given = schema.checks.as_deref().and_then(|c| c.max_items);
    given.unwrap_or_else(|| (REQUEST_MAX - 2) / (size_min(items) + 1))
}

/// The most entries that a map can have.
pub(crate) fn entries_max(schema: &Schema, values: &Schema) -> u64 {
    let given = schema.checks.as_deref().and_then(|c| c.max_properties);
    given.unwrap_or_else(|| (REQUEST_MAX - 2) / (size_min(values) + 6))
}

/// The fewest bytes of a value in JSON.
fn size_min(schema: &Schema) -> u64 {
    match schema.kind.as_str() {
        "object" => {
            let required = schema.checks.iter().flat_map(|c| &c.required);
            let of = |name: &String| {
                let below = schema.properties.get(name);
                below.filter(|s| s.default.is_none()).map(|s| size_min(s) + name.len() as u64 + 4)
            };
            2 + required.filter_map(of).sum::<u64>()
        }
        "boolean" => 4,
        "string" | "array" => 2,
        _ => 1,
    }
}

/// A value as rules see it.
pub(crate) fn value_of(schema: &Schema, value: &Json, root: bool) -> Value {
    if schema.int_or_string || value.is_null() {
        return Value::of_json(value);
    }
    match (schema.kind.as_str(), value) {
        ("number", Json::Number(n)) => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
        ("string", Json::String(text)) => {
            text_value(schema.checks.as_deref().map_or("", |c| c.format.as_str()), text)
        }
        ("array", Json::Array(items)) => match schema.items.as_deref() {
            Some(of) => Value::list(items.iter().map(|i| value_of(of, i, false)).collect()),
            None => Value::of_json(value),
        },
        ("object", Json::Object(fields)) => {
            if let Some(Additional::Of(values)) = &schema.additional
                && schema.properties.is_empty()
            {
                let entry = |(k, v): (&String, &Json)| {
                    (Value::from(k.as_str()), value_of(values, v, false))
                };
                return Value::map(fields.iter().map(entry).collect());
            }
            let own = root || schema.embedded;
            let mut entries = Vec::with_capacity(fields.len());
            for (name, value) in fields {
                if own && name == "metadata" {
                    let kept = ["name", "generateName"]
                        .into_iter()
                        .filter_map(|n| Some((Value::from(n), Value::of_json(value.get(n)?))));
                    entries.push((Value::from("metadata"), Value::map(kept.collect())));
                } else if own && matches!(name.as_str(), "apiVersion" | "kind") {
                    entries.push((Value::from(name.as_str()), Value::of_json(value)));
                } else if let Some(below) = schema.properties.get(name).filter(|s| is_visible(s))
                    && let Some(name) = escaped(name)
                {
                    entries.push((Value::from(name), value_of(below, value, false)));
                }
            }
            Value::map(entries)
        }
        _ => Value::of_json(value),
    }
}

fn text_value(format: &str, text: &str) -> Value {
    use base64::Engine as _;
    let read = match format {
        "byte" => base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()
            .map(|bytes| Value::Bytes(bytes.into())),
        "duration" => go_duration(text).map(Value::Duration),
        "date-time" => text.parse::<Timestamp>().ok().map(Value::Timestamp),
        "date" => text
            .parse::<jiff::civil::Date>()
            .ok()
            .and_then(|d| d.to_zoned(TimeZone::UTC).ok())
            .map(|z| Value::Timestamp(z.timestamp())),
        _ => None,
    };
    read.unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_upstream_does() {
        for (name, wanted) in [
            ("a", Some("a")),
            ("namespace", Some("__namespace__")),
            ("a.b-c/d", Some("a__dot__b__dash__c__slash__d")),
            ("a__b", Some("a__underscores__b")),
            ("1a", None),
            ("a$", None),
        ] {
            assert_eq!(escaped(name).as_deref(), wanted, "{name}");
        }
    }
}
