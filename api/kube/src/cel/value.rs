//! Values that expressions work with.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use regex::Regex;
use serde_json::Value as Json;

use crate::decode::quantity::Quantity;

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<Vec<Value>>),
    /// Entries in their order; keys are few, so that they are searched one by one when small.
    Map(Arc<Map>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    Optional(Option<Arc<Value>>),
    /// The name of a type.
    Type(Arc<str>),
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(IpNet),
    Url(Arc<super::library::url::Url>),
    Semver(Arc<super::library::semver::Semver>),
    /// A named format.
    Format(Arc<str>),
}

/// A map: an object of JSON, or entries with keys of other types.
#[derive(Debug, Default)]
pub(crate) struct Map {
    entries: Vec<(Value, Value)>,
    index: std::collections::BTreeMap<String, usize>,
}

impl Map {
    pub(crate) fn new(entries: Vec<(Value, Value)>) -> Self {
        let texts = entries.iter().enumerate().filter_map(|(at, (key, _))| match key {
            Value::Text(text) => Some((text.to_string(), at)),
            _ => None,
        });
        let index = texts.collect();
        Map { entries, index }
    }

    pub(crate) fn get(&self, key: &Value) -> Option<&Value> {
        match key {
            Value::Text(text) => self.field(text),
            key => self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.index.get(name).map(|at| &self.entries[*at].1)
    }

    pub(crate) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(Arc::from(text))
    }
}

impl Value {
    pub(crate) fn list(items: Vec<Value>) -> Self {
        Value::List(Arc::new(items))
    }

    pub(crate) fn map(entries: Vec<(Value, Value)>) -> Self {
        Value::Map(Arc::new(Map::new(entries)))
    }

    pub(crate) fn optional(value: Option<Value>) -> Self {
        Value::Optional(value.map(Arc::new))
    }

    /// A value of JSON as it is.
    pub(crate) fn of_json(json: &Json) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => match n.as_i64() {
                Some(n) => Value::Int(n),
                None => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::from(text.as_str()),
            Json::Array(items) => Value::list(items.iter().map(Value::of_json).collect()),
            Json::Object(fields) => {
                let entry = |(k, v): (&String, &Json)| (Value::from(k.as_str()), Value::of_json(v));
                Value::map(fields.iter().map(entry).collect())
            }
        }
    }

    /// The value in JSON, as Kubernetes writes values of its type.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Value::Null | Value::Optional(None) => Json::Null,
            Value::Bool(v) => Json::from(*v),
            Value::Int(n) => Json::from(*n),
            Value::Uint(n) => Json::from(*n),
            Value::Double(n) => Json::from(*n),
            Value::Text(text) | Value::Type(text) | Value::Format(text) => Json::from(&**text),
            Value::Bytes(bytes) => {
                use base64::Engine as _;
                Json::from(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Value::List(items) => items.iter().map(Value::to_json).collect(),
            Value::Map(map) => {
                let key = |key: &Value| match key.to_json() {
                    Json::String(text) => text,
                    other => other.to_string(),
                };
                Json::Object(map.entries.iter().map(|(k, v)| (key(k), v.to_json())).collect())
            }
            Value::Duration(_) | Value::Timestamp(_) => Json::from(super::library::shown(self)),
            Value::Optional(Some(inner)) => inner.to_json(),
            Value::Quantity(q) => Json::from(q.to_string()),
            Value::Ip(ip) => Json::from(ip.to_string()),
            Value::Cidr(net) => Json::from(net.to_string()),
            Value::Url(url) => Json::from(url.text.as_str()),
            Value::Semver(_) => Json::Null,
        }
    }

    /// The name of the value's type.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Ip(_) => "net.IP",
            Value::Cidr(_) => "net.CIDR",
            Value::Url(_) => "kubernetes.URL",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
        }
    }

    /// How much of it there is: characters, items, entries; 1 of what has no parts.
    pub(crate) fn size(&self) -> u64 {
        let size = match self {
            Value::Text(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => items.len(),
            Value::Map(map) => map.entries.len(),
            _ => 1,
        };
        size as u64
    }

    /// The order of two values that have one.
    pub(crate) fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Int(_) | Value::Uint(_), Value::Double(b)) => self.as_double()?.partial_cmp(b),
            (Value::Double(a), Value::Int(_) | Value::Uint(_)) => {
                a.partial_cmp(&other.as_double()?)
            }
            _ => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of different types compare as doubles")]
    pub(crate) fn as_double(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Uint(n) => Some(*n as f64),
            Value::Double(n) => Some(*n),
            _ => None,
        }
    }
}

/// Equality as CEL has it: numbers of different types are equal when their amounts are.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => {
                a.entries.len() == b.entries.len()
                    && a.entries.iter().all(|(k, v)| b.get(k).is_some_and(|w| v == w))
            }
            (Value::Optional(a), Value::Optional(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => a == b,
            (Value::Quantity(a), Value::Quantity(b)) => a.compare(b).is_eq(),
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::Cidr(a), Value::Cidr(b)) => a == b,
            (Value::Url(a), Value::Url(b)) => a.text == b.text,
            (Value::Semver(a), Value::Semver(b)) => a.order(b).is_eq(),
            (Value::Format(a), Value::Format(b)) => a == b,
            _ => self.compare(other).is_some_and(Ordering::is_eq),
        }
    }
}

/// A regular expression of an expression.
pub(crate) fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|_| format!("error parsing regexp: `{pattern}`"))
}
