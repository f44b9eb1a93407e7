//! Values written as Kubernetes' protobuf, by the table of facts.
//!
//! What the value has is written, what it lacks is not: the zero of a field that is no pointer in
//! Go reads the same either way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::{MAGIC, ProtobufError};
use crate::facts::{Base, Field, FieldType, Type, Wrap, facts};

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// An object in its envelope. `schema` is its type; what is no type of the table of facts is
/// metadata alone, or a list of such.
pub fn write(schema: &str, object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let raw = object_message(schema, object)?;
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    Ok(envelope(text("apiVersion"), text("kind"), &raw))
}

/// A list in its envelope, from its metadata and the messages of its items.
pub(crate) fn list<'a>(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, ProtobufError> {
    let mut raw = Vec::new();
    delimited(1, &mut raw, |out| message(named(LIST_METADATA)?, metadata, out))?;
    for item in items {
        bytes(2, item, &mut raw);
    }
    Ok(envelope(api_version, kind, &raw))
}

/// An object without its envelope.
pub(crate) fn object_message(schema: &str, object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let mut raw = Vec::new();
    match object["kind"].as_str() {
        Some("PartialObjectMetadata") => partial(object, &mut raw)?,
        Some("PartialObjectMetadataList") => {
            delimited(1, &mut raw, |out| message(named(LIST_METADATA)?, &object["metadata"], out))?;
            for item in object["items"].as_array().into_iter().flatten() {
                delimited(2, &mut raw, |out| partial(item, out))?;
            }
        }
        _ => fields(named(schema)?, "", object, true, &mut raw)?,
    }
    Ok(raw)
}

/// A message in its envelope.
pub(crate) fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = Vec::new();
    text(1, api_version, &mut meta);
    text(2, kind, &mut meta);
    let mut out = MAGIC.to_vec();
    bytes(1, &meta, &mut out);
    bytes(2, raw, &mut out);
    // Encoding and type of the content: always there, always empty.
    bytes(3, b"", &mut out);
    bytes(4, b"", &mut out);
    out
}

/// One event of a watch, with its length before it.
pub(crate) fn event_frame(name: &str, object: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(object.len() + name.len() + 24);
    text(1, name, &mut event);
    let mut raw = Vec::with_capacity(object.len() + 8);
    bytes(1, object, &mut raw);
    bytes(2, &raw, &mut event);
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(&event);
    out
}

fn named(schema: &str) -> Result<&'static Type, ProtobufError> {
    facts().find(schema).ok_or_else(|| ProtobufError::NoType(schema.to_owned()))
}

fn partial(object: &Value, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
    delimited(1, out, |out| message(named(METADATA)?, &object["metadata"], out))
}

fn message(ty: &Type, value: &Value, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
    fields(ty, "", value, false, out)
}

/// Writes the fields whose number begins with `prefix`; further parts of a number are messages
/// that Go embeds.
fn fields(
    ty: &Type,
    prefix: &str,
    value: &Value,
    is_root: bool,
    out: &mut Vec<u8>,
) -> Result<(), ProtobufError> {
    let mut embedded: Vec<&str> = Vec::new();
    for field in &ty.fields {
        let Some(number) = field.number.strip_prefix(prefix) else { continue };
        // The identity of an object is outside of its message.
        let has_identity = is_root || !ty.gvks.is_empty();
        let present = value.get(field.name).is_some_and(|v| !v.is_null());
        if !present || has_identity && matches!(field.name, "apiVersion" | "kind") {
            continue;
        }
        match number.split_once('.') {
            None => write_field(field, number, &value[field.name], out)?,
            Some((outer, _)) if embedded.contains(&outer) => {}
            Some((outer, _)) => {
                embedded.push(outer);
                let inner = format!("{prefix}{outer}.");
                delimited(parse(outer)?, out, |out| fields(ty, &inner, value, false, out))?;
            }
        }
    }
    Ok(())
}

fn parse(number: &str) -> Result<u32, ProtobufError> {
    number.parse().map_err(|_| ProtobufError::Damaged)
}

fn write_field(
    field: &Field,
    number: &str,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), ProtobufError> {
    let number = parse(number)?;
    let FieldType { wrap, base } = field.kind;
    match wrap {
        Wrap::Plain => scalar(base, number, value, out),
        Wrap::List => {
            value.as_array().into_iter().flatten().try_for_each(|v| scalar(base, number, v, out))
        }
        Wrap::Map | Wrap::MapOfLists => {
            for (key, value) in value.as_object().into_iter().flatten() {
                delimited(number, out, |out| {
                    text(1, key, out);
                    if value.is_null() {
                        // Only times are null here, and theirs is an empty message.
                        bytes(2, b"", out);
                        return Ok(());
                    }
                    if wrap == Wrap::Map {
                        return scalar(base, 2, value, out);
                    }
                    delimited(2, out, |out| {
                        let items = value.as_array().into_iter().flatten();
                        items.into_iter().try_for_each(|v| scalar(base, 1, v, out))
                    })
                })?;
            }
            Ok(())
        }
    }
}

