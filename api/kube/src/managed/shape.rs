//! How the fields of a value are owned: each by itself, or the value as a whole.

use serde_json::{Map, Value};

use super::set::Part;
use crate::custom::{Additional, ListType as CustomList, Schema};
use crate::facts::{Base, Field, ListType, Type, Wrap, facts};

/// How a value is owned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'s> {
    /// As a whole: a scalar, or what the schema calls atomic.
    Whole,
    /// By field.
    Struct(&'static Type),
    /// By key.
    Map(Base),
    /// By item; items are told apart by their keys.
    Keyed(&'static str, Base),
    /// By item; each occurs once.
    Set,
    /// A whole custom object.
    Object(&'s Schema),
    /// By field, as a definition says.
    Custom(&'s Schema),
    /// By item, whose keys a definition names.
    CustomList(&'s Schema),
    /// By key at any depth; nothing is known of it.
    Free,
}

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl<'s> Shape<'s> {
    /// The shape of a value that a definition describes.
    fn of_schema(schema: &'s Schema) -> Self {
        match schema.kind.as_str() {
            "array" => match schema.list {
                CustomList::Atomic => Shape::Whole,
                CustomList::Set => Shape::Set,
                CustomList::Map => Shape::CustomList(schema),
            },
            "object" if schema.atomic_map => Shape::Whole,
            "object" => Shape::Custom(schema),
            "" if schema.preserves_unknown && !schema.int_or_string => Shape::Free,
            _ => Shape::Whole,
        }
    }

    /// Whether the value is owned by its fields or keys.
    pub(super) fn has_fields(self) -> bool {
        matches!(
            self,
            Shape::Struct(_) | Shape::Map(_) | Shape::Object(_) | Shape::Custom(_) | Shape::Free
        )
    }

    /// Whether the value is owned by its items.
    pub(super) fn has_items(self) -> bool {
        matches!(self, Shape::Keyed(..) | Shape::Set | Shape::CustomList(_))
    }

    pub(super) fn of_field(field: &'static Field) -> Self {
        if field.map == Some("atomic") {
            return Shape::Whole;
        }
        match (field.kind.wrap, field.list) {
            (Wrap::Plain, _) => Shape::single(field.kind.base),
            (Wrap::Map, _) => Shape::Map(field.kind.base),
            // Each list of such a map is owned as a whole.
            (Wrap::MapOfLists, _) => Shape::Map(Base::Any),
            (Wrap::List, Some(ListType::Map(keys))) => Shape::Keyed(keys, field.kind.base),
            (Wrap::List, Some(ListType::Set)) => Shape::Set,
            (Wrap::List, _) => Shape::Whole,
        }
    }

    fn single(base: Base) -> Self {
        match base {
            Base::Struct(at) => match facts().at(at) {
                ty if ty.atomic => Shape::Whole,
                ty => Shape::Struct(ty),
            },
            _ => Shape::Whole,
        }
    }

    /// The shape of what is below one step.
    pub(super) fn below(self, name: &str) -> Self {
        match self {
            Shape::Struct(ty) => ty.field(name).map_or(Shape::Whole, Shape::of_field),
            Shape::Map(base) => Shape::single(base),
            Shape::Object(_) if name == "metadata" => {
                facts().find(METADATA).map_or(Shape::Whole, Shape::Struct)
            }
            Shape::Object(_) if matches!(name, "apiVersion" | "kind") => Shape::Whole,
            Shape::Object(schema) | Shape::Custom(schema) => {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(below), _) => Shape::of_schema(below),
                    (None, Some(Additional::Of(below))) => Shape::of_schema(below),
                    (None, _) => Shape::Free,
                }
            }
            Shape::Free => Shape::Free,
            Shape::Whole | Shape::Keyed(..) | Shape::Set | Shape::CustomList(_) => Shape::Whole,
        }
    }

    /// The shape of a list's items.
    pub(super) fn item(self) -> Self {
        match self {
            Shape::Keyed(_, base) => Shape::single(base),
            Shape::CustomList(schema) => {
                schema.items.as_deref().map_or(Shape::Whole, Shape::of_schema)
            }
            _ => Shape::Whole,
        }
    }

    /// Whether `name` is a field that the type itself has.
    pub(super) fn names(self, name: &str) -> bool {
        match self {
            Shape::Struct(ty) => ty.field(name).is_some(),
            Shape::Object(schema) | Shape::Custom(schema) => schema.properties.contains_key(name),
            _ => false,
        }
    }

    /// The fields of a value that is owned by field or key.
    pub(super) fn fields(self, value: Option<&Value>) -> Option<&Map<String, Value>> {
        if self.has_fields() { value.and_then(Value::as_object) } else { None }
    }

    /// The step that names an item of a list; else the key that it lacks.
    pub(super) fn part(self, item: &Value) -> Result<Part, &'s str> {
        if let Shape::CustomList(schema) = self {
            let mut names: Vec<&'s String> = schema.keys.iter().collect();
            names.sort_unstable();
            let mut found = Map::new();
            for name in names {
                let below = schema.items.as_deref().and_then(|i| i.properties.get(name));
                let default = || below.and_then(|b| b.default.clone());
                match item.get(name).cloned().or_else(default) {
                    Some(value) => found.insert(name.clone(), value),
                    None => return Err(name),
                };
            }
            return Ok(Part::Key(Value::Object(found).to_string()));
        }
        let Shape::Keyed(keys, _) = self else { return Ok(Part::Value(item.to_string())) };
        let Shape::Struct(ty) = self.item() else { return Ok(Part::Value(item.to_string())) };
        let mut names: Vec<&'static str> = keys.split(',').collect();
        names.sort_unstable();
        let mut found = Map::new();
        for name in names {
            let default = || serde_json::from_str(ty.field(name)?.default?).ok();
            match item.get(name).cloned().or_else(default) {
                Some(value) => found.insert(name.to_owned(), value),
                None => return Err(name),
            };
        }
        Ok(Part::Key(Value::Object(found).to_string()))
    }
}
