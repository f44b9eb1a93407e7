//! How the fields of a value are owned: each by itself, or the value as a whole.

use serde_json::{Map, Value};

use super::set::Part;
use crate::facts::{Base, Field, ListType, Type, Wrap, facts};

/// How a value is owned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
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
}

impl Shape {
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
            Shape::Whole | Shape::Keyed(..) | Shape::Set => Shape::Whole,
        }
    }

    /// The shape of a list's items.
    pub(super) fn item(self) -> Self {
        match self {
            Shape::Keyed(_, base) => Shape::single(base),
            Shape::Whole | Shape::Struct(_) | Shape::Map(_) | Shape::Set => Shape::Whole,
        }
    }

    /// Whether `name` is a field that the type itself has.
    pub(super) fn names(self, name: &str) -> bool {
        matches!(self, Shape::Struct(ty) if ty.field(name).is_some())
    }

    /// The fields of a value that is owned by field or key.
    pub(super) fn fields(self, value: Option<&Value>) -> Option<&Map<String, Value>> {
        match self {
            Shape::Struct(_) | Shape::Map(_) => value.and_then(Value::as_object),
            Shape::Whole | Shape::Keyed(..) | Shape::Set => None,
        }
    }

    /// The step that names an item of a list; else the key that it lacks.
    pub(super) fn part(self, item: &Value) -> Result<Part, &'static str> {
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