fn scalar(base: Base, number: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
    let whole = || value.as_i64().ok_or(ProtobufError::Damaged);
    let string = || value.as_str().ok_or(ProtobufError::Damaged);
    match base {
        Base::String => text(number, string()?, out),
        Base::Int32 | Base::Int64 => integer(number, whole()?, out),
        Base::Bool => integer(number, i64::from(value == &Value::Bool(true)), out),
        Base::Double => {
            varint(u64::from(number << 3 | FIXED64), out);
            let bits = value.as_f64().ok_or(ProtobufError::Damaged)?.to_bits();
            out.extend_from_slice(&bits.to_le_bytes());
        }
        Base::Bytes => {
            let decoded = STANDARD.decode(string()?).map_err(|_| ProtobufError::Damaged)?;
            bytes(number, &decoded, out);
        }
        Base::Quantity => delimited(number, out, |out| {
            text(1, &value.as_str().map_or_else(|| value.to_string(), str::to_owned), out);
            Ok(())
        })?,
        Base::IntOrString => delimited(number, out, |out| {
            match value {
                Value::String(string) => {
                    integer(1, 1, out);
                    text(3, string, out);
                }
                number => integer(2, number.as_i64().unwrap_or(0), out),
            }
            Ok(())
        })?,
        Base::Time | Base::MicroTime => {
            let time: Timestamp = string()?.parse().map_err(|_| ProtobufError::Damaged)?;
            delimited(number, out, |out| {
                integer(1, time.as_second(), out);
                integer(2, i64::from(time.subsec_nanosecond()), out);
                Ok(())
            })?;
        }
        Base::Any => delimited(number, out, |out| {
            bytes(1, value.to_string().as_bytes(), out);
            Ok(())
        })?,
        Base::Struct(index) => {
            delimited(number, out, |out| message(facts().at(index), value, out))?
        }
    }
    Ok(())
}

fn delimited(
    number: u32,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    let mut inner = Vec::new();
    write(&mut inner)?;
    bytes(number, &inner, out);
    Ok(())
}

fn text(number: u32, text: &str, out: &mut Vec<u8>) {
    bytes(number, text.as_bytes(), out);
}

fn bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | BYTES), out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn integer(number: u32, value: i64, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | VARINT), out);
    varint(value.cast_unsigned(), out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::read;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_the_same() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "creationTimestamp": "2026-01-02T03:04:05Z", "generation": 3,
                "labels": {"a": "b", "c": ""}, "finalizers": ["x", "y"],
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {
                "containers": [{
                    "name": "c", "image": "i", "tty": true,
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "100m"}},
                    "livenessProbe": {
                        "httpGet": {"port": "http", "path": "/"}, "initialDelaySeconds": 5,
                    },
                    "readinessProbe": {"tcpSocket": {"port": 8080}},
                    "securityContext": {"runAsUser": 0, "privileged": false},
                }],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
                "terminationGracePeriodSeconds": 0, "activeDeadlineSeconds": -1,
            },
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
        });
        let written = write("io.k8s.api.core.v1.Pod", &pod).unwrap();
        assert_eq!(read("io.k8s.api.core.v1.Pod", &written), Ok(pod));
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {"k": "aGVsbG8="},
        });
        let written = write("io.k8s.api.core.v1.Secret", &secret).unwrap();
        assert_eq!(read("io.k8s.api.core.v1.Secret", &written), Ok(secret));
    }

    #[test]
    fn an_envelope_is_as_go_writes_it() {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"},
        });
        let mut wanted = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d".to_vec();
        wanted.extend_from_slice(b"\x12\x06\x0a\x01k\x12\x01v\x0a\x03\x0a\x01a\x1a\0\x22\0");
        assert_eq!(write("io.k8s.api.core.v1.ConfigMap", &map), Ok(wanted));
    }

    #[test]
    fn a_event_frame_has_its_length_before_it() {
        let frame = event_frame("ADDED", b"xyz");
        assert_eq!(frame, b"\0\0\0\x0e\x0a\x05ADDED\x12\x05\x0a\x03xyz");
    }
}
