//! What makes a schema structural: every field has a type, and conditions add none.
// upstream: apiextensions-apiserver, pkg/apiserver/schema, ValidateStructural

use regex::Regex;
use serde_json::{Value, json};

use crate::validation::{Errors, FieldError};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What is wrong, sorted by text.
pub(crate) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Errors::default();
    invariants(schema, Level::Root, path, &mut errors);
    complete(schema, path, &mut errors);
    let mut all = errors.into_vec();
    all.sort_by_key(ToString::to_string);
    all
}

fn flag(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn present<'v>(schema: &'v Value, name: &str) -> Option<&'v Value> {
    schema.get(name).filter(|v| !v.is_null())
}

fn invariants(schema: &Value, level: Level, path: &str, errors: &mut Errors) {
    let kind = schema["type"].as_str().unwrap_or_default();
    if kind == "array" && present(schema, "items").is_none() {
        errors.required(format!("{path}.items"), "must be specified");
    }
    if let Some(items) = present(schema, "items").filter(|i| i.is_object()) {
        invariants(items, Level::Item, &format!("{path}.items"), errors);
    }
    for (name, below) in fields(schema) {
        invariants(below, Level::Field, &format!("{path}.properties[{name}]"), errors);
    }
    let additional = present(schema, "additionalProperties");
    if let Some(additional) = additional {
        if level == Level::Root {
            errors
                .forbidden(format!("{path}.additionalProperties"), "must not be used at the root");
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &format!("{path}.additionalProperties"), errors);
        }
    }
    let (int_or_string, preserves, embedded) = (
        flag(schema, "x-kubernetes-int-or-string"),
        flag(schema, "x-kubernetes-preserve-unknown-fields"),
        flag(schema, "x-kubernetes-embedded-resource"),
    );
    for (on, name) in [(preserves, "preserve-unknown-fields"), (embedded, "embedded-resource")] {
        if int_or_string && on {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.invalid(format!("{path}.x-kubernetes-{name}"), true, why);
        }
    }
    conditions(schema, path, errors);
    let at_type = || format!("{path}.type");
    if embedded && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        match kind {
            "" => errors.required(at_type(), why),
            kind => errors.invalid(at_type(), kind, why),
        }
    } else if kind.is_empty() && !int_or_string && !preserves {
        errors.required(
            at_type(),
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    }
    if embedded && additional.is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(format!("{path}.additionalProperties"), why);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid(at_type(), kind, "must be object at the root");
    }
    own_fields(schema, level, path, errors);
    if embedded && !preserves && fields(schema).next().is_none() {
        errors.required(
            format!("{path}.properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        );
    }
}

/// The fields that every object has are what they are.
fn own_fields(schema: &Value, level: Level, path: &str, errors: &mut Errors) {
    let checked = level == Level::Root || flag(schema, "x-kubernetes-embedded-resource");
    for name in ["kind", "apiVersion"] {
        if let Some(field) = schema["properties"].get(name).filter(|_| checked)
            && field["type"] != "string"
        {
            let kind = field["type"].as_str().unwrap_or_default();
            errors.invalid(format!("{path}.properties[{name}].type"), kind, "must be string");
        }
    }
    let Some(metadata) = schema["properties"].get("metadata") else { return };
    let at = format!("{path}.properties[metadata]");
    if checked && metadata["type"] != "object" {
        let kind = metadata["type"].as_str().unwrap_or_default();
        errors.invalid(format!("{at}.type"), kind, "must be object");
    }
    if level != Level::Root {
        return;
    }
    let only_names = fields(metadata).all(|(n, _)| matches!(n.as_str(), "name" | "generateName"));
    let rest = metadata.as_object().into_iter().flatten();
    let mut others = rest.filter(|(name, _)| {
        !matches!(name.as_str(), "type" | "properties" | "default" | "description")
            || name.as_str() == "description"
    });
    if !only_names || others.next().is_some() {
        errors.forbidden(at, "must not specify anything other than name and generateName, but metadata is implicitly specified");
    }
}

/// The types of an integer or a text, as the pattern for it writes them.
fn is_int_or_string(any_of: &Value) -> bool {
    *any_of == json!([{"type": "integer"}, {"type": "string"}])
}

fn conditions(schema: &Value, path: &str, errors: &mut Errors) {
    let skip_any = is_int_or_string(&schema["anyOf"]);
    let skip_first = is_int_or_string(&schema["allOf"][0]["anyOf"]);
    alternatives(schema, skip_any, skip_first, path, errors);
}

fn alternatives(schema: &Value, skip_any: bool, skip_first: bool, path: &str, errors: &mut Errors) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip_any {
            continue;
        }
        for (at, below) in schema[name].as_array().into_iter().flatten().enumerate() {
            let skip = name == "allOf" && skip_first && at == 0;
            nested(below, skip, &format!("{path}.{name}[{at}]"), errors);
        }
    }
    if let Some(not) = present(schema, "not") {
        nested(not, false, &format!("{path}.not"), errors);
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(error) = Regex::new(pattern)
    {
        let last = error.to_string();
        let last = last.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let why =
            format!("must be a valid regular expression, but isn't: error parsing regexp: {last}");
        errors.invalid(format!("{path}.pattern"), pattern, &why);
    }
}

