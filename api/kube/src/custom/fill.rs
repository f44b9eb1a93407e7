//! Defaults of custom resources, filled in when they are written and when they are read.
// upstream: apiextensions-apiserver, pkg/apiserver/schema/defaulting

use serde_json::Value;

use super::schema::{Additional, Schema};

/// Drops nulls that the schema does not allow, and fills in defaults. Does nothing when done again.
pub(crate) fn fill(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let below = schema.field(name);
                !value.is_null() || below.is_none_or(|s| s.nullable)
            });
            for (name, below) in &schema.properties {
                if let Some(default) = &below.default
                    && !fields.contains_key(name)
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            let rest = match &schema.additional {
                Some(Additional::Of(below)) => Some(&**below),
                Some(Additional::Any) | None => None,
            };
            for (name, value) in fields.iter_mut() {
                if let Some(below) = schema.properties.get(name).or(rest) {
                    fill(value, below);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            for item in items {
                if item.is_null()
                    && !below.nullable
                    && let Some(default) = &below.default
                {
                    *item = default.clone();
                }
                fill(item, below);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_fill_what_is_absent_or_null_without_leave() {
        let schema = Schema::of(&json!({"type": "object", "properties": {"spec": {
        "type": "object", "default": {}, "properties": {
            "a": {"type": "integer", "default": 1},
            "b": {"type": "string", "nullable": true, "default": "x"},
            "c": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {
                "port": {"type": "integer", "default": 80}}}},
        }}}}));
        let filled = |mut value: Value| {
            fill(&mut value, &schema);
            let once = value.clone();
            fill(&mut value, &schema);
            assert_eq!(value, once);
            value
        };
        assert_eq!(filled(json!({})), json!({"spec": {"a": 1, "b": "x"}}));
        assert_eq!(
            filled(json!({"spec": {"a": null, "b": null, "c": null, "list": [{}, {"port": 1}]}})),
            json!({"spec": {"b": null, "list": [{"port": 80}, {"port": 1}], "a": 1}})
        );
    }
}
