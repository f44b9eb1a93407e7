//! Objects of custom kinds: read without a type, then against the schema of their definition.

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::typed::{Root, State};
use super::{Broken, DecodeError, Decoded, Format, finish, format_of, read_json, read_yaml};
use crate::custom::{self, Served};
use crate::facts::facts;
use crate::kinds::Kind;

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Reads an object that was sent.
pub(super) fn object(
    kind: &Kind,
    served: &Served,
    bytes: &[u8],
    media: &str,
) -> Result<Decoded, DecodeError> {
    let mut state = State::default();
    let read = match format_of(media)? {
        Format::Json => read_json(None, bytes, &mut state),
        Format::Yaml => read_yaml(None, bytes, &mut state),
    };
    let read = read.and_then(|value| match value {
        Value::Object(_) => Ok(value),
        other => {
            let text = no_object(&other);
            Err(Broken { text, syntax: true })
        }
    });
    if let Ok(value) = &read {
        for (field, word) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
            if value[field].as_str().unwrap_or_default().is_empty() {
                let body = String::from_utf8_lossy(bytes);
                let text = format!("Object '{word}' is missing in '{}'", body.trim_end());
                return Err(DecodeError::Plain(text));
            }
        }
    }
    let whole = finish(read, state, (kind.group, kind.version, kind.kind), bytes)?;
    shaped(kind, served, whole)
}

/// Checks a value that was made here, such as a patch's result.
pub(super) fn value(kind: &Kind, served: &Served, value: Value) -> Result<Decoded, DecodeError> {
    if !value.is_object() {
        return Err(DecodeError::Plain(no_object(&value)));
    }
    let whole = finish(Ok(value), State::default(), (kind.group, kind.version, kind.kind), b"")?;
    shaped(kind, served, whole)
}

fn shaped(kind: &Kind, served: &Served, mut whole: Decoded) -> Result<Decoded, DecodeError> {
    let refuse = |why: String| DecodeError::WrongType {
        found: (kind.kind.to_owned(), kind.version.to_owned()),
        expected: kind.kind.to_owned(),
        why,
    };
    let given = whole.value["metadata"].take();
    let (given, unknown) = metadata(given, "metadata").map_err(refuse)?;
    whole.value["metadata"] = given;
    let gone = custom::decoded(served, &mut whole.value).map_err(refuse)?;
    for path in unknown.into_iter().chain(gone) {
        whole.warnings.push(format!("unknown field {path:?}"));
        whole.unknown_fields.push(path);
    }
    Ok(whole)
}

/// Reads metadata, at this path of an object; answers it and the paths that it has no place for.
pub(crate) fn metadata(value: Value, path: &str) -> Result<(Value, Vec<String>), String> {
    let ty = facts().find(METADATA).ok_or("no type of metadata")?;
    if value.is_null() {
        return Ok((Value::Object(serde_json::Map::new()), Vec::new()));
    }
    let mut state = State::below(path);
    let read = Root { ty: Some(ty), state: &mut state }.deserialize(value);
    match (read, state.refused) {
        (Ok(value), _) => Ok((value, state.unknown)),
        (Err(_), Some(why)) => Err(why),
        (Err(error), None) => Err(error.to_string()),
    }
}

fn no_object(value: &Value) -> String {
    format!(
        "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
        go_name(value)
    )
}

fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
