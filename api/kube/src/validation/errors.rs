//! Errors of single fields, in the words and with the reasons that clients compare.

use serde_json::Value;

/// Maps from keys to words join with this in `NotSupported`.
const IMMUTABLE: &str = "field is immutable";

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The cause's reason, e.g. `FieldValueInvalid`.
    pub reason: &'static str,
    /// Path of the field, e.g. `spec.containers[0].name`.
    pub field: String,
    /// The text without the path, e.g. `Required value: name or generateName is required`.
    pub message: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Errors in the order in which the checks found them.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// The list.
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were found.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The field must be given.
    pub fn required(&mut self, field: impl Into<String>, why: &str) {
        self.push("FieldValueRequired", field, "Required value", None, why);
    }

    /// The value breaks a rule.
    pub fn invalid(&mut self, field: impl Into<String>, value: impl Into<Value>, why: &str) {
        self.push("FieldValueInvalid", field, "Invalid value", Some(value.into()), why);
    }

    /// The value, which is not shown, breaks a rule.
    pub fn invalid_plain(&mut self, field: impl Into<String>, why: &str) {
        self.push("FieldValueInvalid", field, "Invalid value", None, why);
    }

    /// The reasons of all that was found.
    pub fn reasons(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|e| e.reason)
    }

    /// The value breaks several rules: one error each.
    pub fn all_invalid(&mut self, field: &str, value: &str, why: Vec<String>) {
        for why in why {
            self.invalid(field, value, &why);
        }
    }

    /// The value may never change.
    pub fn immutable(&mut self, field: impl Into<String>, value: &Value) {
        self.invalid(field, value.clone(), IMMUTABLE);
    }

    /// The field may not be set here.
    pub fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        self.push("FieldValueForbidden", field, "Forbidden", None, why);
    }

    /// The value is there twice.
    pub fn duplicate(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.push("FieldValueDuplicate", field, "Duplicate value", Some(value.into()), "");
    }

    /// The thing that the value names is missing.
    pub fn not_found(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.push("FieldValueNotFound", field, "Not found", Some(value.into()), "");
    }

    /// The value is none of the known ones. `known` is given sorted.
    pub fn not_supported(&mut self, field: impl Into<String>, value: &str, known: &[&str]) {
        let quoted: Vec<String> = known.iter().map(|k| go_quote(k)).collect();
        let why = format!("supported values: {}", quoted.join(", "));
        self.push("FieldValueNotSupported", field, "Unsupported value", Some(value.into()), &why);
    }

    /// The value, of any type, is none of the known ones.
    pub fn value_not_supported(&mut self, field: impl Into<String>, value: Value, known: &[&str]) {
        let quoted: Vec<String> = known.iter().map(|k| go_quote(k)).collect();
        let why = format!("supported values: {}", quoted.join(", "));
        self.push("FieldValueNotSupported", field, "Unsupported value", Some(value), &why);
    }

    /// The value is of the wrong type.
    pub fn wrong_type(&mut self, field: impl Into<String>, value: Value, why: &str) {
        self.push("FieldValueTypeInvalid", field, "Invalid value", Some(value), why);
    }

    /// Adds what another check found.
    pub fn extend(&mut self, found: Vec<FieldError>) {
        self.0.extend(found);
    }

    /// The value is longer than allowed.
    pub fn too_long(&mut self, field: impl Into<String>, max: usize) {
        let why = format!("may not be more than {max} bytes");
        self.push("FieldValueTooLong", field, "Too long", None, &why);
    }

    /// The list has more entries than allowed.
    pub fn too_many(&mut self, field: impl Into<String>, actual: usize, max: usize) {
        let why = format!("must have at most {max} items");
        self.push("FieldValueTooMany", field, "Too many", Some(actual.into()), &why);
    }

    fn push(
        &mut self,
        reason: &'static str,
        field: impl Into<String>,
        what: &str,
        value: Option<Value>,
        why: &str,
    ) {
        let mut message = what.to_owned();
        if let Some(value) = value {
            message.push_str(": ");
            match value {
                Value::String(text) => message.push_str(&go_quote(&text)),
                other => message.push_str(&other.to_string()),
            }
        }
        if !why.is_empty() {
            message.push_str(": ");
            message.push_str(why);
        }
        self.0.push(FieldError { reason, field: field.into(), message });
    }
}

/// Quotes as Go's %q does.
pub(crate) fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_those_that_clients_know() {
        let mut errors = Errors::default();
        errors.required("spec.a", "");
        errors.invalid("spec.b", -1, "must be greater than or equal to 0");
        errors.invalid("spec.c", json!({"a": "b"}), "field is immutable");
        errors.not_supported("spec.d", "X", &["A", "B"]);
        errors.duplicate("spec.e", "x");
        errors.too_long("spec.f", 63);
        let texts: Vec<String> = errors.into_vec().iter().map(FieldError::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.a: Required value",
                "spec.b: Invalid value: -1: must be greater than or equal to 0",
                "spec.c: Invalid value: {\"a\":\"b\"}: field is immutable",
                "spec.d: Unsupported value: \"X\": supported values: \"A\", \"B\"",
                "spec.e: Duplicate value: \"x\"",
                "spec.f: Too long: may not be more than 63 bytes",
            ]
        );
    }
}
