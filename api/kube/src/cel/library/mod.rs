//! Functions: those of the language, its extensions, and those of Kubernetes.
//!
//! Each file knows its functions by name and by the types of what they are called with, and
//! answers None to what is not its own.

mod format;
mod lists;
mod net;
mod operators;
mod quantity;
pub(crate) mod semver;
mod strings;
mod time;
pub(crate) mod url;

use super::EvalError;
use super::eval::Evaluation;
use super::value::Value;

type Answer = Option<Result<Value, EvalError>>;

/// Functions of a namespace, called as if on a variable of its name.
const NAMESPACED: &[(&str, &[&str])] = &[
    ("optional", &["of", "none", "ofNonZeroValue"]),
    ("sets", &["contains", "equivalent", "intersects"]),
    (
        "math",
        &[
            "greatest", "least", "ceil", "floor", "round", "trunc", "abs", "sign", "isNaN",
            "isInf", "isFinite", "sqrt",
        ],
    ),
    ("ip", &["isCanonical"]),
    ("format", &["named"]),
    ("format", format::NAMES),
    ("lists", &["range"]),
    ("jsonpatch", &["escapeKey"]),
    ("strings", &["quote"]),
];

/// Whether `name.function(…)` is a function of a namespace.
pub(super) fn is_namespaced(name: &str, function: &str) -> bool {
    NAMESPACED.iter().any(|(n, all)| *n == name && all.contains(&function))
}

/// A function that is not called on a value.
pub(super) fn call(
    cx: &mut Evaluation<'_>,
    function: &str,
    values: &[Value],
) -> Result<Value, EvalError> {
    operators::call(cx, function, values)
        .or_else(|| lists::call(cx, function, values))
        .or_else(|| time::convert(cx, function, values))
        .or_else(|| net::call(cx, function, values))
        .or_else(|| quantity::call(cx, function, values))
        .or_else(|| semver::call(cx, function, values))
        .or_else(|| url::call(cx, function, values))
        .or_else(|| format::call(cx, function, values))
        .or_else(|| strings::call(cx, function, values))
        .unwrap_or_else(|| Err(no_overload()))
}

/// A function that is called on the first of the values.
pub(super) fn call_member(
    cx: &mut Evaluation<'_>,
    function: &str,
    values: &[Value],
) -> Result<Value, EvalError> {
    strings::member(cx, function, values)
        .or_else(|| lists::member(cx, function, values))
        .or_else(|| time::member(cx, function, values))
        .or_else(|| net::member(cx, function, values))
        .or_else(|| quantity::member(cx, function, values))
        .or_else(|| semver::member(cx, function, values))
        .or_else(|| url::member(cx, function, values))
        .or_else(|| format::member(cx, function, values))
        .or_else(|| operators::member(cx, function, values))
        .unwrap_or_else(|| Err(no_overload()))
}

/// A value as a text.
pub(super) fn shown(value: &Value) -> String {
    strings::plain(value)
}

fn no_overload() -> EvalError {
    EvalError::Failed("no such overload".to_owned())
}

fn failed(text: impl Into<String>) -> EvalError {
    EvalError::Failed(text.into())
}

/// A count as a number of the language.
fn count(n: u64) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}
