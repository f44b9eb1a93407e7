//! Schemas of types, as the components of a document.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::facts::{Base, Field, ListType, Type, Wrap, facts};
use crate::kinds::Kind;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const ANY: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

/// The types that a document mentions, each once.
#[derive(Default)]
pub(super) struct Schemas {
    done: Map<String, Value>,
    seen: BTreeSet<String>,
}

impl Schemas {
    /// A reference to a type, which becomes part of the document with all that it mentions.
    pub(super) fn reference(&mut self, name: &str) -> Value {
        match facts().find(name) {
            Some(ty) => self.reference_to(ty),
            None => json!({"type": "object"}),
        }
    }

    /// A reference to a kind's type; that of a custom kind comes from its definition.
    pub(super) fn reference_of(&mut self, kind: &Kind) -> Value {
        let Some(served) = kind.served() else { return self.reference(kind.schema) };
        if self.seen.insert(kind.schema.to_owned()) {
            let metadata = self.reference(OBJECT_META);
            let mut schema = served.version().given.clone();
            if !schema.is_object() {
                schema = json!({"type": "object"});
            }
            schema["properties"]["apiVersion"] =
                json!({"type": "string", "description": API_VERSION});
            schema["properties"]["kind"] = json!({"type": "string", "description": KIND});
            schema["properties"]["metadata"] = json!({"allOf": [metadata], "description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"});
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": kind.group, "kind": kind.kind, "version": kind.version}]);
            self.done.insert(kind.schema.to_owned(), schema);
        }
        link(kind.schema)
    }

    /// A reference to the list of a custom kind.
    pub(super) fn reference_of_list(&mut self, kind: &Kind) -> Value {
        let package = kind.schema.rsplit_once('.').map_or("", |(package, _)| package);
        let name = format!("{package}.{}", kind.list_kind);
        if self.seen.insert(name.clone()) {
            let item = self.reference_of(kind);
            let metadata = self.reference(LIST_META);
            let description = format!(
                "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
                kind.plural
            );
            let schema = json!({
                "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
                "type": "object", "required": ["items"],
                "properties": {
                    "apiVersion": {"type": "string", "description": API_VERSION},
                    "kind": {"type": "string", "description": KIND},
                    "metadata": {"allOf": [metadata], "description": "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"},
                    "items": {"type": "array", "items": item, "description": description},
                },
                "x-kubernetes-group-version-kind":
                    [{"group": kind.group, "kind": kind.list_kind, "version": kind.version}],
            });
            self.done.insert(name.clone(), schema);
        }
        link(&name)
    }

    pub(super) fn into_value(mut self) -> Value {
        self.done.sort_keys();
        Value::Object(self.done)
    }

    fn reference_to(&mut self, ty: &'static Type) -> Value {
        let name = ty.full_name();
        if self.seen.insert(name.clone()) {
            let schema = self.schema(ty);
            self.done.insert(name.clone(), schema);
        }
        link(&name)
    }

    fn schema(&mut self, ty: &'static Type) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in ty.fields.iter().filter(|f| f.gate.is_none()) {
            properties.insert(field.name.to_owned(), self.property(field));
            if field.required {
                required.push(field.name);
            }
        }
        let mut made = json!({"type": "object"});
        if !properties.is_empty() {
            made["properties"] = Value::Object(properties);
        }
        if !required.is_empty() {
            made["required"] = json!(required);
        }
        if ty.atomic {
            made["x-kubernetes-map-type"] = json!("atomic");
        }
        if !ty.gvks.is_empty() {
            let all: Vec<Value> = ty.gvks.iter().map(|gvk| group_version_kind(gvk)).collect();
            made["x-kubernetes-group-version-kind"] = Value::Array(all);
        }
        made
    }

    fn property(&mut self, field: &Field) -> Value {
        let inner = self.base(field.kind.base);
        let mut made = match field.kind.wrap {
            Wrap::Plain => inner,
            Wrap::List => json!({"type": "array", "items": inner}),
            Wrap::Map => json!({"type": "object", "additionalProperties": inner}),
            Wrap::MapOfLists => json!({
                "type": "object", "additionalProperties": {"type": "array", "items": inner},
            }),
        };
        if field.kind.wrap == Wrap::Plain && field.values.is_some() {
            made["enum"] = json!(field.enum_values().collect::<Vec<_>>());
        }
        if let Some(default) = field.default.and_then(|d| serde_json::from_str::<Value>(d).ok()) {
            made["default"] = default;
        }
        match field.list {
            Some(ListType::Atomic) => made["x-kubernetes-list-type"] = json!("atomic"),
            Some(ListType::Set) => made["x-kubernetes-list-type"] = json!("set"),
            Some(ListType::Map(keys)) => {
                made["x-kubernetes-list-type"] = json!("map");
                made["x-kubernetes-list-map-keys"] = json!(keys.split(',').collect::<Vec<_>>());
            }
            None => {}
        }
        if let Some(map) = field.map {
            made["x-kubernetes-map-type"] = json!(map);
        }
        let strategies: Vec<&str> =
            [(field.patch.merge, "merge"), (field.patch.retain_keys, "retainKeys")]
                .into_iter()
                .filter_map(|(on, name)| on.then_some(name))
                .collect();
        if !strategies.is_empty() {
            made["x-kubernetes-patch-strategy"] = json!(strategies.join(","));
        }
        if let Some(key) = field.patch.merge_key {
            made["x-kubernetes-patch-merge-key"] = json!(key);
        }
        made
    }

    fn base(&mut self, base: Base) -> Value {
        match base {
            Base::String => json!({"type": "string"}),
            Base::Int32 => json!({"type": "integer", "format": "int32"}),
            Base::Int64 => json!({"type": "integer", "format": "int64"}),
            Base::Bool => json!({"type": "boolean"}),
            Base::Double => json!({"type": "number", "format": "double"}),
            Base::Bytes => json!({"type": "string", "format": "byte"}),
            Base::Quantity => self.well_known(
                QUANTITY,
                json!({"oneOf": [
                {"type": "string"}, {"type": "number"}]}),
            ),
            Base::IntOrString => self.well_known(
                INT_OR_STRING,
                json!({
                "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            Base::Time => self.well_known(TIME, json!({"type": "string", "format": "date-time"})),
            Base::MicroTime => {
                self.well_known(MICRO_TIME, json!({"type": "string", "format": "date-time"}))
            }
            Base::Any => self.well_known(
                ANY,
                json!({
                "x-kubernetes-preserve-unknown-fields": true}),
            ),
            Base::Struct(at) => self.reference_to(facts().at(at)),
        }
    }

    fn well_known(&mut self, name: &str, schema: Value) -> Value {
        if self.seen.insert(name.to_owned()) {
            self.done.insert(name.to_owned(), schema);
        }
        link(name)
    }
}

fn link(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn group_version_kind(text: &str) -> Value {
    let mut parts = text.split('/');
    let mut next = || parts.next().unwrap_or_default();
    let (group, version, kind) = (next(), next(), next());
    json!({"group": group, "kind": kind, "version": version})
}
