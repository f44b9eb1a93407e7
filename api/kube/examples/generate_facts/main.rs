//! Writes the table of facts (src/facts/table.txt) from Kubernetes' published Go modules.
//!
//! `cargo run -p keelson-kube-api --example generate_facts -- GO_MODULE_CACHE OUTPUT` reads the
//! OpenAPI document and the Go type files of the pinned release and writes names, numbers, types,
//! keys and enums: facts, no prose. The form of a line is told in `facts/parse.rs`.

mod gates;
mod go_types;
mod swagger;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use go_types::{GoField, GoTypes};
use serde_json::Value;

const RELEASE: &str = "1.36.3";
const STAGING: &str = "0.36.3";

/// Types that nothing refers to, but that requests and answers carry.
const ROOTS: &[&str] = &[
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.policy.v1.Eviction",
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
    "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent",
    "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList",
    "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList",
    "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions",
];

/// Fields that belong to a switched-off gate though their type file does not say so.
const ALPHA_FIELDS: &[(&str, &str)] = &[];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, modules, output] = arguments.as_slice() else {
        return Err("give the Go module cache's folder and the output file".into());
    };
    let k8s = Path::new(modules).join("k8s.io");
    let kubernetes = k8s.join(format!("kubernetes@v{RELEASE}"));
    let swagger = swagger::read(&kubernetes.join("api/openapi-spec/swagger.json"))?;
    let off = gates::switched_off(&kubernetes.join("pkg/features/kube_features.go"))?;
    let go = GoTypes::read(&k8s, STAGING)?;
    let text = write_table(&swagger, &go, &off);
    std::fs::write(output, &text)?;
    println!("{output}: {} bytes", text.len());
    Ok(())
}

fn write_table(swagger: &Value, go: &GoTypes, off: &BTreeSet<String>) -> String {
    let definitions = swagger::definitions(swagger);
    let mut out = format!("# Kubernetes v{RELEASE}; written by the example generate_facts.\n");
    for name in reachable(&definitions) {
        let definition = definitions[&name];
        let fields = go.fields(&name);
        let _ = write!(out, "T {}", short(&name));
        if definition["x-kubernetes-map-type"] == "atomic" {
            out.push_str(" M");
        }
        for gvk in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let part = |key: &str| gvk[key].as_str().unwrap_or_default();
            if swagger::is_shared(&name) {
                break; // DeleteOptions and the like belong to every group
            }
            let _ = write!(out, " g={}/{}/{}", part("group"), part("version"), part("kind"));
        }
        out.push('\n');
        for (field, schema) in definition["properties"].as_object().into_iter().flatten() {
            let known = fields.get(field.as_str());
            write_field(&mut out, &name, field, schema, definition, known, go, off);
        }
    }
    out
}

#[allow(clippy::too_many_arguments)]
fn write_field(
    out: &mut String,
    owner: &str,
    field: &str,
    schema: &Value,
    definition: &Value,
    known: Option<&GoField>,
    go: &GoTypes,
    off: &BTreeSet<String>,
) {
    let number = known.map_or("0", |k| k.number.as_str());
    let _ = write!(out, "{field} {number} {}", field_type(schema));
    let required = definition["required"].as_array().into_iter().flatten();
    if required.into_iter().any(|r| r == field) {
        out.push_str(" !");
    }
    if known.is_some_and(|k| k.always_written) {
        out.push_str(" +");
    }
    let text = |key: &str| schema[key].as_str();
    if let Some(list) = text("x-kubernetes-list-type") {
        let _ = write!(out, " L={list}");
        let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !keys.is_empty() {
            let _ = write!(out, ":{}", keys.join(","));
        }
    }
    if let Some(map) = text("x-kubernetes-map-type") {
        let _ = write!(out, " M={map}");
    }
    if let Some(strategy) = text("x-kubernetes-patch-strategy") {
        let _ = write!(out, " P={strategy}");
        if let Some(key) = text("x-kubernetes-patch-merge-key") {
            let _ = write!(out, ":{key}");
        }
    }
    if let Some(known) = known {
        if let Some(default) = &known.default {
            let _ = write!(out, " D={default}");
        }
        if let Some(name) = &known.named_type {
            let _ = write!(out, " O={name}");
        }
        let values = go.enum_values(owner, known);
        if !values.is_empty() {
            let _ = write!(out, " E={}", values.join("|"));
        }
        let listed = ALPHA_FIELDS.iter().find(|(t, f)| *t == owner && *f == field);
        let gated = known.gates.iter().find(|g| off.contains(*g));
        if let Some(gate) = gated {
            let _ = write!(out, " G={gate}");
        } else if listed.is_some() {
            out.push_str(" G=Alpha");
        }
    }
    out.push('\n');
}

/// The letters of `facts/parse.rs` for a schema.
fn field_type(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return swagger::letter(reference)
            .map_or_else(|| format!("R:{}", short(swagger::target(reference))), str::to_owned);
    }
    match schema["type"].as_str() {
        Some("array") => format!("[]{}", field_type(&schema["items"])),
        Some("object") if schema.get("additionalProperties").is_some() => {
            format!("{{}}{}", field_type(&schema["additionalProperties"]))
        }
        Some("object") => "*".to_owned(),
        Some("boolean") => "b".to_owned(),
        Some("number") => "d".to_owned(),
        Some("integer") if schema["format"] == "int32" => "i".to_owned(),
        Some("integer") => "l".to_owned(),
        Some("string") if schema["format"] == "byte" => "y".to_owned(),
        _ => "s".to_owned(),
    }
}

fn reachable(definitions: &BTreeMap<String, &Value>) -> BTreeSet<String> {
    let mut waiting: Vec<String> = definitions
        .keys()
        .filter(|n| ROOTS.contains(&n.as_str()) || swagger::is_served(n, definitions[*n]))
        .cloned()
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let Some(definition) = definitions.get(&name) else { continue };
        let mut references = Vec::new();
        swagger::references(&definition["properties"], &mut references);
        waiting.extend(references.into_iter().filter(|r| swagger::letter(r).is_none()));
    }
    seen.into_iter().filter(|n| swagger::letter(n).is_none()).collect()
}

fn short(name: &str) -> String {
    name.strip_prefix("io.k8s.api").map_or_else(
        || name.to_owned(),
        |rest| {
            if rest.starts_with('.') { rest.to_owned() } else { name.to_owned() }
        },
    )
}
