//! The rules of definitions themselves, and what the server writes in them.
// upstream: apiextensions-apiserver, pkg/apis/apiextensions/validation and v1/defaults.go

use serde_json::{Value, json};

use super::schema::Schema;
use super::{CLEANUP, accept, check, definition, prune, rules, structural};
use crate::validation::{Errors, names};
use crate::verbs::guarded::now;

const MAX_SELECTABLE: usize = 8;
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] =
    &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// What may stand at the root of a schema when the status has its own path.
const ROOT_FIELDS: &[&str] = &[
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
const ROOT_NAMES: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";

/// Fills in names that follow from others, and the conversion.
pub(crate) fn default_definition(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|s| s.is_object()) else { return };
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service")
        && service.is_object()
        && service["port"].is_null()
    {
        service["port"] = json!(443);
    }
    let Some(names) = spec.get_mut("names").filter(|n| n.is_object()) else { return };
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        if names[field].as_str().unwrap_or_default().is_empty() && !kind.is_empty() {
            names[field] = json!(value);
        }
    }
}

/// A new definition knows in which version its objects will be stored.
pub(crate) fn new_definition(object: &mut Value) {
    let stored: Vec<Value> = storage_version(object).into_iter().collect();
    object["status"]["storedVersions"] = Value::Array(stored);
}

/// A new storage version is noted.
pub(crate) fn updated_definition(new: &mut Value, _old: &Value, subresource: &str) {
    if !subresource.is_empty() {
        return;
    }
    let Some(version) = storage_version(new) else { return };
    match new["status"]["storedVersions"].as_array_mut() {
        Some(list) if list.contains(&version) => {}
        Some(list) => list.push(version),
        None => new["status"]["storedVersions"] = json!([version]),
    }
}

/// A definition stays until its objects are gone.
pub(crate) fn hold_deletion(object: &mut Value) {
    let finalizers = &mut object["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(list) if list.iter().any(|f| f == CLEANUP) => {}
        Some(list) => list.push(json!(CLEANUP)),
        None => *finalizers = json!([CLEANUP]),
    }
    let message =
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    accept::set(object, "Terminating", "True", "InstanceDeletionPending", message, &now());
}

fn storage_version(object: &Value) -> Option<Value> {
    let mut versions = object["spec"]["versions"].as_array().into_iter().flatten();
    versions.find(|v| v["storage"] == true).map(|v| v["name"].clone())
}

/// What is wrong with a definition.
pub(crate) fn check(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let wanted = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
    let name = text(&object["metadata"], "name");
    if name != wanted {
        errors.invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
    }
    check_spec(spec, errors);
}

/// What is wrong with a change of a definition.
pub(crate) fn check_update(new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let fixed = |path: &[&str], errors: &mut Errors| {
        let at =
            |object: &Value| path.iter().fold(&object["spec"], |value, name| &value[*name]).clone();
        if at(new) != at(old) {
            errors.immutable(format!("spec.{}", path.join(".")), &at(new));
        }
    };
    if definition::condition(old, "Established") {
        fixed(&["scope"], errors);
        fixed(&["names", "kind"], errors);
    }
    fixed(&["group"], errors);
    fixed(&["names", "plural"], errors);
    check_stored(new, errors);
    if accept::approval(new).map(|a| a.1) != accept::approval(old).map(|a| a.1) {
        check_approval(new, errors);
    }
}

/// The rules that hold for a new definition only.
pub(crate) fn check_new(object: &Value, errors: &mut Errors) {
    check_stored(object, errors);
    check_approval(object, errors);
}

fn check_approval(object: &Value, errors: &mut Errors) {
    let path = format!("metadata.annotations[{}]", accept::APPROVED);
    match accept::approval(object) {
        Some((_, "MissingAnnotation", why)) => errors.required(path, &why),
        Some((_, "InvalidAnnotation", why)) => {
            errors.invalid(path, text(&object["metadata"]["annotations"], accept::APPROVED), &why);
        }
        _ => {}
    }
}

