//! Quantities: `quantity("500m").isLessThan(quantity("1"))`.

use super::super::eval::Evaluation;
use super::super::value::Value;
use super::{Answer, failed};
use crate::decode::quantity::Quantity;

pub(super) fn call(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let [Value::Text(text)] = values else { return None };
    let answer = match function {
        "quantity" => Quantity::parse(text).map(Value::Quantity).map_err(|e| failed(e.to_string())),
        "isQuantity" => Ok(Value::Bool(Quantity::parse(text).is_ok())),
        _ => return None,
    };
    Some(cx.traverse(text.len() as u64, 0.1).and(answer))
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let [Value::Quantity(q), rest @ ..] = values else { return None };
    let zero = Quantity::parse("0").ok()?;
    let whole = |n: i64| Quantity::parse(&n.to_string()).ok();
    let minus = |other: &Quantity| {
        let text = other.to_string();
        let negative = match text.strip_prefix('-') {
            Some(rest) => rest.to_owned(),
            None => format!("-{text}"),
        };
        Quantity::parse(&negative).ok().map(|n| q.plus(&n))
    };
    let number = |order: std::cmp::Ordering| Value::Int(order as i64);
    let answer = match (function, rest) {
        ("isInteger", []) => Value::Bool(q.is_whole()),
        ("asInteger", []) if !q.is_whole() => {
            return Some(Err(failed("cannot convert value to integer")));
        }
        ("asInteger", []) => Value::Int(i64::try_from(q.units()).ok()?),
        #[expect(clippy::cast_precision_loss, reason = "as a double, as precise as that is")]
        ("asApproximateFloat", []) => Value::Double(q.milli() as f64 / 1000.0),
        ("sign", []) => number(q.compare(&zero)),
        ("isGreaterThan", [Value::Quantity(o)]) => Value::Bool(q.compare(o).is_gt()),
        ("isLessThan", [Value::Quantity(o)]) => Value::Bool(q.compare(o).is_lt()),
        ("compareTo", [Value::Quantity(o)]) => number(q.compare(o)),
        ("add", [Value::Quantity(o)]) => Value::Quantity(q.plus(o)),
        ("add", [Value::Int(n)]) => Value::Quantity(q.plus(&whole(*n)?)),
        ("sub", [Value::Quantity(o)]) => Value::Quantity(minus(o)?),
        ("sub", [Value::Int(n)]) => Value::Quantity(minus(&whole(*n)?)?),
        _ => return None,
    };
    Some(cx.spend(1).map(|()| answer))
}
