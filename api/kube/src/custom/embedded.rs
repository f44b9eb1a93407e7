//! Objects inside custom resources: their type and metadata are as those of any object.
// upstream: apiextensions-apiserver, pkg/apiserver/schema/objectmeta

use serde_json::Value;

use super::lists::child;
use super::schema::Schema;
use crate::decode;
use crate::validation::{Errors, metadata, names};

/// Brings the metadata of embedded objects into shape; adds the paths of fields that went.
pub(crate) fn coerce(
    schema: &Schema,
    value: &mut Value,
    path: &str,
    gone: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            if schema.embedded
                && let Some(given) = fields.get_mut("metadata")
            {
                let below = child(path, "metadata");
                let (read, unknown) = decode::metadata(given.take(), &below)?;
                *given = read;
                gone.extend(unknown);
            }
            for (name, value) in fields.iter_mut() {
                if let Some(below) = schema.field(name) {
                    coerce(below, value, &child(path, name), gone)?;
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return Ok(()) };
            for (at, item) in items.iter_mut().enumerate() {
                coerce(below, item, &format!("{path}[{at}]"), gone)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Checks the type and metadata of embedded objects.
pub(crate) fn check(schema: &Schema, value: &Value, path: &str, errors: &mut Errors) {
    match value {
        Value::Object(fields) => {
            if schema.embedded {
                check_object(value, path, errors);
            }
            for (name, value) in fields {
                match (schema.properties.get(name), schema.field(name)) {
                    (Some(below), _) => check(below, value, &child(path, name), errors),
                    (None, Some(below)) => check(below, value, &format!("{path}[{name}]"), errors),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            for (at, item) in items.iter().enumerate() {
                check(below, item, &format!("{path}[{at}]"), errors);
            }
        }
        _ => {}
    }
}

fn check_object(object: &Value, path: &str, errors: &mut Errors) {
    for name in ["apiVersion", "kind"] {
        let at = child(path, name);
        match object.get(name) {
            None => errors.required(at, ""),
            Some(Value::String(text)) if text.is_empty() => {
                errors.invalid(at, "", "must not be empty");
            }
            Some(Value::String(text)) if name == "kind" => {
                let wrong = names::label_1035(&text.to_lowercase());
                if !wrong.is_empty() {
                    let why = format!(
                        "may have mixed case, but should otherwise match: {}",
                        wrong.join(",")
                    );
                    errors.invalid(at, text.as_str(), &why);
                }
            }
            Some(Value::String(text)) if text.matches('/').count() > 1 => {
                errors.invalid(
                    at,
                    text.as_str(),
                    &format!("unexpected GroupVersion string: {text}"),
                );
            }
            Some(Value::String(_)) => {}
            Some(other) => errors.invalid(at, other.clone(), "must be a string"),
        }
    }
    let given = &object["metadata"];
    let at = child(path, "metadata");
    metadata::labels(&given["labels"], &format!("{at}.labels"), errors);
    metadata::annotations(&given["annotations"], &format!("{at}.annotations"), errors);
    if let Some(name) = given["name"].as_str().filter(|n| !n.is_empty()) {
        errors.all_invalid(&format!("{at}.name"), name, names::path_segment(name));
    }
}
