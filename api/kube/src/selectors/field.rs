//! Field selectors: `spec.nodeName=n1,status.phase!=Failed` over the fields that a kind offers.

use serde_json::{Map, Value};

use super::SelectorError;
use crate::kinds::Kind;

/// All terms must hold; none means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    label: String,
    pointer: &'static str,
    absent: &'static str,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Reads the text of a query parameter for a kind.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let (label, equal, value) = split_term(part).ok_or_else(|| SelectorError::Term {
                selector: text.to_owned(),
                term: part.to_owned(),
            })?;
            let value = unescape(value)?;
            let (pointer, absent) = resolve(kind, label)?;
            terms.push(Term { label: label.to_owned(), pointer, absent, value, equal });
        }
        Ok(FieldSelector { terms })
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a field must have, where the selector says it.
    pub fn required(&self, label: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.label == label).map(|t| t.value.as_str())
    }

    /// The part of an object that selectors of its kind look at: what a cache keeps beside the
    /// object's bytes.
    pub fn trim(kind: &Kind, object: &Value) -> Value {
        let pointers = kind.selectable.iter().flat_map(|s| s.pointer.split('|'));
        let always = ["/metadata/name", "/metadata/namespace", "/metadata/labels"];
        let mut trimmed = Value::Object(Map::new());
        for pointer in always.into_iter().chain(pointers) {
            let Some(value) = object.pointer(pointer) else { continue };
            let mut at = &mut trimmed;
            for part in pointer.split('/').skip(1) {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                at = &mut at[part];
            }
            *at = value.clone();
        }
        trimmed
    }

    /// Whether an object is chosen.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| term.matches(object))
    }
}

impl Term {
    fn matches(&self, object: &Value) -> bool {
        let equal =
            self.pointer.split('|').map(|pointer| object.pointer(pointer)).find_map(|found| {
                match found {
                    None | Some(Value::Null) => None,
                    Some(Value::String(text)) if text.is_empty() => None,
                    Some(Value::String(text)) => Some(*text == self.value),
                    Some(Value::Array(list)) => {
                        let texts: Vec<&str> =
                            list.iter().filter_map(|i| i["ip"].as_str()).collect();
                        Some(texts.join(",") == self.value)
                    }
                    Some(other) => {
                        let text = other.to_string();
                        Some(text == self.value)
                    }
                }
            });
        equal.unwrap_or(self.absent == self.value) == self.equal
    }
}

fn resolve(kind: &Kind, label: &str) -> Result<(&'static str, &'static str), SelectorError> {
    match label {
        "metadata.name" => return Ok(("/metadata/name", "")),
        "metadata.namespace" => return Ok(("/metadata/namespace", "")),
        _ => {}
    }
    match kind.selectable.iter().find(|s| s.label == label) {
        Some(found) => Ok((found.pointer, found.absent)),
        None if kind.selectable.is_empty() && kind.custom.is_none() => {
            Err(SelectorError::OnlyNames(label.to_owned()))
        }
        None => Err(SelectorError::Label(label.to_owned())),
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (label, rest) = term.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((label, false, value));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((label, true, value))
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(SelectorError::Escape(format!("\\{c}"))),
                None => return Err(SelectorError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(SelectorError::Escape(c.to_string())),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    #[test]
    fn fields_of_pods() {
        let kind = kinds::find("", "v1", "pods").expect("pods");
        let pod = json!({
            "metadata": {"name": "a", "namespace": "d"},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running"},
        });
        for (text, wanted) in [
            ("", true),
            ("spec.nodeName=n1", true),
            ("spec.nodeName!=n1", false),
            ("status.phase==Running,metadata.name=a", true),
            ("metadata.name=b", false),
            ("status.nominatedNodeName=", true),
            ("spec.hostNetwork=false", true),
        ] {
            let selector = FieldSelector::parse(kind, text).expect("a selector");
            assert_eq!(selector.matches(&pod), wanted, "{text}");
            assert_eq!(selector.matches(&FieldSelector::trim(kind, &pod)), wanted, "{text}");
        }
        assert_eq!(
            FieldSelector::parse(kind, "spec.foo=1").expect_err("an error").to_string(),
            "field label not supported: spec.foo"
        );
    }

    #[test]
    fn kinds_without_fields_offer_names() {
        let kind = kinds::find("apps", "v1", "deployments").expect("deployments");
        assert_eq!(
            FieldSelector::parse(kind, "spec.x=1").expect_err("an error").to_string(),
            "\"spec.x\" is not a known field selector: only \"metadata.name\", \
             \"metadata.namespace\""
        );
        assert_eq!(
            FieldSelector::parse(kind, "nonsense").expect_err("an error").to_string(),
            "invalid selector: 'nonsense'; can't understand 'nonsense'"
        );
        let selector = FieldSelector::parse(kind, "metadata.name=x").expect("a selector");
        assert_eq!(selector.required("metadata.name"), Some("x"));
    }
}
