//! Texts: the functions of the language and of its string extension.

use super::super::eval::Evaluation;
use super::super::value::{Value, regex};
use super::{Answer, EvalError, count, failed};

pub(super) fn call(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    match (function, values) {
        ("strings.quote", [Value::Text(text)]) => {
            Some(Ok(Value::from(crate::validation::errors::go_quote(text))))
        }
        ("jsonpatch.escapeKey", [Value::Text(text)]) => {
            let escaped = text.replace('~', "~0").replace('/', "~1");
            Some(cx.spend(tenth(text)).map(|()| Value::from(escaped)))
        }
        ("matches", [Value::Text(text), Value::Text(pattern)]) => Some(matches(cx, text, pattern)),
        _ => None,
    }
}

fn matches(cx: &mut Evaluation<'_>, text: &str, pattern: &str) -> Result<Value, EvalError> {
    // One more than the text has, so that an empty text is not free.
    let read = (text.chars().count() as u64 + 1).div_ceil(10);
    cx.spend(read * (pattern.chars().count() as u64).div_ceil(4))?;
    regex(pattern).map(|r| Value::Bool(r.is_match(text))).map_err(failed)
}

/// A tenth of a text's characters, rounded up: what reading it costs.
fn tenth(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(10)
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let [Value::Text(text), rest @ ..] = values else {
        return join(cx, function, values);
    };
    let text: &str = text;
    let read = |cx: &mut Evaluation<'_>| cx.spend(tenth(text));
    let search = |cx: &mut Evaluation<'_>, pattern: &str| {
        let read = (text.chars().count() as u64 + 1).div_ceil(10);
        cx.spend(read * (pattern.chars().count() as u64).div_ceil(4))
    };
    let look = |cx: &mut Evaluation<'_>| cx.spend(text.len() as u64 / 10);
    let read_twice = |cx: &mut Evaluation<'_>| cx.traverse(text.chars().count() as u64, 0.2);
    let answer: Result<Value, EvalError> = match (function, rest) {
        ("startsWith", [Value::Text(p)]) => read(cx).map(|()| Value::Bool(text.starts_with(&**p))),
        ("endsWith", [Value::Text(p)]) => read(cx).map(|()| Value::Bool(text.ends_with(&**p))),
        ("contains", [Value::Text(p)]) => {
            cx.spend(tenth(text) * tenth(p)).map(|()| Value::Bool(text.contains(&**p)))
        }
        ("matches", [Value::Text(p)]) => matches(cx, text, p),
        ("find", [Value::Text(p)]) => search(cx, p).and_then(|()| {
            let found = regex(p).map_err(failed)?.find(text).map_or("", |m| m.as_str());
            Ok(Value::from(found))
        }),
        ("findAll", [Value::Text(p)]) => search(cx, p).and_then(|()| find_all(text, p, None)),
        ("findAll", [Value::Text(p), Value::Int(n)]) => {
            read(cx).and_then(|()| find_all(text, p, Some(*n)))
        }
        ("charAt", [Value::Int(at)]) => cx.spend(1).and_then(|()| char_at(text, *at)),
        ("indexOf", [Value::Text(p)]) => look(cx).map(|()| index_of(text, p, 0)),
        ("indexOf", [Value::Text(p), Value::Int(from)]) => look(cx).and_then(|()| {
            let from = bound(text, *from)?;
            Ok(index_of(text, p, from))
        }),
        ("lastIndexOf", [Value::Text(p)]) => look(cx).map(|()| last_index_of(text, p, usize::MAX)),
        ("lastIndexOf", [Value::Text(p), Value::Int(upto)]) => look(cx).and_then(|()| {
            let upto = bound(text, *upto)?;
            Ok(last_index_of(text, p, upto))
        }),
        ("lowerAscii", []) => read(cx).map(|()| Value::from(text.to_ascii_lowercase())),
        ("upperAscii", []) => read(cx).map(|()| Value::from(text.to_ascii_uppercase())),
        ("trim", []) => read(cx).map(|()| Value::from(text.trim())),
        ("reverse", []) => read(cx).map(|()| Value::from(text.chars().rev().collect::<String>())),
        ("replace", [Value::Text(a), Value::Text(b)]) => {
            read_twice(cx).map(|()| Value::from(text.replace(&**a, b)))
        }
        ("replace", [Value::Text(a), Value::Text(b), Value::Int(n)]) => read_twice(cx).map(|()| {
            Value::from(match usize::try_from(*n) {
                Ok(n) => text.replacen(&**a, b, n),
                Err(_) => text.replace(&**a, b),
            })
        }),
        ("split", [Value::Text(by)]) => read_twice(cx).map(|()| split(text, by, -1)),
        ("split", [Value::Text(by), Value::Int(n)]) => read_twice(cx).map(|()| split(text, by, *n)),
        ("substring", [Value::Int(from)]) => read(cx).and_then(|()| substring(text, *from, None)),
        ("substring", [Value::Int(from), Value::Int(to)]) => {
            read(cx).and_then(|()| substring(text, *from, Some(*to)))
        }
        ("format", [Value::List(values)]) => read(cx).and_then(|()| formatted(text, values)),
        _ => return None,
    };
    Some(answer)
}

fn join(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let (list, by) = match (function, values) {
        ("join", [Value::List(list)]) => (list, ""),
        ("join", [Value::List(list), Value::Text(by)]) => (list, &**by),
        _ => return None,
    };
    let mut parts = Vec::with_capacity(list.len());
    for item in list.iter() {
        let Value::Text(text) = item else { return Some(Err(super::no_overload())) };
        parts.push(&**text);
    }
    let joined = parts.join(by);
    Some(cx.traverse(joined.chars().count() as u64, 0.2).map(|()| Value::from(joined)))
}

