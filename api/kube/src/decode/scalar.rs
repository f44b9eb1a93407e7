//! Values without parts: checks and canonical forms.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::quantity::Quantity;
use crate::facts::Base;
use crate::validation::errors::go_quote;

/// What became of a scalar.
pub(super) enum Read {
    Value(Value),
    /// The JSON type is wrong; this one was found.
    Mismatch(String),
    /// The text is wrong, in the words of the type's own parser.
    Refused(String),
}

/// What Go makes of null inside a list or map.
pub(super) fn zero(base: Base) -> Value {
    match base {
        Base::Int32 | Base::Int64 | Base::Double | Base::IntOrString => Value::from(0),
        Base::Bool => Value::Bool(false),
        Base::Quantity => Value::from("0"),
        Base::String | Base::Bytes => Value::from(""),
        Base::Time | Base::MicroTime | Base::Any => Value::Null,
        Base::Struct(_) => Value::Object(serde_json::Map::new()),
    }
}

/// How Go prints the type.
pub(super) fn go_name(base: Base) -> &'static str {
    match base {
        Base::String | Base::Time | Base::MicroTime => "string",
        Base::Int32 => "int32",
        Base::Int64 => "int64",
        Base::Bool => "bool",
        Base::Double => "float64",
        Base::Bytes => "[]uint8",
        Base::Quantity => "resource.Quantity",
        Base::IntOrString => "intstr.IntOrString",
        Base::Any => "interface {}",
        Base::Struct(_) => "struct",
    }
}

/// A value of a JSON type that a scalar cannot be.
pub(super) fn not_a(base: Base, found: &str) -> Read {
    match base {
        Base::Quantity => Read::Refused(Quantity::WRONG_FORMAT.to_owned()),
        Base::IntOrString => {
            Read::Refused(format!("json: cannot unmarshal {found} into Go value of type int32"))
        }
        Base::Time | Base::MicroTime => {
            Read::Refused(format!("json: cannot unmarshal {found} into Go value of type string"))
        }
        _ => Read::Mismatch(found.to_owned()),
    }
}

/// A number where `base` is wanted.
pub(super) fn number(base: Base, number: Number) -> Read {
    let fits = |n: &Number| n.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
    match base {
        Base::Int32 | Base::IntOrString if fits(&number) => Read::Value(Value::Number(number)),
        Base::Int64 if number.as_i64().is_some() => Read::Value(Value::Number(number)),
        Base::Double | Base::Any => Read::Value(Value::Number(number)),
        Base::Quantity => text(base, &number.to_string()),
        Base::IntOrString => Read::Refused(format!(
            "json: cannot unmarshal number {number} into Go value of type int32"
        )),
        Base::Int32 | Base::Int64 => Read::Mismatch(format!("number {number}")),
        other => not_a(other, "number"),
    }
}

/// A text where `base` is wanted.
pub(super) fn text(base: Base, text: &str) -> Read {
    match base {
        Base::String | Base::Any | Base::IntOrString => Read::Value(Value::from(text)),
        Base::Bytes => bytes(text),
        Base::Quantity => match Quantity::parse(text.trim()) {
            Ok(_) => Read::Value(Value::from(text.trim())),
            Err(error) => Read::Refused(error.to_string()),
        },
        Base::Time => time(text, "2006-01-02T15:04:05Z07:00", "%Y-%m-%dT%H:%M:%SZ"),
        Base::MicroTime => time(text, "2006-01-02T15:04:05.000000Z07:00", "%Y-%m-%dT%H:%M:%S%.6fZ"),
        other => not_a(other, "string"),
    }
}

/// An amount in a list of resources: canonical, rounded up to thousandths.
pub(super) fn resource_amount(text: String) -> String {
    match Quantity::parse(&text) {
        Ok(quantity) => quantity.round_up_to_milli().to_string(),
        Err(_) => text,
    }
}

/// Go skips line ends in base64; they are gone when it writes it again.
fn bytes(text: &str) -> Read {
    let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&clean) {
        Ok(_) => Read::Value(Value::from(clean)),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                    clean.len()
                }
            };
            Read::Refused(format!("illegal base64 data at input byte {at}"))
        }
    }
}

fn time(text: &str, layout: &str, format: &str) -> Read {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Read::Value(Value::from(time.strftime(format).to_string())),
        Err(_) => {
            let (given, layout) = (go_quote(text), go_quote(layout));
            Read::Refused(format!(
                "parsing time {given} as {layout}: cannot parse {given} as \"2006\""
            ))
        }
    }
}