fn check_stored(object: &Value, errors: &mut Errors) {
    let path = "status.storedVersions";
    let stored = &object["status"]["storedVersions"];
    let list: Vec<&str> =
        stored.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if list.is_empty() {
        errors.invalid(path, json!([]), "must have at least one stored version");
        return;
    }
    let versions = || object["spec"]["versions"].as_array().into_iter().flatten();
    for version in versions().filter(|v| v["storage"] == true) {
        let name = text(version, "name");
        if !list.contains(&name) {
            let why = format!("must have the storage version {name}");
            errors.invalid(path, stored.clone(), &why);
        }
    }
    for (at, name) in list.iter().enumerate() {
        if !versions().any(|v| v["name"] == *name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.invalid(format!("{path}[{at}]"), *name, &why);
        }
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn check_spec(spec: &Value, errors: &mut Errors) {
    let group = text(spec, "group");
    let wrong = names::subdomain(group);
    if group.is_empty() {
        errors.required("spec.group", "");
    } else if !wrong.is_empty() {
        errors.invalid("spec.group", group, &wrong.join(","));
    } else if !group.contains('.') {
        errors.invalid("spec.group", group, "should be a domain with at least one dot");
    }
    match text(spec, "scope") {
        "" => errors.required("spec.scope", ""),
        "Cluster" | "Namespaced" => {}
        other => errors.not_supported("spec.scope", other, &["Cluster", "Namespaced"]),
    }
    let versions: Vec<&Value> = spec["versions"].as_array().into_iter().flatten().collect();
    for (at, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            errors.required(format!("spec.versions[{at}].schema.openAPIV3Schema"), "");
        }
    }
    // What all versions have in common is spoken of as one thing.
    let shared = |name: &str| {
        versions.first().is_some_and(|first| {
            !first[name].is_null() && versions.iter().all(|v| v[name] == first[name])
        })
    };
    let (schema, subresources) = (shared("schema"), shared("subresources"));
    let (columns, selectable) = (shared("additionalPrinterColumns"), shared("selectableFields"));
    let mut seen = Vec::new();
    let mut unique = true;
    for (at, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{at}]");
        let name = text(version, "name");
        unique &= !seen.contains(&name);
        seen.push(name);
        let wrong = names::label_1035(name);
        if !wrong.is_empty() {
            errors.invalid(format!("{path}.name"), name, &wrong.join(","));
        }
        check_warning(version, &path, errors);
        let has_status = version["subresources"]["status"].is_object();
        if !schema {
            check_schema(
                &version["schema"]["openAPIV3Schema"],
                has_status,
                &format!("{path}.schema"),
                errors,
            );
        }
        if !subresources {
            check_subresources(&version["subresources"], &format!("{path}.subresources"), errors);
        }
        if !columns {
            check_columns(version, &path, errors);
        }
        if !selectable {
            check_selectable(version, &path, errors);
        }
    }
    if !unique {
        errors.invalid(
            "spec.versions",
            spec["versions"].clone(),
            "must contain unique version names",
        );
    }
    if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.invalid("spec.versions", spec["versions"].clone(), why);
    }
    check_names(&spec["names"], errors);
    if let Some(first) = versions.first() {
        if schema {
            let has_status = versions.iter().any(|v| v["subresources"]["status"].is_object());
            check_schema(
                &first["schema"]["openAPIV3Schema"],
                has_status,
                "spec.validation",
                errors,
            );
        }
        if subresources {
            check_subresources(&first["subresources"], "spec.subresources", errors);
        }
        if columns {
            check_columns(first, "spec", errors);
        }
        if selectable {
            check_selectable(first, "spec", errors);
        }
    }
    check_conversion(&spec["conversion"], errors);
    if spec["preserveUnknownFields"] == true {
        errors.invalid(
            "spec.preserveUnknownFields",
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
}

fn check_warning(version: &Value, path: &str, errors: &mut Errors) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let path = format!("{path}.deprecationWarning");
    if version["deprecated"] != true {
        errors.invalid(path, warning, "can only be set for deprecated versions");
        return;
    }
    if warning.len() > 256 {
        errors.invalid(path.clone(), warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(path.clone(), warning, "must not be an empty string");
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let why = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        );
        errors.invalid(path, warning, &why);
    }
}

