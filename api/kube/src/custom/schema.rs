//! A structural schema: the shape of a custom resource, read once from its definition.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Value, json};

use super::rules::Programs;

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Each item once.
    Set,
    /// Items are told apart by their keys.
    Map,
}

/// What values beside the named properties may be.
#[derive(Debug, Clone)]
pub(crate) enum Additional {
    /// Anything: a boolean says no more.
    Any,
    /// Values of this shape.
    Of(Box<Schema>),
}

/// One node of a schema.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schema {
    /// `type`; empty where there is none.
    pub(crate) kind: String,
    pub(crate) nullable: bool,
    pub(crate) preserves_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) int_or_string: bool,
    pub(crate) list: ListType,
    pub(crate) keys: Vec<String>,
    pub(crate) atomic_map: bool,
    pub(crate) default: Option<Value>,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) additional: Option<Additional>,
    /// Conditions on the value; None where there are none.
    pub(crate) checks: Option<Box<Checks>>,
    /// `x-kubernetes-validations`.
    pub(crate) rules: Vec<Rule>,
    pub(crate) programs: Programs,
}

/// Conditions on a value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    pub(crate) format: String,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) required: Vec<String>,
    pub(crate) values: Option<Vec<Value>>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

/// A regular expression, compiled when it is first matched.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        Pattern { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// Whether a text matches; what cannot be compiled matches nothing.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| Regex::new(&self.text).ok());
        compiled.as_ref().is_some_and(|r| r.is_match(text))
    }
}

/// One validation rule in CEL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) rule: String,
    pub(crate) message: String,
    pub(crate) message_expression: String,
    pub(crate) reason: Option<String>,
    pub(crate) field_path: String,
    pub(crate) optional_old_self: Option<bool>,
}

impl Rule {
    /// The rule as messages show it.
    pub(crate) fn shown(&self) -> Value {
        json!({"rule": self.rule})
    }

    fn of(value: &Value) -> Self {
        Rule {
            rule: text(value, "rule"),
            message: text(value, "message"),
            message_expression: text(value, "messageExpression"),
            reason: value["reason"].as_str().map(str::to_owned),
            field_path: text(value, "fieldPath"),
            optional_old_self: value["optionalOldSelf"].as_bool(),
        }
    }
}

impl Schema {
    /// Reads an `openAPIV3Schema` or a part of it.
    pub(crate) fn of(value: &Value) -> Self {
        let properties = value["properties"].as_object();
        let additional = match value.get("additionalProperties") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(_)) => Some(Additional::Any),
            Some(schema) => Some(Additional::Of(Box::new(Schema::of(schema)))),
        };
        Schema {
            kind: text(value, "type"),
            nullable: flag(value, "nullable"),
            preserves_unknown: flag(value, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(value, "x-kubernetes-embedded-resource"),
            int_or_string: flag(value, "x-kubernetes-int-or-string"),
            list: match value["x-kubernetes-list-type"].as_str() {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map,
                _ => ListType::Atomic,
            },
            keys: texts(&value["x-kubernetes-list-map-keys"]),
            atomic_map: value["x-kubernetes-map-type"] == "atomic",
            default: value.get("default").filter(|d| !d.is_null()).cloned(),
            properties: properties
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), Schema::of(schema)))
                .collect(),
            items: value.get("items").filter(|i| i.is_object()).map(|i| Box::new(Schema::of(i))),
            additional,
            checks: Checks::of(value),
            programs: Programs::default(),
            rules: list(&value["x-kubernetes-validations"]).map(Rule::of).collect(),
        }
    }

    /// The schema of a field of an object, if one is known.
    pub(crate) fn field(&self, name: &str) -> Option<&Schema> {
        match (self.properties.get(name), &self.additional) {
            (Some(schema), _) => Some(schema),
            (None, Some(Additional::Of(schema))) => Some(schema),
            (None, _) => None,
        }
    }

    /// Whether values below may differ from what was sent: some field has a default.
    pub(crate) fn has_defaults(&self) -> bool {
        self.default.is_some()
            || self.properties.values().any(Schema::has_defaults)
            || self.items.as_ref().is_some_and(|i| i.has_defaults())
            || matches!(&self.additional, Some(Additional::Of(s)) if s.has_defaults())
    }
}

impl Checks {
    fn of(value: &Value) -> Option<Box<Self>> {
        const NAMES: &[&str] = &[
            "format",
            "maximum",
            "minimum",
            "maxLength",
            "minLength",
            "pattern",
            "maxItems",
            "minItems",
            "multipleOf",
            "maxProperties",
            "minProperties",
            "required",
            "enum",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !NAMES.iter().any(|name| value.get(name).is_some_and(|v| !v.is_null())) {
            return None;
        }
        let count = |name: &str| value[name].as_u64();
        let all = |name: &str| list(&value[name]).map(Schema::of).collect();
        Some(Box::new(Checks {
            format: text(value, "format"),
            maximum: value["maximum"].as_f64(),
            exclusive_maximum: flag(value, "exclusiveMaximum"),
            minimum: value["minimum"].as_f64(),
            exclusive_minimum: flag(value, "exclusiveMinimum"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: value["pattern"].as_str().filter(|p| !p.is_empty()).map(Pattern::new),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            multiple_of: value["multipleOf"].as_f64(),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: texts(&value["required"]),
            values: value["enum"].as_array().cloned(),
            all_of: all("allOf"),
            any_of: all("anyOf"),
            one_of: all("oneOf"),
            not: value.get("not").filter(|n| n.is_object()).map(|n| Box::new(Schema::of(n))),
        }))
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or(false)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
