//! Lists and sets.

use super::super::eval::Evaluation;
use super::super::value::Value;
use super::{Answer, EvalError, failed, no_overload};

pub(super) fn call(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let answer = match (function, values) {
        ("sets.contains", [Value::List(a), Value::List(b)]) => {
            pairs(cx, a, b).map(|()| Value::Bool(b.iter().all(|i| a.contains(i))))
        }
        ("sets.intersects", [Value::List(a), Value::List(b)]) => {
            pairs(cx, a, b).map(|()| Value::Bool(b.iter().any(|i| a.contains(i))))
        }
        ("sets.equivalent", [Value::List(a), Value::List(b)]) => cx
            .spend((a.len() as u64).saturating_mul(b.len() as u64))
            .and_then(|()| pairs(cx, a, b))
            .map(|()| {
                Value::Bool(a.iter().all(|i| b.contains(i)) && b.iter().all(|i| a.contains(i)))
            }),
        ("lists.range", [Value::Int(n)]) => {
            let n = (*n).max(0);
            cx.spend(n.unsigned_abs()).map(|()| Value::list((0..n).map(Value::Int).collect()))
        }
        ("math.greatest" | "math.least", values) => math(function == "math.greatest", values),
        ("math.abs", [Value::Int(n)]) => {
            n.checked_abs().map(Value::Int).ok_or_else(|| failed("integer overflow"))
        }
        ("math.abs", [Value::Double(n)]) => Ok(Value::Double(n.abs())),
        ("math.sign", [Value::Int(n)]) => Ok(Value::Int(n.signum())),
        ("math.ceil", [Value::Double(n)]) => Ok(Value::Double(n.ceil())),
        ("math.floor", [Value::Double(n)]) => Ok(Value::Double(n.floor())),
        ("math.round", [Value::Double(n)]) => Ok(Value::Double(n.round())),
        ("math.trunc", [Value::Double(n)]) => Ok(Value::Double(n.trunc())),
        ("math.sqrt", [n]) => {
            n.as_double().map(|n| Value::Double(n.sqrt())).ok_or_else(no_overload)
        }
        ("math.isNaN", [Value::Double(n)]) => Ok(Value::Bool(n.is_nan())),
        ("math.isInf", [Value::Double(n)]) => Ok(Value::Bool(n.is_infinite())),
        ("math.isFinite", [Value::Double(n)]) => Ok(Value::Bool(n.is_finite())),
        _ => return None,
    };
    Some(answer)
}

fn pairs(cx: &mut Evaluation<'_>, a: &[Value], b: &[Value]) -> Result<(), EvalError> {
    cx.spend((a.len() as u64).saturating_mul(b.len() as u64).saturating_add(1))
}

fn math(greatest: bool, values: &[Value]) -> Result<Value, EvalError> {
    let items: &[Value] = match values {
        [Value::List(items)] => items,
        values => values,
    };
    let mut best =
        items.first().cloned().ok_or_else(|| failed("math function of an empty list"))?;
    for item in &items[1..] {
        let order = item.compare(&best).ok_or_else(no_overload)?;
        if if greatest { order.is_gt() } else { order.is_lt() } {
            best = item.clone();
        }
    }
    Ok(best)
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let [Value::List(items), rest @ ..] = values else { return None };
    let size = items.len() as u64;
    let answer = match (function, rest) {
        ("isSorted", []) => {
            let sorted = items.windows(2).map(|w| w[0].compare(&w[1])).collect::<Option<Vec<_>>>();
            sorted.map(|all| Value::Bool(all.iter().all(|o| o.is_le()))).ok_or_else(no_overload)
        }
        ("sum", []) => sum(items),
        ("min" | "max", []) => extreme(items, function == "max"),
        ("indexOf", [item]) => Ok(place(items.iter().position(|i| i == item))),
        ("lastIndexOf", [item]) => Ok(place(items.iter().rposition(|i| i == item))),
        ("reverse", []) => Ok(Value::list(items.iter().rev().cloned().collect())),
        ("distinct", []) => {
            let mut seen: Vec<Value> = Vec::new();
            for item in items.iter() {
                if !seen.contains(item) {
                    seen.push(item.clone());
                }
            }
            Ok(Value::list(seen))
        }
        ("first", []) => Ok(Value::optional(items.first().cloned())),
        ("last", []) => Ok(Value::optional(items.last().cloned())),
        ("sort", []) => {
            let mut sorted = items.to_vec();
            sorted.sort_by(|a, b| a.compare(b).unwrap_or(std::cmp::Ordering::Equal));
            Ok(Value::list(sorted))
        }
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let at = |n: i64| usize::try_from(n).ok().filter(|n| *n <= items.len());
            match (at(*from), at(*to)) {
                (Some(a), Some(b)) if a <= b => Ok(Value::list(items[a..b].to_vec())),
                _ => Err(failed(format!("cannot slice({from}, {to}), list is length {size}"))),
            }
        }
        ("flatten", []) => Ok(Value::list(flat(items, 1))),
        ("flatten", [Value::Int(depth)]) => Ok(Value::list(flat(items, *depth))),
        _ => return None,
    };
    Some(cx.spend(size).and(answer))
}

fn flat(items: &[Value], depth: i64) -> Vec<Value> {
    let mut all = Vec::new();
    for item in items {
        match item {
            Value::List(inner) if depth > 0 => all.extend(flat(inner, depth - 1)),
            other => all.push(other.clone()),
        }
    }
    all
}

fn place(at: Option<usize>) -> Value {
    Value::Int(at.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1))
}

fn sum(items: &[Value]) -> Result<Value, EvalError> {
    let overflow = || failed("integer overflow");
    let Some(first) = items.first() else { return Ok(Value::Int(0)) };
    items[1..].iter().try_fold(first.clone(), |total, item| match (&total, item) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => a.checked_add(*b).map(Value::Uint).ok_or_else(overflow),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(overflow)
        }
        _ => Err(no_overload()),
    })
}

fn extreme(items: &[Value], max: bool) -> Result<Value, EvalError> {
    let word = if max { "max" } else { "min" };
    let first = items.first().ok_or_else(|| failed(format!("{word} called on empty list")))?;
    items.iter().try_fold(first.clone(), |best, item| {
        let order = item.compare(&best).ok_or_else(no_overload)?;
        Ok(if if max { order.is_gt() } else { order.is_lt() } { item.clone() } else { best })
    })
}