fn check_names(given: &Value, errors: &mut Errors) {
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(given, field).is_empty() {
            errors.required(format!("spec.names.{field}"), "");
        }
    }
    for field in ["plural", "singular"] {
        let name = text(given, field);
        let wrong = names::label_1035(name);
        if !name.is_empty() && !wrong.is_empty() {
            errors.invalid(format!("spec.names.{field}"), name, &wrong.join(","));
        }
    }
    for field in ["kind", "listKind"] {
        let name = text(given, field);
        let wrong = names::label_1035(&name.to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let why =
                format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.invalid(format!("spec.names.{field}"), name, &why);
        }
    }
    let list = |field: &str, errors: &mut Errors| {
        for (at, name) in given[field].as_array().into_iter().flatten().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let wrong = names::label_1035(name);
            if !wrong.is_empty() {
                errors.invalid(format!("spec.names.{field}[{at}]"), name, &wrong.join(","));
            }
        }
    };
    list("shortNames", errors);
    let kind = text(given, "kind");
    if !kind.is_empty() && kind == text(given, "listKind") {
        errors.invalid("spec.names.listKind", kind, "kind and listKind may not be the same");
    }
    list("categories", errors);
}

fn check_subresources(given: &Value, path: &str, errors: &mut Errors) {
    let scale = &given["scale"];
    if !scale.is_object() {
        return;
    }
    for (field, root, required) in [
        ("specReplicasPath", ".spec.", true),
        ("statusReplicasPath", ".status.", true),
        ("labelSelectorPath", "", false),
    ] {
        let at = format!("{path}.scale.{field}");
        match text(scale, field) {
            "" if required => errors.required(at, ""),
            "" => {}
            value if !value.starts_with('.') => {
                errors.invalid(at, value, "must be a simple json path starting with .");
            }
            value
                if root.is_empty()
                    && !value.starts_with(".spec.")
                    && !value.starts_with(".status.") =>
            {
                errors.invalid(at, value, "should be a json path under either .spec or .status");
            }
            value if !value.starts_with(root) => {
                let why = format!("should be a json path under {}", root.trim_end_matches('.'));
                errors.invalid(at, value, &why);
            }
            _ => {}
        }
    }
}

fn check_columns(version: &Value, path: &str, errors: &mut Errors) {
    let list = version["additionalPrinterColumns"].as_array().into_iter().flatten();
    for (at, column) in list.enumerate() {
        let path = format!("{path}.additionalPrinterColumns[{at}]");
        if text(column, "name").is_empty() {
            errors.required(format!("{path}.name"), "");
        }
        let why = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text(column, "type") {
            "" => errors.required(format!("{path}.type"), &why),
            known if COLUMN_TYPES.contains(&known) => {}
            other => errors.invalid(format!("{path}.type"), other, &why),
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.invalid(format!("{path}.format"), format, &why);
        }
        match text(column, "jsonPath") {
            "" => errors.required(format!("{path}.JSONPath"), ""),
            value if !value.starts_with('.') => {
                let why = "must be a simple json path starting with .";
                errors.invalid(format!("{path}.JSONPath"), value, why);
            }
            _ => {}
        }
    }
}

