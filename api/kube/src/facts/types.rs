//! The parsed form of the table of facts.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::parse;

/// The table as it was written.
pub const TEXT: &str = include_str!("table.txt");

static FACTS: LazyLock<Facts> = LazyLock::new(|| parse::table(TEXT));

/// All types.
pub fn facts() -> &'static Facts {
    &FACTS
}

/// Types by position and by name.
#[derive(Debug, Default)]
pub struct Facts {
    pub(super) types: Vec<Type>,
    pub(super) by_name: BTreeMap<&'static str, u16>,
}

impl Facts {
    /// The type with this name, as the OpenAPI document writes it without `io.k8s.api`
    /// (`.core.v1.Pod`) or with it.
    pub fn find(&self, name: &str) -> Option<&Type> {
        let short = match name.strip_prefix("io.k8s.api") {
            Some(rest) if rest.starts_with('.') => rest,
            _ => name,
        };
        self.by_name.get(short).and_then(|at| self.types.get(usize::from(*at)))
    }

    /// The type that a field refers to.
    pub fn at(&self, index: u16) -> &Type {
        &self.types[usize::from(index)]
    }

    /// Every type, sorted by name.
    pub fn types(&self) -> &[Type] {
        &self.types
    }
}

/// One struct.
#[derive(Debug)]
pub struct Type {
    /// Name without `io.k8s.api`.
    pub name: &'static str,
    /// Whether the type is replaced as a whole by server-side apply.
    pub atomic: bool,
    /// `group/version/kind` of objects of this type.
    pub gvks: Vec<&'static str>,
    /// Fields, sorted by name.
    pub fields: Vec<Field>,
    /// Positions of fields that are never absent.
    pub(super) filled: Vec<u16>,
}

impl Type {
    /// The field with this JSON name; the case counts.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| f.name.cmp(name)).ok().map(|at| &self.fields[at])
    }

    /// The fields that the server writes even when nobody set them, or that have a constant
    /// default.
    pub fn filled(&self) -> impl Iterator<Item = &Field> {
        self.filled.iter().map(|at| &self.fields[usize::from(*at)])
    }

    /// The name of the Go struct.
    pub fn struct_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The name in the OpenAPI document.
    pub fn full_name(&self) -> String {
        if self.name.starts_with('.') {
            format!("io.k8s.api{}", self.name)
        } else {
            self.name.into()
        }
    }

    /// `v1.Pod`: how Go prints the type.
    pub fn go_name(&self) -> String {
        let mut parts = self.name.rsplit('.');
        let name = parts.next().unwrap_or_default();
        format!("{}.{name}", parts.next().unwrap_or_default())
    }
}

/// One field of a type.
#[derive(Debug)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    /// Protobuf number; `2.1` inside an embedded message.
    pub number: &'static str,
    /// Type of the value.
    pub kind: FieldType,
    /// Whether the schema requires it.
    pub required: bool,
    /// Whether the server always writes it, even when it is zero.
    pub always: bool,
    /// How server-side apply sees a list.
    pub list: Option<ListType>,
    /// `granular` or `atomic` where a map says so.
    pub map: Option<&'static str>,
    /// How strategic merge patches it.
    pub patch: PatchStrategy,
    /// Constant default, as JSON.
    pub default: Option<&'static str>,
    /// The Go type's own name where it has one.
    pub named: Option<&'static str>,
    /// All values, where they are known.
    pub values: Option<&'static str>,
    /// The gate, off by default, that the field stands behind.
    pub gate: Option<&'static str>,
}

impl Field {
    /// The known values of an enum.
    pub fn enum_values(&self) -> impl Iterator<Item = &'static str> {
        self.values.into_iter().flat_map(|v| v.split('|'))
    }
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects with these keys (comma between).
    Map(&'static str),
}

/// `x-kubernetes-patch-strategy` and its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists are merged.
    pub merge: bool,
    /// Fields not named in `$retainKeys` go.
    pub retain_keys: bool,
    /// The field that names an entry of a merged list.
    pub merge_key: Option<&'static str>,
}

/// A value's type: a base, perhaps in a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldType {
    /// List, map or neither.
    pub wrap: Wrap,
    /// What is inside.
    pub base: Base,
}

/// What a value's base is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrap {
    /// Nothing.
    Plain,
    /// A list.
    List,
    /// A map from strings.
    Map,
    /// A map from strings to lists.
    MapOfLists,
}

/// The innermost type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Text.
    String,
    /// 32 bit integer.
    Int32,
    /// 64 bit integer.
    Int64,
    /// Truth value.
    Bool,
    /// Floating point.
    Double,
    /// Base64.
    Bytes,
    /// resource.Quantity, canonical on the wire.
    Quantity,
    /// Integer or text.
    IntOrString,
    /// RFC 3339, seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// Anything.
    Any,
    /// Another type of the table.
    Struct(u16),
}
