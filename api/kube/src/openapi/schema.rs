//! Schemas of types, as the components of a document.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::facts::{Base, Field, ListType, Type, Wrap, facts};

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
