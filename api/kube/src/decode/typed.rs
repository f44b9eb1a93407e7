//! The one pass that reads a value against its type.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::scalar;
use crate::facts::{Base, Field, Type, Wrap, facts};

/// What a pass collects beside the value.
#[derive(Debug, Default)]
pub(super) struct State {
    path: Vec<Part>,
    /// The struct that holds the field being read.
    owner: Option<&'static Type>,
    pub(super) unknown: Vec<String>,
    pub(super) duplicate: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// Duplicates are noted in values of any type too.
    notes_all: bool,
    /// Why the pass ended, where the type refused.
    pub(super) refused: Option<String>,
}

#[derive(Debug)]
enum Part {
    Field(&'static str),
    Key(String),
    Index(usize),
}

impl State {
    /// A pass over a part of an object.
    pub(super) fn below(path: &str) -> Self {
        State { path: vec![Part::Key(path.to_owned())], ..State::default() }
    }

    /// `spec.containers[0].name`.
    fn path_to(&self, last: &str) -> String {
        let mut text = String::new();
        for part in &self.path {
            match part {
                Part::Index(at) => text.push_str(&format!("[{at}]")),
                Part::Field(name) => push_dotted(&mut text, name),
                Part::Key(name) => push_dotted(&mut text, name),
            }
        }
        push_dotted(&mut text, last);
        text
    }

    fn unknown(&mut self, name: &str) {
        let path = self.path_to(name);
        self.warnings.push(format!("unknown field {path:?}"));
        self.unknown.push(path);
    }

    fn duplicate(&mut self, name: &str) {
        let path = self.path_to(name);
        self.warnings.push(format!("duplicate field {path:?}"));
        self.duplicate.push(path);
    }

    /// Ends the pass with Go's text for a value of the wrong type.
    fn mismatch<E: serde::de::Error>(&mut self, found: &str, wanted: &str) -> E {
        let names = self.path.iter().filter_map(|p| match p {
            Part::Field(name) => Some(*name),
            Part::Key(_) | Part::Index(_) => None,
        });
        let fields: Vec<&str> = names.collect();
        let text = match self.owner {
            Some(owner) => format!(
                "json: cannot unmarshal {found} into Go struct field {}.{} of type {wanted}",
                owner.struct_name(),
                fields.join(".")
            ),
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        };
        self.refuse(text)
    }

    fn refuse<E: serde::de::Error>(&mut self, text: String) -> E {
        self.refused.get_or_insert(text);
        E::custom("refused")
    }
}

fn push_dotted(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(name);
}

/// Reads a whole object; without a type anything, where a key that comes twice is noted.
pub(super) struct Root<'a> {
    pub(super) ty: Option<&'static Type>,
    pub(super) state: &'a mut State,
}

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.state.notes_all = self.ty.is_none();
        let shape = self.ty.map_or(Shape::Scalar(Base::Any), Shape::Struct);
        let read = Seed { shape, field: None, state: self.state }.deserialize(reader)?;
        read.ok_or_else(|| D::Error::custom("unexpected null"))
    }
}

/// What a seed reads.
#[derive(Clone, Copy)]
enum Shape {
    Struct(&'static Type),
    Scalar(Base),
    List(Base),
    Map(Base),
    MapOfLists(Base),
}

impl Shape {
    fn of(field: &Field) -> Self {
        match field.kind.wrap {
            Wrap::Plain => Shape::single(field.kind.base),
            Wrap::List => Shape::List(field.kind.base),
            Wrap::Map => Shape::Map(field.kind.base),
            Wrap::MapOfLists => Shape::MapOfLists(field.kind.base),
        }
    }

    fn single(base: Base) -> Self {
        match base {
            Base::Struct(at) => Shape::Struct(facts().at(at)),
            other => Shape::Scalar(other),
        }
    }

    /// What Go makes of a null in a list or map.
    fn zero(self) -> Value {
        match self {
            Shape::Struct(_) => Value::Object(Map::new()),
            Shape::List(_) | Shape::MapOfLists(_) | Shape::Map(_) => Value::Null,
            Shape::Scalar(base) => scalar::zero(base),
        }
    }
}

/// Reads one value; None for null.
struct Seed<'a> {
    shape: Shape,
    field: Option<&'static Field>,
    state: &'a mut State,
}

