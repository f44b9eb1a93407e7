//! Named formats: `format.dns1123Label().validate("a_b")`.

use super::super::eval::Evaluation;
use super::super::value::Value;
use super::Answer;
use crate::custom::holds_format;
use crate::validation::names;

/// Formats, each a function of the namespace too.
pub(super) const NAMES: &[&str] = &[
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

pub(super) fn call(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let name = function.strip_prefix("format.")?;
    let answer = match (name, values) {
        ("named", [Value::Text(name)]) => {
            let known = NAMES.contains(&&**name);
            Value::optional(known.then(|| Value::Format(name.clone())))
        }
        (name, []) if NAMES.contains(&name) => Value::Format(name.into()),
        _ => return None,
    };
    Some(cx.spend(1).map(|()| answer))
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let ("validate", [Value::Format(name), Value::Text(text)]) = (function, values) else {
        return None;
    };
    let wrong = problems(name, text);
    let answer = match wrong.is_empty() {
        true => Value::Optional(None),
        false => {
            let texts = wrong.into_iter().map(Value::from).collect();
            Value::optional(Some(Value::list(texts)))
        }
    };
    Some(cx.traverse(text.len() as u64, 0.1).map(|()| answer))
}

fn problems(name: &str, text: &str) -> Vec<String> {
    let masked = || format!("{}a", text.strip_suffix('-').unwrap_or(text));
    let of_format = |format: &str, why: &str| match holds_format(format, text) {
        true => Vec::new(),
        false => vec![why.to_owned()],
    };
    match name {
        "dns1123Label" => names::label(text),
        "dns1123LabelPrefix" => names::label(&masked()),
        "dns1123Subdomain" => names::subdomain(text),
        "dns1123SubdomainPrefix" => names::subdomain(&masked()),
        "dns1035Label" => names::label_1035(text),
        "dns1035LabelPrefix" => names::label_1035(&masked()),
        "qualifiedName" => names::qualified(text),
        "labelValue" => names::label_value(text),
        "uri" => of_format("uri", "invalid URI for request"),
        "uuid" => of_format("uuid", "does not match the UUID format"),
        "byte" => of_format("byte", "invalid base64"),
        "date" => of_format("date", "invalid date"),
        _ => of_format("datetime", "invalid datetime"),
    }
}