/// A condition says nothing of types, defaults or how values are kept.
fn nested(schema: &Value, skip_any: bool, path: &str, errors: &mut Errors) {
    alternatives(schema, skip_any, false, path, errors);
    if let Some(items) = present(schema, "items").filter(|i| i.is_object()) {
        nested(items, false, &format!("{path}.items"), errors);
    }
    for (name, below) in fields(schema) {
        nested(below, false, &format!("{path}.properties[{name}]"), errors);
    }
    let mut refuse = |name: &str, why: &str| {
        let given = present(schema, name).is_some_and(|v| match v {
            Value::Bool(on) => *on || name == "additionalProperties",
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        });
        if given {
            errors.forbidden(format!("{path}.{name}"), why);
        }
    };
    refuse("type", "must be empty to be structural");
    refuse("additionalProperties", "must be undefined to be structural");
    refuse("default", "must be undefined to be structural");
    refuse("title", "must be empty to be structural");
    refuse("description", "must be empty to be structural");
    refuse("nullable", "must be false to be structural");
    refuse("x-kubernetes-preserve-unknown-fields", "must be false to be structural");
    refuse("x-kubernetes-embedded-resource", "must be false to be structural");
    refuse("x-kubernetes-int-or-string", "must be false to be structural");
    refuse("x-kubernetes-list-map-keys", "must be empty to be structural");
    refuse("x-kubernetes-list-type", "must be undefined to be structural");
    refuse("x-kubernetes-map-type", "must be undefined to be structural");
    refuse("x-kubernetes-validations", "must be empty to be structural");
    if schema["properties"].get("metadata").is_some() {
        let why = "must not be specified in a nested context";
        errors.forbidden(format!("{path}.properties[metadata]"), why);
    }
}

/// What a condition speaks of is there in the schema itself.
fn complete(schema: &Value, path: &str, errors: &mut Errors) {
    for name in ["anyOf", "allOf", "oneOf"] {
        for (at, below) in schema[name].as_array().into_iter().flatten().enumerate() {
            covered(below, schema, path, &format!("{path}.{name}[{at}]"), errors);
        }
    }
    if let Some(not) = present(schema, "not") {
        covered(not, schema, path, &format!("{path}.not"), errors);
    }
    if let Some(items) = present(schema, "items").filter(|i| i.is_object()) {
        complete(items, &format!("{path}.items"), errors);
    }
    for (name, below) in fields(schema) {
        complete(below, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(below) = present(schema, "additionalProperties").filter(|a| a.is_object()) {
        complete(below, &format!("{path}.additionalProperties"), errors);
    }
}

fn covered(nested: &Value, schema: &Value, at: &str, path: &str, errors: &mut Errors) {
    if let Some(items) = present(nested, "items").filter(|i| i.is_object()) {
        match present(schema, "items") {
            None => errors
                .required(format!("{at}.items"), &format!("because it is defined in {path}.items")),
            Some(below) => {
                covered(items, below, &format!("{at}.items"), &format!("{path}.items"), errors)
            }
        }
    }
    for (name, field) in fields(nested) {
        let inside = format!("{path}.properties[{name}]");
        let outside = format!("{at}.properties[{name}]");
        match schema["properties"]
            .get(name)
            .or_else(|| present(schema, "additionalProperties").filter(|a| a.is_object()))
        {
            Some(below) => covered(field, below, &outside, &inside, errors),
            None => errors.required(outside, &format!("because it is defined in {inside}")),
        }
    }
    for name in ["anyOf", "allOf", "oneOf"] {
        for (index, below) in nested[name].as_array().into_iter().flatten().enumerate() {
            covered(below, schema, at, &format!("{path}.{name}[{index}]"), errors);
        }
    }
    if let Some(not) = present(nested, "not") {
        covered(not, schema, at, &format!("{path}.not"), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(schema: Value) -> Vec<String> {
        check(&schema, "s").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_field_has_a_type_and_conditions_have_none() {
        assert_eq!(
            texts(json!({"type": "object", "properties": {"a": {}, "l": {"type": "array"},
                "m": {"type": "array", "items": {}}}})),
            [
                "s.properties[a].type: Required value: must not be empty for specified object fields",
                "s.properties[l].items: Required value: must be specified",
                "s.properties[m].items.type: Required value: must not be empty for specified array items",
            ]
        );
        assert_eq!(
            texts(json!({"type": "object", "properties": {"a": {"type": "string"}},
                "anyOf": [{"properties": {"a": {"type": "string"}, "b": {"minimum": 1}}}]})),
            [
                "s.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
                "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
            ]
        );
        assert!(texts(json!({"type": "object", "properties": {
            "p": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "f": {"type": "string", "pattern": "^a$"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        }})).is_empty());
        assert_eq!(
            texts(json!({"x-kubernetes-preserve-unknown-fields": true})),
            Vec::<String>::new()
        );
    }
}
