//! The scale of custom objects: where a definition says replicas and selector are.

use serde_json::Value;

use crate::validation::Errors;

/// Paths such as `.spec.replicas`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) spec_replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) selector: Option<String>,
}

impl Paths {
    /// Reads `subresources.scale`.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        value.is_object().then(|| Paths {
            spec_replicas: text("specReplicasPath").unwrap_or_default(),
            status_replicas: text("statusReplicasPath").unwrap_or_default(),
            selector: text("labelSelectorPath").filter(|p| !p.is_empty()),
        })
    }

    /// How many replicas are wanted.
    pub(crate) fn replicas(&self, object: &Value) -> Option<i64> {
        at(object, &self.spec_replicas)?.as_i64()
    }

    pub(crate) fn put_replicas(&self, object: &mut Value, count: i64) {
        put(object, &self.spec_replicas, Value::from(count));
    }

    /// How many there are, and which.
    pub(crate) fn status<'v>(&self, object: &'v Value) -> (i64, Option<&'v str>) {
        let count = at(object, &self.status_replicas).and_then(Value::as_i64).unwrap_or(0);
        let selector = self.selector.as_ref().and_then(|p| at(object, p)?.as_str());
        (count, selector.filter(|s| !s.is_empty()))
    }

    pub(super) fn check_spec(&self, object: &Value, errors: &mut Errors) {
        check_count(object, &self.spec_replicas, errors);
    }

    pub(super) fn check_status(&self, object: &Value, errors: &mut Errors) {
        check_count(object, &self.status_replicas, errors);
        if let Some(path) = &self.selector
            && let Some(found) = at(object, path).filter(|v| !v.is_string())
        {
            let why = format!(
                "{path} accessor error: {found} is of the type {}, expected string",
                go_type(found)
            );
            errors.invalid(path, "", &why);
        }
    }
}

/// The value at a path in dots.
fn at<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.trim_start_matches('.').split('.').try_fold(object, |value, name| value.get(name))
}

/// Puts a value at a path in dots.
fn put(object: &mut Value, path: &str, new: Value) {
    let mut value = object;
    for name in path.trim_start_matches('.').split('.') {
        if !value.is_object() {
            *value = Value::Object(serde_json::Map::new());
        }
        value = &mut value[name];
    }
    *value = new;
}

fn check_count(object: &Value, path: &str, errors: &mut Errors) {
    let Some(found) = at(object, path) else { return };
    match found.as_i64() {
        None => {
            let why = format!(
                "{path} accessor error: {found} is of the type {}, expected int64",
                go_type(found)
            );
            errors.invalid(path, 0, &why);
        }
        Some(count) if count < 0 => errors.invalid(path, count, "should be a non-negative integer"),
        Some(count) if count > i64::from(i32::MAX) => {
            let why = format!("should be less than or equal to {}", i32::MAX);
            errors.invalid(path, count, &why);
        }
        Some(_) => {}
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
