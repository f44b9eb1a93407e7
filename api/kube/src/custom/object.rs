//! What is done to custom objects on their way in and out: reading, defaults, rules.

use serde_json::Value;

use super::definition::Served;
use super::{check, embedded, fill, lists, prune, rules};
use crate::validation::Errors;

/// Drops what the schema does not know and brings embedded objects into shape; answers the paths
/// of what went.
pub(crate) fn decoded(served: &Served, object: &mut Value) -> Result<Vec<String>, String> {
    let schema = &served.version().schema;
    let mut gone = prune::prune(object, schema);
    embedded::coerce(schema, object, "", &mut gone)?;
    Ok(gone)
}

/// Fills in defaults.
pub(crate) fn filled(served: &Served, object: &mut Value) {
    fill::fill(object, &served.version().schema);
}

/// A stored object as its version serves it.
pub(crate) fn read(served: &Served, object: &mut Value) {
    object["apiVersion"] = Value::from(served.api_version());
    prune::prune(object, &served.version().schema);
    filled(served, object);
}

/// A new object has no status of its own making where the status has its own path.
pub(crate) fn prepare_create(served: &Served, object: &mut Value) {
    if served.version().has_status
        && let Some(fields) = object.as_object_mut()
    {
        fields.shift_remove("status");
    }
}

/// What is wrong with a new object.
pub(crate) fn validate(served: &Served, object: &Value, errors: &mut Errors) {
    let version = served.version();
    let schema = &version.schema;
    check::check(schema, object, None, "", errors);
    if let Some(paths) = &version.scale {
        paths.check_spec(object, errors);
        paths.check_status(object, errors);
    }
    embedded::check(schema, object, "", errors);
    lists::check(schema, object, "", errors);
    if version.has_rules && !is_blocked(errors) {
        rules::check(schema, object, None, errors);
    }
}

/// Rules are not run on what is wrong in shape.
fn is_blocked(errors: &mut Errors) -> bool {
    const BLOCKING: &[&str] = &[
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    ];
    let blocked = errors.reasons().any(|reason| BLOCKING.contains(&reason));
    if blocked {
        errors.invalid("<nil>", Value::Null, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation");
    }
    blocked
}

/// What is wrong with a changed object, but for what was wrong before.
pub(crate) fn validate_update(
    served: &Served,
    new: &Value,
    old: &Value,
    subresource: &str,
    errors: &mut Errors,
) {
    let version = served.version();
    let schema = &version.schema;
    if subresource == "status" {
        if let (Some(below), Some(status)) = (schema.field("status"), new.get("status")) {
            check::check(below, status, old.get("status"), "status", errors);
        }
        if let Some(paths) = &version.scale {
            paths.check_status(new, errors);
        }
    } else {
        check::check(schema, new, Some(old), "", errors);
        if let Some(paths) = &version.scale {
            paths.check_spec(new, errors);
            paths.check_status(new, errors);
        }
    }
    embedded::check(schema, new, "", errors);
    let mut before = Errors::default();
    lists::check(schema, old, "", &mut before);
    if before.is_empty() {
        lists::check(schema, new, "", errors);
    }
    if !version.has_rules || is_blocked(errors) {
        return;
    }
    if subresource != "status" {
        rules::check(schema, new, Some(old), errors);
    } else if let (Some(below), Some(status)) = (schema.field("status"), new.get("status")) {
        rules::check_part(below, status, old.get("status"), "status", errors);
    }
}
