//! Kubernetes' protobuf, from and to the same values as JSON, by the table of facts.
//!
//! Reading: a field that is no pointer in Go is always on the wire, even when it is
//! zero, and JSON omits it then; so zeros are dropped but for the fields listed as pointers.

mod reader;
mod writer;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::facts::{Base, Field, Type, Wrap, facts};
use reader::{Item, Reader};
pub use writer::write;
pub(crate) use writer::{envelope, event_frame, list, object_message};

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages.
const DEPTH_MAX: usize = 64;

/// Numbers and truth values that are pointers in Go, so that their zero says something.
const POINTERS: &[&str] = &[
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "allowVolumeExpansion",
    "attachRequired",
    "automountServiceAccountToken",
    "averageUtilization",
    "backoffLimit",
    "backoffLimitPerIndex",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "limitBytes",
    "lun",
    "manualSelector",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "priority",
    "privileged",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "sinceSeconds",
    "stabilizationWindowSeconds",
    "started",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "suspend",
    "tailLines",
    "terminating",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
];
/// Texts that are pointers in Go and mean something when they are empty.
const TEXT_POINTERS: &[&str] = &["storageClassName"];

/// Why a body is no object.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProtobufError {
    /// The body does not begin as it must.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Magic,
    /// The bytes end early or make no sense.
    #[error("the protobuf message is damaged")]
    Damaged,
    /// The table of facts lacks the type.
    #[error("no type {0:?} in the table of facts")]
    NoType(String),
}

