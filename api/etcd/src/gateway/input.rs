//! From JSON to protobuf: names in either case, numbers or strings, unknown fields dropped.
// upstream: protojson, `DiscardUnknown`

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value;
use thiserror::Error;

use super::schema::{Field, Kind, SCHEMA};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// JSON that is not what a message can be made from.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum InputError {
    /// A message is an object.
    #[error("proto: unexpected token {0}")]
    NotAnObject(String),
    /// A field holds something else.
    #[error("proto: invalid value for {kind} field {field}: {value}")]
    Value { kind: &'static str, field: String, value: String },
    /// Both names of a field, or two of one group.
    #[error("proto: duplicate field {0:?}")]
    Duplicate(String),
}

/// Encodes the message `name`.
pub(super) fn message(name: &str, value: &Value) -> Result<Vec<u8>, InputError> {
    let mut out = Vec::new();
    write_message(name, value, &mut out)?;
    Ok(out)
}

fn write_message(name: &str, value: &Value, out: &mut Vec<u8>) -> Result<(), InputError> {
    let Value::Object(members) = value else {
        return Err(InputError::NotAnObject(value.to_string()));
    };
    let mut seen = Vec::new();
    for (key, value) in members {
        let fields = &SCHEMA.message(name).fields;
        let found = fields.iter().find(|field| field.json_name == *key || field.name == *key);
        let Some(field) = found else { continue };
        if seen.contains(&field.number) {
            return Err(InputError::Duplicate(key.clone()));
        }
        seen.push(field.number);
        match value {
            Value::Null => {}
            Value::Array(items) if field.repeated => {
                items.iter().try_for_each(|item| write_field(field, item, out))?;
            }
            value if field.repeated => return Err(wrong(field, value)),
            value => write_field(field, value, out)?,
        }
    }
    Ok(())
}

// On the wire a negative number is its two's complement in 64 bits.
#[allow(clippy::cast_sign_loss)]
fn write_field(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), InputError> {
    let wrong = || wrong(field, value);
    let number = match &field.kind {
        Kind::Bool => u64::from(value.as_bool().ok_or_else(wrong)?),
        Kind::Int32 => {
            let number = integer(value).and_then(|number| i32::try_from(number).ok());
            i64::from(number.ok_or_else(wrong)?) as u64
        }
        Kind::Uint32 => {
            let number = integer(value).and_then(|number| u32::try_from(number).ok());
            u64::from(number.ok_or_else(wrong)?)
        }
        Kind::Int64 => {
            let number = integer(value).and_then(|number| i64::try_from(number).ok());
            number.ok_or_else(wrong)? as u64
        }
        Kind::Uint64 => {
            let number = integer(value).and_then(|number| u64::try_from(number).ok());
            number.ok_or_else(wrong)?
        }
        Kind::Enum(name) => {
            let number = match value {
                Value::String(text) => {
                    let known = SCHEMA.values(name).iter().find(|(name, _)| name == text);
                    known.map(|(_, number)| *number)
                }
                value => integer(value).and_then(|number| i32::try_from(number).ok()),
            };
            i64::from(number.ok_or_else(wrong)?) as u64
        }
        Kind::String => {
            write_bytes(field, value.as_str().ok_or_else(wrong)?.as_bytes(), out);
            return Ok(());
        }
        Kind::Bytes => {
            let bytes = value.as_str().and_then(base64).ok_or_else(wrong)?;
            write_bytes(field, &bytes, out);
            return Ok(());
        }
        Kind::Message(name) => {
            write_bytes(field, &message(name, value)?, out);
            return Ok(());
        }
    };
    encode_key(field.number, WireType::Varint, out);
    encode_varint(number, out);
    Ok(())
}

fn write_bytes(field: &Field, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(field.number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A whole number, also as text, also as `1e3`.
// A float that is whole and below 2^63 is exact as an integer.
#[allow(clippy::cast_possible_truncation)]
fn integer(value: &Value) -> Option<i128> {
    let whole =
        |float: f64| (float.fract() == 0.0 && float.abs() < 9.3e18).then_some(float as i128);
    match value {
        Value::Number(number) => number
            .as_u64()
            .map(i128::from)
            .or_else(|| number.as_i64().map(i128::from))
            .or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => {
            text.parse().ok().or_else(|| text.parse::<f64>().ok().and_then(whole))
        }
        _ => None,
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    engine.decode(text).ok()
}

fn wrong(field: &Field, value: &Value) -> InputError {
    let kind = match &field.kind {
        Kind::Bool => "bool",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Enum(_) => "enum",
        Kind::Message(_) => "message",
    };
    InputError::Value { kind, field: field.json_name.clone(), value: value.to_string() }
}

#[cfg(test)]
mod tests {
    use keelson_proto::etcdserverpb as pb;
    use prost::Message as _;
    use serde_json::json;

    use super::*;

    fn range(value: Value) -> pb::RangeRequest {
        let bytes = message(".etcdserverpb.RangeRequest", &value).unwrap();
        pb::RangeRequest::decode(bytes.as_slice()).unwrap()
    }

    #[test]
    fn names_numbers_and_bytes_come_in_many_forms() {
        let wanted = pb::RangeRequest {
            key: "foo".into(),
            range_end: "\u{7ff}".into(),
            limit: 10,
            revision: -1,
            sort_order: 2,
            count_only: true,
            ..Default::default()
        };
        assert_eq!(
            range(json!({"key": "Zm9v", "range_end": "378=", "limit": 10, "revision": "-1",
                "sort_order": "DESCEND", "count_only": true, "nobody": {"knows": 1}})),
            wanted
        );
        assert_eq!(
            range(json!({"key": "Zm9v", "rangeEnd": "378", "limit": "10", "revision": -1.0,
                "sortOrder": 2, "countOnly": true, "serializable": null})),
            wanted
        );
        assert_eq!(range(json!({})), pb::RangeRequest::default());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of =
            |value: Value| message(".etcdserverpb.RangeRequest", &value).unwrap_err().to_string();
        assert_eq!(of(json!({"key": "*"})), "proto: invalid value for bytes field key: \"*\"");
        assert_eq!(of(json!({"limit": 1.5})), "proto: invalid value for int64 field limit: 1.5");
        assert_eq!(of(json!({"limit": []})), "proto: invalid value for int64 field limit: []");
        assert_eq!(of(json!([])), "proto: unexpected token []");
        assert_eq!(
            of(json!({"range_end": "", "rangeEnd": ""})),
            "proto: duplicate field \"rangeEnd\""
        );
    }
}
