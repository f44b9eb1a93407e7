//! Rules of metadata that hold for every kind.
// upstream: Kubernetes apimachinery, api/validation

use serde_json::Value;

use super::{Errors, names};
use crate::kinds::{Kind, NameRule, Scope};

const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Checks the metadata of a new object.
pub fn create(kind: &Kind, object: &Value, errors: &mut Errors) {
    let metadata = &object["metadata"];
    let name_rule = |name: &str, prefix: bool| name_errors(kind, name, prefix);
    if let Some(base) = text(metadata, "generateName") {
        errors.all_invalid("metadata.generateName", base, name_rule(base, true));
    }
    match text(metadata, "name") {
        None => errors.required("metadata.name", "name or generateName is required"),
        Some(name) => errors.all_invalid("metadata.name", name, name_rule(name, false)),
    }
    common(kind, metadata, errors);
}

/// Checks the metadata of a changed object.
pub fn update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (&new["metadata"], &old["metadata"]);
    if new["generation"].as_i64().unwrap_or(0) < old["generation"].as_i64().unwrap_or(0) {
        let generation = new["generation"].clone();
        errors.invalid("metadata.generation", generation, "must not be decremented");
    }
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let same = text(new, field) == text(old, field);
        if !same {
            errors.immutable(format!("metadata.{field}"), &new[field]);
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if new[field] != old[field] && !new[field].is_null() {
            errors.immutable(format!("metadata.{field}"), &new[field]);
        }
    }
    common(kind, new, errors);
}

fn common(kind: &Kind, metadata: &Value, errors: &mut Errors) {
    let namespace = text(metadata, "namespace");
    match (kind.scope, namespace) {
        (Scope::Namespaced, None) => errors.required("metadata.namespace", ""),
        (Scope::Namespaced, Some(name)) => {
            errors.all_invalid("metadata.namespace", name, names::label(name));
        }
        (Scope::Cluster, Some(_)) => {
            errors.forbidden("metadata.namespace", "not allowed on this type");
        }
        (Scope::Cluster, None) => {}
    }
    labels(&metadata["labels"], "metadata.labels", errors);
    annotations(&metadata["annotations"], "metadata.annotations", errors);
    owners(&metadata["ownerReferences"], errors);
    finalizers(kind, &metadata["finalizers"], errors);
}

fn name_errors(kind: &Kind, name: &str, prefix: bool) -> Vec<String> {
    // A prefix may end in a dash: what is generated replaces it.
    let masked;
    let checked = if prefix && kind.name_rule != NameRule::PathSegment && name.ends_with('-') {
        masked = format!("{}a", &name[..name.len() - 1]);
        if name.len() > 1 { masked.as_str() } else { name }
    } else {
        name
    };
    match kind.name_rule {
        NameRule::Subdomain => names::subdomain(checked),
        NameRule::Label => names::label(checked),
        NameRule::PathSegment => names::path_segment(checked),
    }
}

/// Checks a map of labels.
pub fn labels(map: &Value, path: &str, errors: &mut Errors) {
    for (key, value) in map.as_object().into_iter().flatten() {
        errors.all_invalid(path, key, names::qualified(key));
        let value = value.as_str().unwrap_or_default();
        errors.all_invalid(path, value, names::label_value(value));
    }
}

/// Checks a map of annotations.
pub fn annotations(map: &Value, path: &str, errors: &mut Errors) {
    let mut total = 0;
    for (key, value) in map.as_object().into_iter().flatten() {
        errors.all_invalid(path, key, names::qualified(&key.to_lowercase()));
        total += key.len() + value.as_str().unwrap_or_default().len();
    }
    if total > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(list: &Value, errors: &mut Errors) {
    let path = "metadata.ownerReferences";
    let mut controller: Option<String> = None;
    for owner in list.as_array().into_iter().flatten() {
        let api_version = text(owner, "apiVersion").unwrap_or_default();
        if api_version.is_empty() || api_version.ends_with('/') {
            errors.invalid(format!("{path}.apiVersion"), api_version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if text(owner, field).is_none() {
                errors.invalid(format!("{path}.{field}"), "", "must not be empty");
            }
        }
        let is_event = owner["kind"] == "Event"
            && matches!(api_version, "v1" | "events.k8s.io/v1" | "events.k8s.io/v1beta1");
        if is_event {
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            let why = format!("{group}/{version}, Kind=Event is disallowed from being an owner");
            errors.invalid(path, owner.clone(), &why);
        }
        if owner["controller"] == true {
            let name = format!(
                "{}/{}",
                text(owner, "kind").unwrap_or_default(),
                text(owner, "name").unwrap_or_default()
            );
            match &controller {
                None => controller = Some(name),
                Some(first) => errors.invalid(
                    path,
                    list.clone(),
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in \
                         references for {first} and {name}"
                    ),
                ),
            }
        }
    }
}

fn finalizers(kind: &Kind, list: &Value, errors: &mut Errors) {
    let path = "metadata.finalizers";
    let names: Vec<&str> =
        list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for name in &names {
        errors.all_invalid(path, name, names::qualified(name));
        let known = matches!(*name, "orphan" | "foregroundDeletion" | "kubernetes");
        // Others may call theirs as they like; they are warned.
        if !known && !name.contains('/') && kind.custom.is_none() {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(path, *name, why);
        }
    }
    if names.contains(&"orphan") && names.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(path, list.clone(), why);
    }
}

fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object[field].as_str().filter(|t| !t.is_empty())
}
