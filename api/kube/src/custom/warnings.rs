//! What is allowed and still told: formats that nobody checks, finalizers that may clash.
// upstream: apiextensions-apiserver, pkg/registry/customresource and customresourcedefinition

use serde_json::Value;

use super::formats;
use crate::validation::errors::go_quote;

/// Formats of a definition that are not known, but for those that the old one had too.
pub(crate) fn definition(new: &Value, old: Option<&Value>) -> Vec<String> {
    let of = |object: &Value| {
        let mut found = Vec::new();
        for version in object["spec"]["versions"].as_array().into_iter().flatten() {
            unknown_formats(&version["schema"]["openAPIV3Schema"], &mut found);
        }
        found
    };
    let before = old.map(of).unwrap_or_default();
    let new = of(new).into_iter().filter(|format| !before.contains(format));
    new.map(|format| format!("unrecognized format {}", go_quote(&format))).collect()
}

fn unknown_formats(schema: &Value, found: &mut Vec<String>) {
    if let Some(format) = schema["format"].as_str().filter(|f| !f.is_empty()) {
        let known = match schema["type"].as_str().unwrap_or_default() {
            "" | "string" => formats::is_known(format),
            "integer" => matches!(format, "int32" | "int64"),
            "number" => matches!(format, "float" | "double"),
            _ => false,
        };
        if !known {
            found.push(format.to_owned());
        }
    }
    for name in ["items", "not", "additionalProperties"] {
        if schema[name].is_object() {
            unknown_formats(&schema[name], found);
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for below in schema[name].as_array().into_iter().flatten() {
            unknown_formats(below, found);
        }
    }
    for below in schema["properties"].as_object().into_iter().flatten().map(|(_, s)| s) {
        unknown_formats(below, found);
    }
}

/// New finalizers of a custom object whose names may clash with others'.
pub(crate) fn object(new: &Value, old: Option<&Value>) -> Vec<String> {
    let of = |object: &Value| -> Vec<String> {
        let list = object["metadata"]["finalizers"].as_array();
        list.into_iter().flatten().filter_map(|f| f.as_str().map(str::to_owned)).collect()
    };
    let before = old.map(of).unwrap_or_default();
    let standard = ["orphan", "foregroundDeletion", "kubernetes"];
    let odd = of(new).into_iter().filter(|name| {
        !before.contains(name) && !name.contains('/') && !standard.contains(&name.as_str())
    });
    odd.map(|name| {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        format!("metadata.finalizers: {}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers", go_quote(&name))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_new_is_told() {
        let schema = |format: &str| {
            json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": {
                "a": {"type": "string", "format": format}, "b": {"type": "integer", "format": "int32"},
            }}}}]}})
        };
        let (odd, plain) = (schema("odd"), schema("date-time"));
        assert_eq!(definition(&odd, None), ["unrecognized format \"odd\""]);
        assert!(definition(&odd, Some(&odd)).is_empty() && definition(&plain, None).is_empty());
        let held = json!({"metadata": {"finalizers": ["a.example.com", "b", "c.d/e"]}});
        let told = object(&held, None);
        assert_eq!(told.len(), 2);
        assert!(told[0].contains(
            "\"a.example.com\": prefer a domain-qualified finalizer name including a path"
        ));
        assert!(object(&held, Some(&held)).is_empty());
    }
}