impl Seed<'_> {
    /// How Go prints the type of what is read.
    fn wanted(&self) -> String {
        let element = |base: Base| match base {
            Base::Struct(at) => facts().at(at).go_name(),
            other => scalar::go_name(other).to_owned(),
        };
        match (self.shape, self.field.and_then(|f| f.named)) {
            (Shape::List(base), _) => format!("[]{}", element(base)),
            (Shape::MapOfLists(base), _) => format!("map[string][]{}", element(base)),
            (Shape::Map(_) | Shape::Scalar(_), Some(named)) => {
                let package = self.state.owner.map(Type::go_name).unwrap_or_default();
                format!("{}.{named}", package.split('.').next().unwrap_or_default())
            }
            (Shape::Map(base), None) => format!("map[string]{}", element(base)),
            (Shape::Struct(ty), _) => ty.go_name(),
            (Shape::Scalar(base), None) => scalar::go_name(base).to_owned(),
        }
    }

    fn mismatch<E: serde::de::Error>(self, found: &str) -> E {
        let wanted = self.wanted();
        self.state.mismatch(found, &wanted)
    }

    fn take<E: serde::de::Error>(self, read: scalar::Read) -> Result<Option<Value>, E> {
        match read {
            scalar::Read::Value(value) => Ok(Some(value)),
            scalar::Read::Mismatch(found) => Err(self.mismatch(&found)),
            scalar::Read::Refused(text) => Err(self.state.refuse(text)),
        }
    }

    fn number<E: serde::de::Error>(self, number: Number) -> Result<Option<Value>, E> {
        match self.shape {
            Shape::Scalar(base) => self.take(scalar::number(base, number)),
            _ => Err(self.mismatch("number")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of an API object")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        match self.shape {
            Shape::Scalar(Base::Bool | Base::Any) => Ok(Some(Value::Bool(value))),
            Shape::Scalar(base) => self.take(scalar::not_a(base, "bool")),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.number(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.number(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            None => Err(self.mismatch("number")),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        match self.shape {
            Shape::Scalar(Base::String | Base::Any) => Ok(Some(Value::String(value.to_owned()))),
            Shape::Scalar(base) => self.take(scalar::text(base, value)),
            _ => Err(self.mismatch("string")),
        }
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Self::Value, E> {
        match self.shape {
            Shape::Scalar(Base::String | Base::Any) => Ok(Some(Value::String(value))),
            _ => self.visit_str(&value),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let base = match self.shape {
            Shape::List(base) => base,
            Shape::Scalar(Base::Any) => Base::Any,
            Shape::Scalar(base) => return self.take(scalar::not_a(base, "array")),
            _ => return Err(self.mismatch("array")),
        };
        let shape = Shape::single(base);
        let mut list = Vec::new();
        loop {
            self.state.path.push(Part::Index(list.len()));
            let seed = Seed { shape, field: self.field, state: &mut *self.state };
            let item = items.next_element_seed(seed)?;
            self.state.path.pop();
            match item {
                Some(item) => list.push(item.unwrap_or_else(|| shape.zero())),
                None => return Ok(Some(Value::Array(list))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        match self.shape {
            Shape::Struct(ty) => visit_struct(self.state, ty, entries),
            Shape::Map(base) => visit_keys(self, Shape::single(base), entries),
            Shape::MapOfLists(base) => visit_keys(self, Shape::List(base), entries),
            Shape::Scalar(Base::Any) => visit_keys(self, Shape::Scalar(Base::Any), entries),
            Shape::Scalar(base) => self.take(scalar::not_a(base, "object")),
            Shape::List(_) => Err(self.mismatch("object")),
        }
    }
}

fn visit_struct<'de, A: MapAccess<'de>>(
    state: &mut State,
    ty: &'static Type,
    mut entries: A,
) -> Result<Option<Value>, A::Error> {
    let outer = state.owner;
    let mut seen: u128 = 0;
    let mut made = Map::new();
    while let Some(key) = entries.next_key_seed(KeySeed(ty))? {
        let field = match key {
            Key::Known(at, field) => {
                let bit = 1u128.checked_shl(at).unwrap_or(0);
                if seen & bit != 0 {
                    state.duplicate(field.name);
                }
                seen |= bit;
                field
            }
            Key::Unknown(name) => {
                state.unknown(&name);
                entries.next_value::<serde::de::IgnoredAny>()?;
                continue;
            }
        };
        state.owner = Some(ty);
        state.path.push(Part::Field(field.name));
        let seed = Seed { shape: Shape::of(field), field: Some(field), state: &mut *state };
        let value = entries.next_value_seed(seed)?;
        state.path.pop();
        match value {
            Some(_) if field.gate.is_some() => {}
            Some(value) => drop(made.insert(field.name.to_owned(), value)),
            None => drop(made.shift_remove(field.name)),
        }
    }
    state.owner = outer;
    Ok(Some(Value::Object(made)))
}

fn visit_keys<'de, A: MapAccess<'de>>(
    map: Seed<'_>,
    shape: Shape,
    mut entries: A,
) -> Result<Option<Value>, A::Error> {
    let raw = matches!(map.shape, Shape::Scalar(_));
    let rounds = matches!(shape, Shape::Scalar(Base::Quantity));
    let mut made = Map::new();
    while let Some(key) = entries.next_key::<String>()? {
        if (!raw || map.state.notes_all) && made.contains_key(&key) {
            map.state.duplicate(&key);
        }
        map.state.path.push(Part::Key(key));
        let seed = Seed { shape, field: None, state: &mut *map.state };
        let value = entries.next_value_seed(seed)?;
        let Some(Part::Key(key)) = map.state.path.pop() else { continue };
        let value = match value {
            Some(Value::String(text)) if rounds => Value::String(scalar::resource_amount(text)),
            Some(value) => value,
            None if raw => Value::Null,
            None => shape.zero(),
        };
        made.insert(key, value);
    }
    Ok(Some(Value::Object(made)))
}

/// Finds the field of a key without keeping the key.
struct KeySeed(&'static Type);

enum Key {
    Known(u32, &'static Field),
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Key, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Key, E> {
        let fields = &self.0.fields;
        Ok(match fields.binary_search_by(|f| f.name.cmp(name)) {
            Ok(at) => Key::Known(u32::try_from(at).unwrap_or(u32::MAX), &fields[at]),
            Err(_) => Key::Unknown(name.to_owned()),
        })
    }
}