fn check_selectable(version: &Value, path: &str, errors: &mut Errors) {
    let list = version["selectableFields"].as_array().into_iter().flatten();
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut seen: Vec<&str> = Vec::new();
    for (at, field) in list.enumerate() {
        let at = format!("{path}.selectableFields[{at}].jsonPath");
        let given = text(field, "jsonPath");
        if given.is_empty() {
            errors.required(at, "");
            continue;
        }
        let found = given.strip_prefix('.').and_then(|rest| {
            rest.split('.').try_fold(schema, |below, name| below["properties"].get(name))
        });
        let Some(found) = found else {
            errors.invalid(at, given, "is an invalid path: does not refer to a valid field");
            continue;
        };
        if given.starts_with(".metadata") {
            errors.invalid(at.clone(), given, "must not point to fields in metadata");
        }
        if !matches!(text(found, "type"), "string" | "boolean" | "integer") {
            errors.invalid(at.clone(), given, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.");
        }
        if seen.contains(&given) {
            errors.duplicate(at, given);
        } else {
            seen.push(given);
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.too_many(format!("{path}.selectableFields"), seen.len(), MAX_SELECTABLE);
    }
}

fn check_conversion(given: &Value, errors: &mut Errors) {
    let (path, webhook) = ("spec.conversion", &given["webhook"]);
    let config = &webhook["clientConfig"];
    let reviews: Vec<&str> = webhook["conversionReviewVersions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match text(given, "strategy") {
        "" if given.is_null() => return,
        "" => errors.required(format!("{path}.strategy"), ""),
        "None" | "Webhook" => {}
        other => errors.not_supported(format!("{path}.strategy"), other, &["None", "Webhook"]),
    }
    if text(given, "strategy") != "Webhook" {
        if config.is_object() {
            errors.forbidden(
                format!("{path}.webhookClientConfig"),
                "should not be set when strategy is not set to Webhook",
            );
        }
        if !reviews.is_empty() {
            errors.forbidden(
                format!("{path}.conversionReviewVersions"),
                "should not be set when strategy is not set to Webhook",
            );
        }
        return;
    }
    if !config.is_object() {
        errors.required(
            format!("{path}.webhookClientConfig"),
            "required when strategy is set to Webhook",
        );
    } else if config["url"].is_string() == config["service"].is_object() {
        errors.required(
            format!("{path}.webhookClientConfig"),
            "exactly one of url or service is required",
        );
    }
    if reviews.is_empty() {
        errors.required(format!("{path}.conversionReviewVersions"), "");
    } else if !reviews.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
        errors.invalid(
            format!("{path}.conversionReviewVersions"),
            json!(reviews),
            "must include at least one of v1, v1beta1",
        );
    }
}

fn check_schema(schema: &Value, has_status: bool, path: &str, errors: &mut Errors) {
    let Some(fields) = schema.as_object() else { return };
    let path = format!("{path}.openAPIV3Schema");
    if has_status {
        let kind = text(schema, "type");
        if !kind.is_empty() && kind != "object" {
            errors.invalid(format!("{path}.type"), kind, "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled");
        } else if fields
            .iter()
            .any(|(name, v)| !v.is_null() && !ROOT_FIELDS.contains(&name.as_str()))
        {
            let why = format!(
                "only {ROOT_NAMES} fields are allowed at the root of the schema if the status subresource is enabled"
            );
            errors.invalid(path.clone(), schema.clone(), &why);
        }
    }
    if schema["nullable"] == true {
        errors.forbidden(format!("{path}.nullable"), "nullable cannot be true at the root");
    }
    let wrong = structural::check(schema, &path);
    let is_structural = wrong.is_empty();
    errors.extend(wrong);
    if is_structural {
        rules::check_definition(&Schema::of(schema), &path, errors);
        check_defaults(schema, &path, true, errors);
    }
    check_node(schema, &path, Inside { root: true, metadata: false, no_defaults: None }, errors);
}

/// Defaults are valid values of what they stand for.
fn check_defaults(schema: &Value, path: &str, root: bool, errors: &mut Errors) {
    if let Some(default) = schema.get("default").filter(|d| !d.is_null() && !root) {
        let read = Schema::of(schema);
        let at = format!("{path}.default");
        let mut pruned = default.clone();
        if !prune::prune_part(&mut pruned, &read).is_empty() {
            errors.invalid(at.clone(), default.clone(), "must not have unknown fields");
        }
        check::check(&read, default, None, &at, errors);
    }
    if let Some(items) = schema.get("items").filter(|i| i.is_object()) {
        check_defaults(items, &format!("{path}.items"), false, errors);
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        check_defaults(below, &format!("{path}.properties[{name}]"), false, errors);
    }
    if let Some(below) = schema.get("additionalProperties").filter(|a| a.is_object()) {
        check_defaults(below, &format!("{path}.additionalProperties"), false, errors);
    }
}

#[derive(Clone, Copy)]
struct Inside {
    root: bool,
    metadata: bool,
    /// Why no default may be here.
    no_defaults: Option<&'static str>,
}

fn check_node(schema: &Value, path: &str, inside: Inside, errors: &mut Errors) {
    let kind = text(schema, "type");
    let given = |name: &str| schema.get(name).is_some_and(|v| !v.is_null());
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(format!("{path}.type"), kind, TYPES);
    }
    if let Some(why) = inside.no_defaults.filter(|_| given("default")) {
        errors.forbidden(format!("{path}.default"), &format!("must not be set {why}"));
    }
    for name in
        ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"]
    {
        if given(name) {
            errors.forbidden(format!("{path}.{name}"), &format!("{name} is not supported"));
        }
    }
    if kind == "null" {
        errors.forbidden(
            format!("{path}.type"),
            "type cannot be set to null, use nullable as an alternative",
        );
    }
    if schema["items"].is_array() {
        errors.forbidden(format!("{path}.items"), "items must be a schema object and not an array");
    }
    if inside.metadata && schema["x-kubernetes-embedded-resource"] == true {
        errors.forbidden(
            format!("{path}.x-kubernetes-embedded-resource"),
            "must not be used inside of resource meta",
        );
    }
    if schema["uniqueItems"] == true {
        errors.forbidden(
            format!("{path}.uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    let below = Inside { root: false, ..inside };
    let fields = schema["properties"].as_object();
    if given("additionalProperties") {
        let additional = &schema["additionalProperties"];
        if fields.is_some_and(|f| !f.is_empty()) && *additional != true {
            errors.forbidden(
                format!("{path}.additionalProperties"),
                "additionalProperties and properties are mutual exclusive",
            );
        }
        if additional.is_object() {
            let why = "inside additionalProperties applying to object metadata";
            let no_defaults = if inside.metadata { Some(why) } else { inside.no_defaults };
            check_node(
                additional,
                &format!("{path}.additionalProperties"),
                Inside { no_defaults, ..below },
                errors,
            );
        }
    }
    for (name, field) in fields.into_iter().flatten() {
        let own = match name.as_str() {
            "metadata" => Some("in top-level metadata"),
            "kind" => Some("in top-level kind"),
            "apiVersion" => Some("in top-level apiVersion"),
            _ => None,
        };
        let is_object = inside.root || schema["x-kubernetes-embedded-resource"] == true;
        let metadata = inside.metadata || is_object && own.is_some();
        let no_defaults = own.filter(|_| inside.root).or(inside.no_defaults);
        let place = Inside { root: false, metadata, no_defaults };
        check_node(field, &format!("{path}.properties[{name}]"), place, errors);
    }
    if schema["not"].is_object() {
        check_node(&schema["not"], &format!("{path}.not"), below, errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (at, one) in schema[name].as_array().into_iter().flatten().enumerate() {
            check_node(one, &format!("{path}.{name}[{at}]"), below, errors);
        }
    }
    if schema["items"].is_object() {
        check_node(&schema["items"], &format!("{path}.items"), below, errors);
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        errors.invalid(
            format!("{path}.x-kubernetes-preserve-unknown-fields"),
            false,
            "must be true or undefined",
        );
    }
    check_topology(schema, path, errors);
}

fn check_topology(schema: &Value, path: &str, errors: &mut Errors) {
    let kind = text(schema, "type");
    let wants = |what: &str, name: &str, errors: &mut Errors| {
        let why = format!("must be {what} if {name} is specified");
        match kind {
            "" => errors.required(format!("{path}.type"), &why),
            kind => errors.invalid(format!("{path}.type"), kind, &why),
        }
    };
    let map = schema["x-kubernetes-map-type"].as_str();
    if map.is_some() && kind != "object" {
        wants("object", "x-kubernetes-map-type", errors);
    }
    if let Some(map) = map.filter(|m| !matches!(*m, "atomic" | "granular")) {
        errors.not_supported(format!("{path}.x-kubernetes-map-type"), map, &["atomic", "granular"]);
    }
    let list = schema["x-kubernetes-list-type"].as_str();
    let items = &schema["items"];
    if list.is_some() && kind != "array" {
        wants("array", "x-kubernetes-list-type", errors);
    } else if list == Some("set") {
        let of_items = |name: &str| items[name].as_str().unwrap_or("atomic-by-default");
        let wrong = match text(items, "type") {
            "array"
                if !matches!(
                    of_items("x-kubernetes-list-type"),
                    "atomic" | "atomic-by-default"
                ) =>
            {
                Some("list")
            }
            "object" if of_items("x-kubernetes-map-type") != "atomic" => Some("map"),
            _ => None,
        };
        if let Some(which) = wrong {
            let at = format!("{path}.items.x-kubernetes-{which}-type");
            errors.invalid(
                at,
                items["x-kubernetes-list-type"].clone(),
                "must be atomic as item of a list with x-kubernetes-list-type=set",
            );
        }
    }
    if let Some(list) = list.filter(|l| !matches!(*l, "atomic" | "set" | "map")) {
        errors.not_supported(
            format!("{path}.x-kubernetes-list-type"),
            list,
            &["atomic", "set", "map"],
        );
    }
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let at_keys = format!("{path}.x-kubernetes-list-map-keys");
    if !keys.is_empty() {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list {
            None => errors.required(format!("{path}.x-kubernetes-list-type"), why),
            Some("map") => {}
            Some(list) => errors.invalid(format!("{path}.x-kubernetes-list-type"), list, why),
        }
    }
    if list == Some("map") {
        if keys.is_empty() {
            errors.required(at_keys.clone(), "must not be empty if x-kubernetes-list-type is map");
        }
        if items.is_null() {
            errors.required(
                format!("{path}.items"),
                "must have a schema if x-kubernetes-list-type is map",
            );
        } else if text(items, "type") != "object" {
            errors.invalid(
                format!("{path}.items.type"),
                text(items, "type"),
                "must be object if parent array's x-kubernetes-list-type is map",
            );
        } else {
            for (at, key) in keys.iter().enumerate() {
                match items["properties"].get(*key) {
                    None => errors.invalid(
                        at_keys.clone(),
                        json!(keys),
                        "entries must all be names of item properties",
                    ),
                    Some(field) if matches!(text(field, "type"), "array" | "object") => {
                        errors.invalid(
                            format!("{path}.items.properties[{key}].type"),
                            text(items, "type"),
                            "must be a scalar type if parent array's x-kubernetes-list-type is map",
                        );
                    }
                    Some(_) => {}
                }
                if keys[..at].contains(key) {
                    errors.invalid(
                        at_keys.clone(),
                        json!(keys),
                        "must not contain duplicate entries",
                    );
                }
            }
        }
    }
    if !matches!(list, Some("set" | "map")) || !items.is_object() {
        return;
    }
    if items["nullable"] == true {
        let why = format!(
            "cannot be nullable when x-kubernetes-list-type is {}",
            list.unwrap_or_default()
        );
        errors.forbidden(format!("{path}.items.nullable"), &why);
    }
    let required = |key: &str| {
        items["required"].as_array().is_some_and(|all| all.iter().any(|name| name == key))
    };
    for key in keys.iter().filter(|_| list == Some("map")) {
        let Some(field) = items["properties"].get(*key) else { continue };
        let at = format!("{path}.items.properties[{key}]");
        if !required(key) && field.get("default").is_none_or(Value::is_null) {
            errors.required(format!("{at}.default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property");
        }
        if field["nullable"] == true {
            errors.forbidden(
                format!("{at}.nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(schema: Value) -> Value {
        json!({"metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com",
            "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}]}})
    }

    fn texts(mut object: Value) -> Vec<String> {
        default_definition(&mut object);
        new_definition(&mut object);
        let mut errors = Errors::default();
        check(&object, &mut errors);
        check_new(&object, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_definition_is_valid() {
        assert_eq!(texts(definition(json!({"type": "object"}))), Vec::<String>::new());
    }

    #[test]
    fn texts_are_those_of_the_api_server() {
        let mut wrong = definition(json!({"type": "object", "properties": {"spec": {}}}));
        wrong["metadata"]["name"] = json!("x");
        wrong["spec"]["scope"] = json!("Galaxy");
        assert_eq!(
            texts(wrong),
            [
                "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
                "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
                "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
            ]
        );
        let list = json!({"type": "object", "properties": {"l": {"type": "array",
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
            "d": {"type": "integer", "default": "x"}}});
        assert_eq!(
            texts(definition(list)),
            [
                "spec.validation.openAPIV3Schema.properties[d].default: Invalid value: \"string\": spec.validation.openAPIV3Schema.properties[d].default in body must be of type integer: \"string\"",
                "spec.validation.openAPIV3Schema.properties[l].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ]
        );
    }
}
