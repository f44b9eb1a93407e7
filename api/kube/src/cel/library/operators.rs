//! Operators, conversions between plain types, optionals.

use super::super::eval::Evaluation;
use super::super::value::Value;
use super::{Answer, count, failed, no_overload};
use crate::custom::go_float;

pub(super) fn call(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let answer = match (function, values) {
        ("_==_", [a, b]) => cx.compare_cost(a, b).map(|()| Value::Bool(a == b)),
        ("_!=_", [a, b]) => cx.compare_cost(a, b).map(|()| Value::Bool(a != b)),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => cx.compare_cost(a, b).and_then(|()| {
            let order = a.compare(b).ok_or_else(no_overload)?;
            Ok(Value::Bool(match function {
                "_<_" => order.is_lt(),
                "_<=_" => order.is_le(),
                "_>_" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }),
        ("!_", [Value::Bool(v)]) => cx.spend(1).map(|()| Value::Bool(!v)),
        ("-_", [Value::Int(n)]) => {
            n.checked_neg().map(Value::Int).ok_or_else(|| failed("integer overflow"))
        }
        ("-_", [Value::Double(n)]) => Ok(Value::Double(-n)),
        ("-_", [Value::Duration(n)]) => Ok(Value::Duration(-n)),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => {
            return Some(arithmetic(cx, function, a, b));
        }
        ("_[_]", [of, at]) => cx.spend(1).and_then(|()| {
            index(of, at)?.ok_or_else(|| match of {
                Value::List(_) => failed(format!("index out of bounds: {}", shown(at))),
                _ => failed(format!("no such key: {}", shown(at))),
            })
        }),
        ("_[?_]", [Value::Optional(inner), at]) => match inner {
            None => Ok(Value::Optional(None)),
            Some(of) => index(of, at).map(Value::optional),
        },
        ("_[?_]", [of, at]) => cx.spend(1).and_then(|()| index(of, at).map(Value::optional)),
        ("@in", [item, Value::List(items)]) => {
            cx.spend(count_of(items.len())).map(|()| Value::Bool(items.contains(item)))
        }
        ("@in", [key, Value::Map(map)]) => {
            cx.spend(1).map(|()| Value::Bool(map.get(key).is_some()))
        }
        ("size", [of @ (Value::Text(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))]) => {
            cx.spend(1).map(|()| count(of.size()))
        }
        ("type", [of]) => Ok(Value::Type(of.type_name().into())),
        ("dyn", [of]) => Ok(of.clone()),
        ("int" | "uint" | "double" | "string" | "bool" | "bytes", [of]) => {
            return convert(function, of).map(|answer| cx.spend(1).and(answer));
        }
        ("optional.of", [of]) => Ok(Value::optional(Some(of.clone()))),
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("optional.ofNonZeroValue", [of]) => {
            Ok(Value::optional((!is_zero(of)).then(|| of.clone())))
        }
        _ => return None,
    };
    Some(answer)
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    match (function, values) {
        ("size", [of @ (Value::Text(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))]) => {
            Some(cx.spend(1).map(|()| count(of.size())))
        }
        ("hasValue", [Value::Optional(inner)]) => Some(Ok(Value::Bool(inner.is_some()))),
        ("value", [Value::Optional(inner)]) => {
            let value = inner.as_ref().map(|v| (**v).clone());
            Some(value.ok_or_else(|| failed("optional.none() dereference")))
        }
        _ => None,
    }
}

fn count_of(n: usize) -> u64 {
    n as u64
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        other => format!("{other:?}"),
    }
}

fn index(of: &Value, at: &Value) -> Result<Option<Value>, super::EvalError> {
    match (of, at) {
        (Value::List(items), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
            let at = match at {
                Value::Int(n) => usize::try_from(*n).ok(),
                Value::Uint(n) => usize::try_from(*n).ok(),
                other => whole(other).and_then(|n| usize::try_from(n).ok()),
            };
            Ok(at.and_then(|at| items.get(at)).cloned())
        }
        (Value::Map(map), key) => Ok(map.get(key).cloned()),
        _ => Err(no_overload()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_double()?;
    (number.fract() == 0.0 && number.abs() < 9.2e18).then_some(number as i64)
}

fn arithmetic(
    cx: &mut Evaluation<'_>,
    function: &str,
    a: &Value,
    b: &Value,
) -> Result<Value, super::EvalError> {
    let overflow = || failed("integer overflow");
    let zero = || failed(if function == "_%_" { "modulus by zero" } else { "division by zero" });
    match (a, b) {
        (Value::Text(_) | Value::Bytes(_), _) => cx.traverse(a.size() + b.size(), 0.1)?,
        _ => cx.spend(1)?,
    }
    match (function, a, b) {
        ("_+_", Value::Text(a), Value::Text(b)) => Ok(Value::from(format!("{a}{b}"))),
        ("_+_", Value::Bytes(a), Value::Bytes(b)) => {
            Ok(Value::Bytes([&a[..], &b[..]].concat().into()))
        }
        ("_+_", Value::List(a), Value::List(b)) => {
            Ok(Value::list(a.iter().chain(b.iter()).cloned().collect()))
        }
        ("_+_", Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(overflow)
        }
        ("_-_", Value::Duration(a), Value::Duration(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(overflow)
        }
        ("_+_", Value::Timestamp(t), Value::Duration(d))
        | ("_+_", Value::Duration(d), Value::Timestamp(t)) => t
            .checked_add(jiff::SignedDuration::from_nanos(*d))
            .map(Value::Timestamp)
            .map_err(|_| failed("timestamp overflow")),
        ("_-_", Value::Timestamp(t), Value::Duration(d)) => t
            .checked_sub(jiff::SignedDuration::from_nanos(*d))
            .map(Value::Timestamp)
            .map_err(|_| failed("timestamp overflow")),
        ("_-_", Value::Timestamp(a), Value::Timestamp(b)) => {
            i64::try_from(a.duration_since(*b).as_nanos())
                .map(Value::Duration)
                .map_err(|_| overflow())
        }
        (_, Value::Int(a), Value::Int(b)) => {
            let made = match function {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                "_*_" => a.checked_mul(*b),
                _ if *b == 0 => return Err(zero()),
                "_/_" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            made.map(Value::Int).ok_or_else(overflow)
        }
        (_, Value::Uint(a), Value::Uint(b)) => {
            let made = match function {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                "_*_" => a.checked_mul(*b),
                _ if *b == 0 => return Err(zero()),
                "_/_" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            made.map(Value::Uint).ok_or_else(|| failed("unsigned integer overflow"))
        }
        (_, Value::Double(a), Value::Double(b)) => Ok(Value::Double(match function {
            "_+_" => a + b,
            "_-_" => a - b,
            "_*_" => a * b,
            "_/_" => a / b,
            _ => return Err(no_overload()),
        })),
        _ => Err(no_overload()),
    }
}

/// Conversions between plain types. None: another file's.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranges are checked first"
)]
fn convert(function: &str, of: &Value) -> Option<Result<Value, super::EvalError>> {
    let range = || {
        failed(format!(
            "{} overflow",
            if function == "uint" { "unsigned integer" } else { "integer" }
        ))
    };
    let parse =
        |text: &str| failed(format!("type conversion error: cannot parse {text:?} as {function}"));
    Some(match (function, of) {
        ("int", Value::Int(_))
        | ("uint", Value::Uint(_))
        | ("double", Value::Double(_))
        | ("string", Value::Text(_))
        | ("bool", Value::Bool(_))
        | ("bytes", Value::Bytes(_)) => Ok(of.clone()),
        ("int", Value::Uint(n)) => i64::try_from(*n).map(Value::Int).map_err(|_| range()),
        ("int", Value::Double(n)) if n.abs() < 9.223_372_036_854_775e18 => {
            Ok(Value::Int(n.trunc() as i64))
        }
        ("int" | "uint", Value::Double(_)) if function == "int" => Err(range()),
        ("int", Value::Text(text)) => text.parse().map(Value::Int).map_err(|_| parse(text)),
        ("int", Value::Timestamp(t)) => Ok(Value::Int(t.as_second())),
        ("uint", Value::Int(n)) => u64::try_from(*n).map(Value::Uint).map_err(|_| range()),
        ("uint", Value::Double(n)) if (0.0..1.8e19).contains(n) => {
            Ok(Value::Uint(n.trunc() as u64))
        }
        ("uint", Value::Double(_)) => Err(range()),
        ("uint", Value::Text(text)) => text.parse().map(Value::Uint).map_err(|_| parse(text)),
        ("double", Value::Int(_) | Value::Uint(_)) => Ok(Value::Double(of.as_double()?)),
        ("double", Value::Text(text)) => text.parse().map(Value::Double).map_err(|_| parse(text)),
        ("bool", Value::Text(text)) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(parse(text)),
        },
        ("bytes", Value::Text(text)) => Ok(Value::Bytes(text.as_bytes().into())),
        ("string", Value::Int(n)) => Ok(Value::from(n.to_string())),
        ("string", Value::Uint(n)) => Ok(Value::from(n.to_string())),
        ("string", Value::Double(n)) => Ok(Value::from(go_float(*n))),
        ("string", Value::Bool(v)) => Ok(Value::from(v.to_string())),
        ("string", Value::Bytes(bytes)) => String::from_utf8(bytes.to_vec())
            .map(Value::from)
            .map_err(|_| failed("invalid UTF-8 in bytes, cannot convert to string")),
        _ => return None,
    })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(v) => !v,
        Value::Int(n) => *n == 0,
        Value::Uint(n) => *n == 0,
        Value::Double(n) => *n == 0.0,
        Value::Duration(n) => *n == 0,
        Value::Text(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.size() == 0,
        _ => false,
    }
}