/// Reads an object of a type.
pub fn read(schema: &str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let unknown = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let ty = facts().find(schema).ok_or_else(|| ProtobufError::NoType(schema.to_owned()))?;
    let (mut api_version, mut kind, mut raw): (&str, &str, &[u8]) = ("", "", &[]);
    for field in Reader::new(unknown) {
        match field? {
            (1, Item::Bytes(meta)) => {
                for field in Reader::new(meta) {
                    match field? {
                        (1, Item::Bytes(text)) => api_version = utf8(text)?,
                        (2, Item::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Item::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut object = Map::new();
    if !api_version.is_empty() {
        object.insert("apiVersion".to_owned(), json!(api_version));
    }
    if !kind.is_empty() {
        object.insert("kind".to_owned(), json!(kind));
    }
    message(ty, "", raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// Reads a message into `out`; `prefix` is the number of the embedded message it is, with a dot.
fn message(
    ty: &Type,
    prefix: &str,
    bytes: &[u8],
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Damaged);
    }
    for item in Reader::new(bytes) {
        let (number, item) = item?;
        let number = format!("{prefix}{number}");
        // The identity of an object is outside of its message; there its numbers mean other fields.
        let identity = |f: &Field| !ty.gvks.is_empty() && matches!(f.name, "apiVersion" | "kind");
        if let Some(field) = ty.fields.iter().find(|f| f.number == number && !identity(f)) {
            insert(field, item, out, depth)?;
            continue;
        }
        let inner = format!("{number}.");
        if ty.fields.iter().any(|f| f.number.starts_with(&inner))
            && let Item::Bytes(bytes) = item
        {
            message(ty, &inner, bytes, out, depth + 1)?;
        }
    }
    Ok(())
}

fn insert(
    field: &Field,
    item: Item<'_>,
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let name = field.name.to_owned();
    match field.kind.wrap {
        Wrap::Plain => {
            let value = scalar(field.kind.base, item, depth)?;
            if !is_absent(field.name, &value) {
                out.insert(name, value);
            }
        }
        Wrap::List => {
            let list = out.entry(name).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                elements(field.kind.base, item, list, depth)?;
            }
        }
        Wrap::Map | Wrap::MapOfLists => {
            let Item::Bytes(entry) = item else { return Err(ProtobufError::Damaged) };
            let (mut key, mut value) = (String::new(), Value::Null);
            for part in Reader::new(entry) {
                match part? {
                    (1, Item::Bytes(text)) => key = utf8(text)?.to_owned(),
                    (2, item) if field.kind.wrap == Wrap::Map => {
                        value = scalar(field.kind.base, item, depth)?;
                    }
                    (2, Item::Bytes(list)) => {
                        let mut all = Vec::new();
                        for part in Reader::new(list) {
                            elements(field.kind.base, part?.1, &mut all, depth)?;
                        }
                        value = Value::Array(all);
                    }
                    _ => {}
                }
            }
            if value.is_null() {
                value = zero(field.kind.base);
            }
            let map = out.entry(name).or_insert_with(|| json!({}));
            map[key] = value;
        }
    }
    Ok(())
}

/// One element of a list, or several where numbers are packed.
fn elements(
    base: Base,
    item: Item<'_>,
    list: &mut Vec<Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let packed = matches!(base, Base::Int32 | Base::Int64 | Base::Bool);
    match item {
        Item::Bytes(bytes) if packed => {
            let mut reader = Reader::new(bytes);
            while let Some(number) = reader.varint() {
                list.push(scalar(base, Item::Varint(number), depth)?);
            }
        }
        item => list.push(scalar(base, item, depth)?),
    }
    Ok(())
}

fn scalar(base: Base, item: Item<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (base, item) {
        (Base::Int32 | Base::Int64, Item::Varint(n)) => json!(n.cast_signed()),
        (Base::Bool, Item::Varint(n)) => json!(n != 0),
        (Base::Double, Item::Fixed64(bits)) => json!(f64::from_bits(bits)),
        (Base::String, Item::Bytes(text)) => json!(utf8(text)?),
        (Base::Bytes, Item::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        (Base::Quantity, Item::Bytes(bytes)) => match Reader::new(bytes).next().transpose()? {
            Some((1, Item::Bytes(text))) => json!(utf8(text)?),
            _ => json!("0"),
        },
        (Base::IntOrString, Item::Bytes(bytes)) => int_or_string(bytes)?,
        (Base::Time, Item::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%SZ")?,
        (Base::MicroTime, Item::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%S%.6fZ")?,
        (Base::Any, Item::Bytes(bytes)) => match Reader::new(bytes).next().transpose()? {
            Some((1, Item::Bytes(text))) => {
                serde_json::from_slice(text).map_err(|_| ProtobufError::Damaged)?
            }
            _ => Value::Null,
        },
        (Base::Struct(index), Item::Bytes(bytes)) => {
            let mut object = Map::new();
            message(facts().at(index), "", bytes, &mut object, depth + 1)?;
            Value::Object(object)
        }
        _ => return Err(ProtobufError::Damaged),
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    for field in Reader::new(bytes) {
        match field? {
            (1, Item::Varint(n)) => is_text = n != 0,
            (2, Item::Varint(n)) => number = n.cast_signed(),
            (3, Item::Bytes(bytes)) => text = utf8(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(text) } else { json!(number) })
}

fn time(bytes: &[u8], format: &str) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Reader::new(bytes) {
        match field? {
            (1, Item::Varint(n)) => seconds = n.cast_signed(),
            (2, Item::Varint(n)) => nanos = i32::try_from(n).unwrap_or(0),
            _ => {}
        }
    }
    // Go's zero time: absent.
    if bytes.is_empty() || seconds == -62_135_596_800 {
        return Ok(Value::Null);
    }
    let time = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Damaged)?;
    Ok(json!(time.strftime(format).to_string()))
}

fn is_absent(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() && !TEXT_POINTERS.contains(&name),
        Value::Bool(false) => !POINTERS.contains(&name),
        Value::Number(n) => n.as_i64() == Some(0) && !POINTERS.contains(&name),
        _ => false,
    }
}

fn zero(base: Base) -> Value {
    match base {
        Base::Int32 | Base::Int64 => json!(0),
        Base::Bool => json!(false),
        Base::String | Base::Bytes => json!(""),
        Base::Quantity => json!("0"),
        Base::Time | Base::MicroTime => Value::Null,
        _ => json!({}),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, ProtobufError> {
    std::str::from_utf8(bytes).map_err(|_| ProtobufError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_is_read() {
        // ConfigMap { metadata { name: "a" }, data { "k": "v" } }
        let raw = b"\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v";
        let mut body = MAGIC.to_vec();
        body.extend_from_slice(b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap");
        body.extend_from_slice(&[0x12, u8::try_from(raw.len()).unwrap()]);
        body.extend_from_slice(raw);
        assert_eq!(
            read("io.k8s.api.core.v1.ConfigMap", &body),
            Ok(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
            )
        );
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let read = |bytes: &[u8]| read("io.k8s.api.core.v1.Pod", bytes);
        assert_eq!(read(b"{}"), Err(ProtobufError::Magic));
        assert_eq!(read(b"k8s\0\x12\xff"), Err(ProtobufError::Damaged));
        assert_eq!(read(b"k8s\0\x12\x02\x0a\x09"), Err(ProtobufError::Damaged));
    }
}
