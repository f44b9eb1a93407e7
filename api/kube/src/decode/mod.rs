//! From bytes to objects: JSON and YAML read against the table of facts.
//!
//! One pass builds the value, drops what the type does not have (and says so), drops nulls, brings
//! quantities and times into their canonical form and refuses wrong types in Kubernetes' words.

mod custom;
mod error;
pub mod quantity;
mod scalar;
mod texts;
mod typed;

use std::borrow::Cow;

use serde::de::DeserializeSeed;
use serde_json::Value;

pub(crate) use custom::metadata;
pub use error::DecodeError;

use crate::facts::{Type, facts};
use crate::kinds::Kind;
use texts::{json_text, summary, yaml_text};
use typed::{Root, State};

/// An object and what its type has no place for.
#[derive(Debug, Clone, Default)]
pub struct Decoded {
    /// The object, with apiVersion and kind set.
    pub value: Value,
    /// Paths of fields that the type does not have.
    pub unknown_fields: Vec<String>,
    /// Paths of fields that came twice; the last one counts.
    pub duplicate_fields: Vec<String>,
    /// Both, as `unknown field "spec.x"`, in the order of the document: one warning each.
    pub warnings: Vec<String>,
}

impl Decoded {
    /// What strict validation refuses and other validation warns of: one text each.
    pub fn problems(&self) -> &[String] {
        &self.warnings
    }

    /// The text of strict validation's refusal, if it refuses.
    pub fn strict_error(&self, kind: &str, version: &str) -> Option<String> {
        if self.warnings.is_empty() {
            return None;
        }
        let problems = self.warnings.join(", ");
        Some(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: \
             {problems}"
        ))
    }
}

/// Reads an object of a kind. `media` is the Content-Type, with or without parameters.
pub fn object(kind: &Kind, bytes: &[u8], media: &str) -> Result<Decoded, DecodeError> {
    if let Some(served) = kind.served() {
        return custom::object(kind, &served, bytes, media);
    }
    typed(kind.schema, (kind.group, kind.version, kind.kind), bytes, media)
}

/// Reads a body of a type of the table of facts, such as a subresource's; `expected` is its group,
/// version and kind.
pub fn typed(
    schema: &str,
    expected: (&str, &str, &str),
    bytes: &[u8],
    media: &str,
) -> Result<Decoded, DecodeError> {
    let root = facts().find(schema).ok_or_else(|| DecodeError::NoType(schema.to_owned()))?;
    let mut state = State::default();
    let read = match format_of(media)? {
        Format::Json => read_json(Some(root), bytes, &mut state),
        Format::Yaml => read_yaml(Some(root), bytes, &mut state),
    };
    finish(read, state, expected, bytes)
}

/// Checks a value that was made here, such as a patch's result, like one that was sent.
pub fn value(kind: &Kind, value: Value) -> Result<Decoded, DecodeError> {
    if let Some(served) = kind.served() {
        return custom::value(kind, &served, value);
    }
    let schema = kind.schema;
    let root = facts().find(schema).ok_or_else(|| DecodeError::NoType(schema.to_owned()))?;
    let mut state = State::default();
    let read = Root { ty: Some(root), state: &mut state }
        .deserialize(value)
        .map_err(|e| Broken { text: e.to_string(), syntax: false });
    finish(read, state, (kind.group, kind.version, kind.kind), b"")
}

/// Reads any JSON or YAML without a type.
pub fn untyped(bytes: &[u8], media: &str) -> Result<Value, DecodeError> {
    let result = match format_of(media)? {
        Format::Json => serde_json::from_slice(bytes).map_err(|e| json_text(bytes, &e)),
        Format::Yaml => serde_saphyr::from_slice(bytes).map_err(|e| yaml_text(&e)),
    };
    result.map_err(|text| DecodeError::Syntax { text, summary: summary(bytes) })
}

enum Format {
    Json,
    Yaml,
}

