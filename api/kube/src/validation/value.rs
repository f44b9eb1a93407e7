//! Small readings and checks that rules share.

use serde_json::Value;

use super::{Errors, names};

/// A text; empty when absent.
pub(super) fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
}

/// A list's entries with their paths.
pub(super) fn items<'a>(
    object: &'a Value,
    name: &str,
    path: &str,
) -> impl Iterator<Item = (String, &'a Value)> {
    let base = format!("{path}.{name}");
    let list = object[name].as_array().into_iter().flatten().enumerate();
    list.map(move |(at, item)| (format!("{base}[{at}]"), item))
}

/// A number that may not be negative.
pub(super) fn not_negative(object: &Value, name: &str, path: &str, errors: &mut Errors) {
    if let Some(number) = object[name].as_i64().filter(|n| *n < 0) {
        errors.invalid(format!("{path}.{name}"), number, "must be greater than or equal to 0");
    }
}

/// A text that must be there and be one of these.
pub(super) fn one_of(object: &Value, name: &str, path: &str, known: &[&str], errors: &mut Errors) {
    match text(object, name) {
        "" => errors.required(format!("{path}.{name}"), ""),
        value if known.contains(&value) => {}
        value => errors.not_supported(format!("{path}.{name}"), value, known),
    }
}

/// A port by number or name.
pub(super) fn port(value: &Value, path: &str, errors: &mut Errors) {
    match value {
        Value::String(name) => errors.all_invalid(path, name, names::port_name(name)),
        other => {
            let number = other.as_i64().unwrap_or(0);
            for why in names::port_number(number) {
                errors.invalid(path, number, &why);
            }
        }
    }
}

/// An amount or a share: `5` or `25%`.
pub(super) fn int_or_percent(value: &Value, path: &str, errors: &mut Errors) {
    match value {
        Value::String(share) => errors.all_invalid(path, share, names::percent(share)),
        other => {
            if let Some(number) = other.as_i64().filter(|n| *n < 0) {
                errors.invalid(path, number, "must be greater than or equal to 0");
            }
        }
    }
}

/// A share may not be more than all.
pub(super) fn at_most_all(value: &Value, path: &str, errors: &mut Errors) {
    if let Some(share) = value.as_str()
        && share.trim_end_matches('%').parse::<i64>().is_ok_and(|n| n > 100)
    {
        errors.invalid(path, share, "must not be greater than 100%");
    }
}

/// The number in an amount or a share.
pub(super) fn number_in(value: &Value) -> i64 {
    match value {
        Value::String(share) => share.trim_end_matches('%').parse().unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    }
}

/// A field that may never change.
pub(super) fn immutable(new: &Value, old: &Value, name: &str, path: &str, errors: &mut Errors) {
    if new[name] != old[name] {
        errors.immutable(format!("{path}{name}"), &new[name]);
    }
}
