//! Reading the published OpenAPI document.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

const PREFIX: &str = "#/definitions/";

pub(crate) fn read(file: &Path) -> Result<Value, Box<dyn std::error::Error>> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

pub(crate) fn definitions(swagger: &Value) -> BTreeMap<String, &Value> {
    let all = swagger["definitions"].as_object();
    all.into_iter().flatten().map(|(name, value)| (name.clone(), value)).collect()
}

pub(crate) fn target(reference: &str) -> &str {
    reference.strip_prefix(PREFIX).unwrap_or(reference)
}

/// The letter of a type that has a form of its own in JSON.
pub(crate) fn letter(reference: &str) -> Option<&'static str> {
    Some(match target(reference) {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => "q",
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => "n",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time" => "t",
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => "u",
        "io.k8s.apimachinery.pkg.runtime.RawExtension"
        | "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"
        | "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
        | "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
        | "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        | "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        | "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray" => {
            "*"
        }
        _ => return None,
    })
}

/// Whether the type is the body of a resource in a stable version.
pub(crate) fn is_served(name: &str, definition: &Value) -> bool {
    let stable = |v: &str| !v.contains("alpha") && !v.contains("beta");
    let kinds = definition["x-kubernetes-group-version-kind"].as_array();
    kinds.is_some_and(|k| !k.is_empty())
        && !name.contains(".apimachinery.")
        && kinds.into_iter().flatten().all(|g| g["version"].as_str().is_some_and(stable))
}

/// Whether the type is that of every group, such as DeleteOptions.
pub(crate) fn is_shared(name: &str) -> bool {
    name.contains(".apimachinery.")
}

/// Names of types that a schema mentions, at any depth.
pub(crate) fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(reference) if key == "$ref" => found.push(target(reference).to_owned()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