/// Why reading stopped: in the text, or because the type refused.
struct Broken {
    text: String,
    syntax: bool,
}

fn format_of(media: &str) -> Result<Format, DecodeError> {
    let name = media.split(';').next().unwrap_or_default().trim();
    match name {
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Format::Yaml),
        other => Err(DecodeError::UnsupportedMedia(other.to_owned())),
    }
}

/// Reads JSON as a type, or as anything.
fn read_json(
    root: Option<&'static Type>,
    bytes: &[u8],
    state: &mut State,
) -> Result<Value, Broken> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Root { ty: root, state }.deserialize(&mut reader).and_then(|value| {
        reader.end()?;
        Ok(value)
    });
    read.map_err(|e| Broken { text: json_text(bytes, &e), syntax: !e.is_data() })
}

/// Reads YAML as a type, or as anything.
fn read_yaml(
    root: Option<&'static Type>,
    bytes: &[u8],
    state: &mut State,
) -> Result<Value, Broken> {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::PassThrough;
    serde_saphyr::with_deserializer_from_slice_with_options(bytes, options, |reader| {
        Root { ty: root, state }.deserialize(reader)
    })
    .map_err(|e| Broken { text: yaml_text(&e), syntax: true })
}

fn finish(
    read: Result<Value, Broken>,
    state: State,
    (group, version, kind): (&str, &str, &str),
    bytes: &[u8],
) -> Result<Decoded, DecodeError> {
    let mut value = match (read, state.refused) {
        (Ok(value), _) => value,
        (Err(_), Some(why)) => {
            let found = (kind.to_owned(), version.to_owned());
            return Err(DecodeError::WrongType { found, expected: kind.to_owned(), why });
        }
        (Err(broken), None) => {
            let text = match broken.syntax {
                true => format!("couldn't get version/kind; json parse error: {}", broken.text),
                false => broken.text,
            };
            let (expected, summary) = (kind.to_owned(), summary(bytes));
            return Err(DecodeError::Unrecognized { expected, text, summary });
        }
    };
    set_identity(&mut value, group, version, kind)?;
    Ok(Decoded {
        value,
        unknown_fields: state.unknown,
        duplicate_fields: state.duplicate,
        warnings: state.warnings,
    })
}

/// Checks apiVersion and kind, and fills them in where they are missing.
fn set_identity(
    value: &mut Value,
    group: &str,
    version: &str,
    kind: &str,
) -> Result<(), DecodeError> {
    let wanted = match group {
        "" => Cow::Borrowed(version),
        group => Cow::Owned(format!("{group}/{version}")),
    };
    let text = |name: &str| value[name].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let (found_version, found_kind) = (text("apiVersion"), text("kind"));
    if let Some(found) = &found_kind
        && found != kind
    {
        let at = found_version.as_deref().unwrap_or(&wanted);
        let why = format!(
            "converting ({}.{found}) to ({}.{kind}): unknown conversion",
            go_package(at),
            go_package(&wanted)
        );
        let version = at.rsplit('/').next().unwrap_or(at).to_owned();
        let found = (found.clone(), version);
        return Err(DecodeError::WrongType { found, expected: kind.to_owned(), why });
    }
    if let Some(found) = &found_version
        && *found != wanted
    {
        return Err(DecodeError::OtherVersion {
            found: found.clone(),
            wanted: wanted.into_owned(),
        });
    }
    if let Some(fields) = value.as_object_mut() {
        if found_version.is_none() {
            fields.insert("apiVersion".to_owned(), wanted.into());
        }
        if found_kind.is_none() {
            fields.insert("kind".to_owned(), kind.into());
        }
    }
    Ok(())
}

fn go_package(api_version: &str) -> &str {
    match api_version.split_once('/') {
        Some((group, _)) => group.split('.').next().unwrap_or_default(),
        None => api_version,
    }
}

#[cfg(test)]
mod tests;
