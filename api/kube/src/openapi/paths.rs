//! Paths and operations of a kind.

use serde_json::{Map, Value, json};

use super::schema::Schemas;
use crate::kinds::{Kind, Scope};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Adds the collection, the objects and those subresources that are views on the object.
pub(super) fn of_kind(kind: &Kind, paths: &mut Map<String, Value>, schemas: &mut Schemas) {
    let root = match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let collection = match kind.scope {
        Scope::Namespaced => format!("{root}/namespaces/{{namespace}}/{}", kind.plural),
        Scope::Cluster => format!("{root}/{}", kind.plural),
    };
    let mut of = Operations { kind, schemas };
    if kind.scope == Scope::Namespaced && kind.serves("list") {
        let everywhere = format!("{root}/{}", kind.plural);
        paths.insert(everywhere, json!({"get": of.operation("list", "ForAllNamespaces")}));
    }
    let scoped = if kind.scope == Scope::Namespaced { "Namespaced" } else { "" };
    let mut entry =
        of.entry(scoped, &[("get", "list"), ("post", "create"), ("delete", "deletecollection")]);
    if !entry.is_empty() {
        entry.insert("parameters".to_owned(), path_parameters(kind, false));
        paths.insert(collection.clone(), Value::Object(entry));
    }
    let one = [("get", "get"), ("put", "update"), ("patch", "patch"), ("delete", "delete")];
    let mut entry = of.entry(scoped, &one);
    if !entry.is_empty() {
        entry.insert("parameters".to_owned(), path_parameters(kind, true));
        paths.insert(format!("{collection}/{{name}}"), Value::Object(entry.clone()));
    }
    for sub in kind.subresources.iter().filter(|s| s.kind == kind.kind && s.version.is_empty()) {
        let mut entry = entry.clone();
        entry.shift_remove("delete");
        for operation in entry.values_mut().filter_map(Value::as_object_mut) {
            if let Some(Value::String(id)) = operation.get_mut("operationId") {
                id.push_str(&capitalized(sub.name));
            }
        }
        paths.insert(format!("{collection}/{{name}}/{}", sub.name), Value::Object(entry));
    }
}

struct Operations<'a> {
    kind: &'a Kind,
    schemas: &'a mut Schemas,
}

impl Operations<'_> {
    fn entry(&mut self, scoped: &str, wanted: &[(&str, &str)]) -> Map<String, Value> {
        let mut entry = Map::new();
        for (method, verb) in wanted.iter().filter(|(_, verb)| self.kind.serves(verb)) {
            entry.insert((*method).to_owned(), self.operation(verb, scoped));
        }
        entry
    }

    fn operation(&mut self, verb: &str, scoped: &str) -> Value {
        let kind = self.kind;
        let action = match verb {
            "create" => "post",
            "update" => "put",
            other => other,
        };
        let word = match verb {
            "get" => "read",
            "update" => "replace",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        let group = match kind.group.split('.').next() {
            None | Some("") => "core".to_owned(),
            Some(group) => group.to_owned(),
        };
        let version = capitalized(kind.version);
        let tail = if scoped == "ForAllNamespaces" { scoped } else { "" };
        let scope = if scoped == "Namespaced" { scoped } else { "" };
        let id = format!("{word}{}{version}{scope}{}{tail}", capitalized(&group), kind.kind);
        let answer = match verb {
            "list" if kind.custom.is_some() => None,
            "get" | "create" | "update" | "patch" if kind.custom.is_some() => None,
            "list" => kind
                .schema
                .rsplit_once('.')
                .map(|(package, _)| format!("{package}.{}", kind.list_kind)),
            "delete" | "deletecollection" => Some(format!("{META}.Status")),
            _ => Some(kind.schema.to_owned()),
        };
        let answer = match (answer, verb) {
            (Some(name), _) => self.schemas.reference(&name),
            (None, "list") => self.schemas.reference_of_list(kind),
            (None, _) => self.schemas.reference_of(kind),
        };
        let mut made = json!({
            "tags": [format!("{group}_{}", kind.version)],
            "operationId": id,
            "parameters": parameters(verb),
            "responses": {"200": {"description": "OK", "content": {
                "application/json": {"schema": answer.clone()},
                "application/yaml": {"schema": answer},
            }}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {
                "group": kind.group, "version": kind.version, "kind": kind.kind,
            },
        });
        if let Some(body) = self.body(verb) {
            made["requestBody"] = body;
        }
        made
    }

    fn body(&mut self, verb: &str) -> Option<Value> {
        let (types, schema): (&[&str], Value) = match verb {
            "create" | "update" => {
                (&["application/json", "application/yaml"], self.schemas.reference_of(self.kind))
            }
            "patch" => {
                let types = PATCH_TYPES.iter().copied();
                let strategic = |t: &&str| t.contains("strategic");
                let custom = self.kind.custom.is_some();
                let types: Vec<&str> = types.filter(|t| !(custom && strategic(t))).collect();
                return Some(content(&types, &json!({"type": "object"}), true));
            }
            "delete" | "deletecollection" => {
                let options = self.schemas.reference(&format!("{META}.DeleteOptions"));
                (&["application/json"], options)
            }
            _ => return None,
        };
        Some(content(types, &schema, !verb.starts_with("delete")))
    }
}

fn content(types: &[&str], schema: &Value, required: bool) -> Value {
    let content: Map<String, Value> =
        types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect();
    json!({"content": content, "required": required})
}

fn path_parameters(kind: &Kind, named: bool) -> Value {
    let path = |name: &str| {
        json!({"name": name, "in": "path", "required": true,
            "schema": {"type": "string", "uniqueItems": true}})
    };
    let mut all = Vec::new();
    if named {
        all.push(path("name"));
    }
    if kind.scope == Scope::Namespaced {
        all.push(path("namespace"));
    }
    all.push(query("pretty", "string"));
    Value::Array(all)
}

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn parameters(verb: &str) -> Value {
    const LIST: &[(&str, &str)] = &[
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    const WRITE: &[(&str, &str)] =
        &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
    const DELETE: &[(&str, &str)] = &[
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ];
    let mut all: Vec<(&str, &str)> = match verb {
        "list" => LIST.to_vec(),
        "create" | "update" => WRITE.to_vec(),
        "patch" => WRITE.iter().copied().chain([("force", "boolean")]).collect(),
        "delete" => DELETE.to_vec(),
        "deletecollection" => DELETE.iter().chain(LIST).copied().collect(),
        _ => Vec::new(),
    };
    all.sort_unstable();
    all.into_iter().map(|(name, kind)| query(name, kind)).collect()
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}
