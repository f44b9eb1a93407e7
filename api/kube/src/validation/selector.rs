//! Label selectors inside objects.

use serde_json::Value;

use super::value::{items, text};
use super::{Errors, metadata, names};

/// Checks a selector that is there.
pub(super) fn check(selector: &Value, path: &str, errors: &mut Errors) {
    metadata::labels(&selector["matchLabels"], &format!("{path}.matchLabels"), errors);
    for (path, expression) in items(selector, "matchExpressions", path) {
        let count = expression["values"].as_array().map_or(0, Vec::len);
        match text(expression, "operator") {
            "In" | "NotIn" if count == 0 => errors.required(
                format!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if count > 0 => errors.forbidden(
                format!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "Exists" | "DoesNotExist" => {}
            other => {
                errors.invalid(format!("{path}.operator"), other, "not a valid selector operator");
            }
        }
        let key = text(expression, "key");
        errors.all_invalid(&format!("{path}.key"), key, names::qualified(key));
        for (path, value) in items(expression, "values", &path) {
            let value = value.as_str().unwrap_or_default();
            errors.all_invalid(&path, value, names::label_value(value));
        }
    }
}

/// Whether a selector has no requirement.
pub(super) fn is_empty(selector: &Value) -> bool {
    selector["matchLabels"].as_object().is_none_or(serde_json::Map::is_empty)
        && selector["matchExpressions"].as_array().is_none_or(Vec::is_empty)
}