fn bound(text: &str, at: i64) -> Result<usize, EvalError> {
    let length = text.chars().count();
    let out = || failed(format!("index out of range: {at}"));
    usize::try_from(at).ok().filter(|at| *at <= length).ok_or_else(out)
}

fn char_at(text: &str, at: i64) -> Result<Value, EvalError> {
    let at = bound(text, at)?;
    Ok(text.chars().nth(at).map_or(Value::from(""), |c| Value::from(c.to_string())))
}

fn index_of(text: &str, part: &str, from: usize) -> Value {
    let start = text.char_indices().nth(from).map_or(text.len(), |(at, _)| at);
    match text[start..].find(part) {
        Some(at) => count(text[..start + at].chars().count() as u64),
        None => Value::Int(-1),
    }
}

fn last_index_of(text: &str, part: &str, upto: usize) -> Value {
    let places = text.char_indices().map(|(at, _)| at).chain([text.len()]).enumerate();
    let found = places.filter(|(n, at)| *n <= upto && text[*at..].starts_with(part)).last();
    found.map_or(Value::Int(-1), |(n, _)| count(n as u64))
}

fn find_all(text: &str, pattern: &str, limit: Option<i64>) -> Result<Value, EvalError> {
    let limit = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let regex = regex(pattern).map_err(failed)?;
    Ok(Value::list(regex.find_iter(text).take(limit).map(|m| Value::from(m.as_str())).collect()))
}

fn split(text: &str, by: &str, limit: i64) -> Value {
    let parts: Vec<String> = match (limit, by) {
        (0, _) => Vec::new(),
        (1, _) => vec![text.to_owned()],
        (n, "") => {
            let chars: Vec<String> = text.chars().map(|c| c.to_string()).collect();
            match usize::try_from(n) {
                Ok(n) if n < chars.len() => {
                    let mut kept = chars[..n - 1].to_vec();
                    kept.push(chars[n - 1..].concat());
                    kept
                }
                _ => chars,
            }
        }
        (n, by) => match usize::try_from(n) {
            Ok(n) => text.splitn(n, by).map(str::to_owned).collect(),
            Err(_) => text.split(by).map(str::to_owned).collect(),
        },
    };
    Value::list(parts.into_iter().map(Value::from).collect())
}

fn substring(text: &str, from: i64, to: Option<i64>) -> Result<Value, EvalError> {
    let start = bound(text, from)?;
    let end = match to {
        Some(to) => bound(text, to)?,
        None => text.chars().count(),
    };
    if start > end {
        return Err(failed(format!("invalid substring range. start: {start}, end: {end}")));
    }
    Ok(Value::from(text.chars().skip(start).take(end - start).collect::<String>()))
}

/// `"%d of %s".format([1, "a"])`.
fn formatted(pattern: &str, values: &[Value]) -> Result<Value, EvalError> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(d) = chars.peek().filter(|c| c.is_ascii_digit()) {
                digits.push(*d);
                chars.next();
            }
            precision = digits.parse::<usize>().ok();
        }
        let verb = chars.next().ok_or_else(|| failed("unexpected end of string"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| failed("index out of range"))?;
        out.push_str(&verb_text(verb, precision, value)?);
    }
    Ok(Value::from(out))
}

fn verb_text(verb: char, precision: Option<usize>, value: &Value) -> Result<String, EvalError> {
    let wrong =
        || failed(format!("error during formatting: %{verb} does not take {}", value.type_name()));
    Ok(match (verb, value) {
        ('s', value) => plain(value),
        ('d', Value::Int(n)) => n.to_string(),
        ('d', Value::Uint(n)) => n.to_string(),
        ('d', Value::Double(n)) if n.fract() == 0.0 => format!("{n:.0}"),
        ('f', value) => {
            let number = value.as_double().ok_or_else(wrong)?;
            format!("{number:.*}", precision.unwrap_or(6))
        }
        ('e', value) => {
            let number = value.as_double().ok_or_else(wrong)?;
            let text = format!("{number:.*e}", precision.unwrap_or(6));
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        ('b', Value::Int(n)) if *n < 0 => format!("-{:b}", n.unsigned_abs()),
        ('b', Value::Int(n)) => format!("{n:b}"),
        ('b', Value::Uint(n)) => format!("{n:b}"),
        ('b', Value::Bool(v)) => u8::from(*v).to_string(),
        ('o', Value::Int(n)) => format!("{n:o}"),
        ('o', Value::Uint(n)) => format!("{n:o}"),
        ('x', Value::Int(n)) => format!("{n:x}"),
        ('x', Value::Uint(n)) => format!("{n:x}"),
        ('x', Value::Text(t)) => hex::encode(t.as_bytes()),
        ('x', Value::Bytes(b)) => hex::encode(b),
        ('X', Value::Int(n)) => format!("{n:X}"),
        ('X', Value::Uint(n)) => format!("{n:X}"),
        ('X', Value::Text(t)) => hex::encode_upper(t.as_bytes()),
        ('X', Value::Bytes(b)) => hex::encode_upper(b),
        _ => return Err(wrong()),
    })
}

/// A value as `%s` prints it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Null => "null".to_owned(),
        Value::Bool(v) => v.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => crate::custom::go_float(*n),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Type(name) => name.to_string(),
        Value::Timestamp(t) => t.to_string(),
        Value::Duration(n) => super::time::duration_text(*n),
        Value::List(items) => {
            let all: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Map(map) => {
            let mut all: Vec<String> =
                map.entries().iter().map(|(k, v)| format!("{}: {}", plain(k), plain(v))).collect();
            all.sort();
            format!("{{{}}}", all.join(", "))
        }
        Value::Quantity(q) => q.to_string(),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(net) => net.to_string(),
        other => other.type_name().to_owned(),
    }
}
