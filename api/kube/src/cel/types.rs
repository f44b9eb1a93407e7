//! Types of expressions, with how large their values may be.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A type. Sizes are the most characters, items or entries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    /// Known at evaluation only.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text(u64),
    Bytes(u64),
    Duration,
    Timestamp,
    List(Arc<Type>, u64),
    Map(Arc<Type>, Arc<Type>, u64),
    /// An object whose fields are known.
    Object(Arc<BTreeMap<String, Type>>),
    Optional(Arc<Type>),
    /// That of a type itself.
    Meta,
    /// A type of a library.
    Named(&'static str),
}

impl Type {
    /// As in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Type::Dyn => "dyn".to_owned(),
            Type::Null => "null".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::Int => "int".to_owned(),
            Type::Uint => "uint".to_owned(),
            Type::Double => "double".to_owned(),
            Type::Text(_) => "string".to_owned(),
            Type::Bytes(_) => "bytes".to_owned(),
            Type::Duration => "google.protobuf.Duration".to_owned(),
            Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Type::List(of, _) => format!("list({})", of.name()),
            Type::Map(key, value, _) => format!("map({}, {})", key.name(), value.name()),
            Type::Object(_) => "object".to_owned(),
            Type::Optional(of) => format!("optional_type({})", of.name()),
            Type::Meta => "type".to_owned(),
            Type::Named(name) => (*name).to_owned(),
        }
    }

    /// Whether a value of one type may stand where the other is wanted.
    pub(crate) fn fits(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (
                Type::Null,
                Type::Object(_)
                | Type::Optional(_)
                | Type::Named(_)
                | Type::Duration
                | Type::Timestamp,
            )
            | (
                Type::Object(_)
                | Type::Optional(_)
                | Type::Named(_)
                | Type::Duration
                | Type::Timestamp,
                Type::Null,
            ) => true,
            (Type::Text(_), Type::Text(_)) | (Type::Bytes(_), Type::Bytes(_)) => true,
            (Type::List(a, _), Type::List(b, _)) => a.fits(b),
            (Type::Map(ak, av, _), Type::Map(bk, bv, _)) => ak.fits(bk) && av.fits(bv),
            (Type::Object(_) | Type::Map(..), Type::Object(_) | Type::Map(..)) => true,
            (Type::Optional(a), Type::Optional(b)) => a.fits(b),
            (a, b) => a == b,
        }
    }

    /// How large a value may be.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Type::Text(max) | Type::Bytes(max) | Type::List(_, max) | Type::Map(_, _, max) => *max,
            Type::Dyn => UNBOUNDED,
            Type::Object(fields) => fields.len() as u64,
            _ => 1,
        }
    }
}

/// More than a request can hold.
pub(crate) const UNBOUNDED: u64 = 3 * 1024 * 1024;
