//! Validation rules: compiled once a definition, run on what was written.
// upstream: apiextensions-apiserver, pkg/apiserver/schema/cel

use std::sync::OnceLock;

use serde_json::Value as Json;

use super::correlate::{at_index, at_key};
use super::lists::child;
use super::schema::{Additional, Rule, Schema};
use super::typed::{entries_max, items_max, type_of, value_of};
use crate::cel::{EvalError, Program, Type, Value, Variables};
use crate::validation::Errors;

/// What one rule may cost, and all rules of one object.
const CALL_MAX: u64 = 1_000_000;
const OBJECT_MAX: u64 = 10_000_000;
/// What a rule may cost by its text and its schema, and all rules of a schema.
const ESTIMATE_MAX: u64 = 10_000_000;
const ESTIMATES_MAX: u64 = 100_000_000;
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// A rule that was compiled.
#[derive(Debug, Clone)]
struct Compiled {
    rule: Result<Program, String>,
    message: Option<Result<Program, String>>,
    uses_old: bool,
}

/// The rules of one node, compiled when they are first needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs(OnceLock<Vec<Compiled>>);

impl Programs {
    fn get(&self, schema: &Schema, rules: &[Rule], root: bool) -> &[Compiled] {
        self.0.get_or_init(|| {
            let own = type_of(schema, root);
            rules.iter().map(|rule| compile(rule, &own)).collect()
        })
    }
}

fn compile(rule: &Rule, own: &Type) -> Compiled {
    let old = match rule.optional_old_self {
        Some(true) => Type::Optional(std::sync::Arc::new(own.clone())),
        _ => own.clone(),
    };
    let variables = [("self", own.clone()), ("oldSelf", old)];
    let compiled = Program::compile(&rule.rule, &variables)
        .map_err(|e| format!("compilation failed: {e}"))
        .and_then(|program| match program.gives {
            Type::Bool | Type::Dyn => Ok(program),
            _ => Err("cel expression must evaluate to a bool".to_owned()),
        });
    let message = (!rule.message_expression.trim().is_empty()).then(|| {
        Program::compile(&rule.message_expression, &variables)
            .map_err(|e| format!("messageExpression compilation failed: {e}"))
            .and_then(|program| match program.gives {
                Type::Text(_) | Type::Dyn => Ok(program),
                _ => Err("messageExpression must evaluate to a string".to_owned()),
            })
    });
    let uses_old = compiled.as_ref().is_ok_and(|p| p.uses("oldSelf"));
    Compiled { rule: compiled, message, uses_old }
}

/// Whether any rule stands in a schema.
pub(crate) fn has_rules(schema: &Schema) -> bool {
    !schema.rules.is_empty()
        || schema.properties.values().any(has_rules)
        || schema.items.as_deref().is_some_and(has_rules)
        || matches!(&schema.additional, Some(Additional::Of(s)) if has_rules(s))
        || schema.checks.iter().flat_map(|c| &c.all_of).any(has_rules)
}

/// Runs the rules on an object, new or changed.
pub(crate) fn check(schema: &Schema, value: &Json, old: Option<&Json>, errors: &mut Errors) {
    let mut run = Run { left: OBJECT_MAX, over: false, errors };
    run.visit(Spot { schema, shape: schema, root: true }, value, old, Ratchet::start(old), "");
}

/// Runs the rules below one field of an object.
pub(crate) fn check_part(
    schema: &Schema,
    value: &Json,
    old: Option<&Json>,
    path: &str,
    errors: &mut Errors,
) {
    let mut run = Run { left: OBJECT_MAX, over: false, errors };
    run.visit(Spot { schema, shape: schema, root: false }, value, old, Ratchet::start(old), path);
}

/// What an unchanged value is known by.
#[derive(Clone, Copy)]
struct Ratchet<'v> {
    /// The old value that stands for this one.
    own: Option<&'v Json>,
    /// The nearest value above that has an old one is as it was.
    parent_same: bool,
}

impl<'v> Ratchet<'v> {
    fn start(old: Option<&'v Json>) -> Self {
        Ratchet { own: old, parent_same: false }
    }

    fn forgives(self, value: &Json) -> bool {
        match self.own {
            Some(old) => old == value,
            None => self.parent_same,
        }
    }

    fn below(self, value: &Json, own: Option<&'v Json>) -> Self {
        match self.own {
            None => self,
            Some(old) => Ratchet { own, parent_same: old == value },
        }
    }
}

/// A schema with rules, and the one that says how values look (they differ inside `allOf`).
#[derive(Clone, Copy)]
struct Spot<'s> {
    schema: &'s Schema,
    shape: &'s Schema,
    root: bool,
}

struct Run<'e> {
    left: u64,
    over: bool,
    errors: &'e mut Errors,
}

impl Run<'_> {
    fn visit(
        &mut self,
        at: Spot<'_>,
        value: &Json,
        old: Option<&Json>,
        ratchet: Ratchet<'_>,
        path: &str,
    ) {
        if self.over || value.is_null() {
            return;
        }
        self.run(at, value, old, ratchet, path);
        for all in at.schema.checks.iter().flat_map(|c| &c.all_of) {
            let inner = Ratchet { own: None, parent_same: ratchet.parent_same };
            self.visit(Spot { schema: all, ..at }, value, old, inner, path);
        }
        match value {
            Json::Array(items) => {
                let (Some(schema), Some(shape)) = (&at.schema.items, &at.shape.items) else {
                    return;
                };
                if !has_rules(schema) {
                    return;
                }
                for (index, item) in items.iter().enumerate() {
                    let was = at_index(at.shape, old, item);
                    let spot = Spot { schema, shape, root: false };
                    let path = format!("{path}[{index}]");
                    self.visit(spot, item, was, ratchet.below(value, was), &path);
                }
            }
            Json::Object(fields) => {
                for (name, item) in fields {
                    let (Some(schema), Some(shape)) = (at.schema.field(name), at.shape.field(name))
                    else {
                        continue;
                    };
                    if !has_rules(schema) {
                        continue;
                    }
                    let was = at_key(at.shape, old, name);
                    let path = match at.shape.properties.contains_key(name) {
                        true => child(path, name),
                        false => format!("{path}[{name}]"),
                    };
                    let spot = Spot { schema, shape, root: false };
                    self.visit(spot, item, was, ratchet.below(value, was), &path);
                }
            }
            _ => {}
        }
    }

    fn run(
        &mut self,
        at: Spot<'_>,
        value: &Json,
        old: Option<&Json>,
        ratchet: Ratchet<'_>,
        path: &str,
    ) {
        let rules = &at.schema.rules;
        if rules.is_empty() {
            return;
        }
        let shown = if path.is_empty() { "<nil>" } else { path };
        let kind = at.shape.kind.as_str();
        let own = value_of(at.shape, value, at.root);
        let was = old.filter(|o| !o.is_null()).map(|o| value_of(at.shape, o, at.root));
        let compiled = at.schema.programs.get(at.shape, rules, at.root);
        for (rule, compiled) in rules.iter().zip(compiled) {
            let program = match &compiled.rule {
                Ok(program) => program,
                Err(why) => {
                    self.errors.invalid(shown, kind, &format!("rule compile error: {why}"));
                    continue;
                }
            };
            let optional = rule.optional_old_self == Some(true);
            if compiled.uses_old && was.is_none() && !optional {
                continue;
            }
            let mut variables = Variables::default().with("self", own.clone());
            if optional {
                variables = variables.with("oldSelf", Value::optional(was.clone()));
            } else if let Some(was) = &was {
                variables = variables.with("oldSelf", was.clone());
            }
            let (result, spent) = program.run(&variables, CALL_MAX.min(self.left));
            let text = if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() };
            let Some(left) = self.left.checked_sub(spent) else {
                self.errors.invalid(shown, kind, "validation failed due to running out of cost budget, no further validation rules will be run");
                self.over = true;
                return;
            };
            self.left = left;
            match result {
                Ok(Value::Bool(true)) => continue,
                Ok(_) => {}
                Err(EvalError::Budget) => {
                    let why = format!(
                        "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {text}",
                        EvalError::Budget
                    );
                    self.errors.invalid(shown, kind, &why);
                    self.over = true;
                    return;
                }
                Err(EvalError::Failed(why)) if why.starts_with("no such overload") => {
                    let why = format!(
                        "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {text}"
                    );
                    self.errors.invalid(shown, kind, &why);
                    continue;
                }
                Err(EvalError::Failed(why)) => {
                    self.errors.invalid(shown, kind, &format!("{why} evaluating rule: {text}"));
                    continue;
                }
            }
            if !compiled.uses_old && ratchet.forgives(value) {
                continue;
            }
            let message = self.message(compiled, &variables).unwrap_or_else(|| {
                if rule.message.is_empty() {
                    format!("failed rule: {text}")
                } else {
                    text.to_owned()
                }
            });
            let place = match rule.field_path.trim() {
                "" => shown.to_owned(),
                below if below.starts_with('[') => format!("{path}{below}"),
                below => child(path, below.trim_start_matches('.')),
            };
            match rule.reason.as_deref() {
                Some("FieldValueForbidden") => self.errors.forbidden(place, &message),
                Some("FieldValueRequired") => self.errors.required(place, &message),
                Some("FieldValueDuplicate") => self.errors.duplicate(place, value.clone()),
                _ if matches!(kind, "object" | "array") => {
                    self.errors.invalid_plain(place, &message)
                }
                _ => self.errors.invalid(place, value.clone(), &message),
            }
        }
    }

    /// What the rule's expression for a message says, if it says anything of use.
    fn message(&mut self, compiled: &Compiled, variables: &Variables) -> Option<String> {
        let program = compiled.message.as_ref()?.as_ref().ok()?;
        let (result, spent) = program.run(variables, CALL_MAX.min(self.left));
        self.left = self.left.saturating_sub(spent);
        let Ok(Value::Text(text)) = result else { return None };
        let text = text.trim();
        let fine =
            !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains(['\n', '\r']);
        fine.then(|| text.to_owned())
    }
}

/// What is wrong with the rules of a definition's schema.
pub(crate) fn check_definition(schema: &Schema, path: &str, errors: &mut Errors) {
    let mut estimate = Estimate { total: 0, errors };
    estimate.visit(schema, path, true, 1, None);
    let total = estimate.total;
    if total > ESTIMATES_MAX {
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path, &over_budget(what, total, ESTIMATES_MAX));
    }
}

struct Estimate<'e> {
    total: u64,
    errors: &'e mut Errors,
}

impl Estimate<'_> {
    /// `times`: how often the node may be there in one object. `fixed`: the path within which old
    /// values cannot be found.
    fn visit(&mut self, schema: &Schema, path: &str, root: bool, times: u64, fixed: Option<&str>) {
        self.rules(schema, path, root, times, fixed);
        let inside = if schema.atomic_map { fixed.or(Some(path)) } else { fixed };
        for (name, below) in &schema.properties {
            self.visit(below, &format!("{path}.properties[{name}]"), false, times, inside);
        }
        if let Some(items) = schema.items.as_deref() {
            let keyed = schema.list == super::ListType::Map;
            let inside = if keyed { fixed } else { fixed.or(Some(path)) };
            let times = times.saturating_mul(items_max(schema, items));
            self.visit(items, &format!("{path}.items"), false, times, inside);
        }
        if let Some(Additional::Of(values)) = &schema.additional {
            let times = times.saturating_mul(entries_max(schema, values));
            self.visit(values, &format!("{path}.additionalProperties"), false, times, fixed);
        }
    }

    fn rules(&mut self, schema: &Schema, path: &str, root: bool, times: u64, fixed: Option<&str>) {
        if schema.rules.is_empty() {
            return;
        }
        let before = self.errors.len();
        for (at, rule) in schema.rules.iter().enumerate() {
            self.texts(rule, &format!("{path}.x-kubernetes-validations[{at}]"));
        }
        if self.errors.len() > before {
            return;
        }
        let compiled = schema.programs.get(schema, &schema.rules, root);
        for (at, (rule, compiled)) in schema.rules.iter().zip(compiled).enumerate() {
            let path = format!("{path}.x-kubernetes-validations[{at}]");
            match &compiled.rule {
                Err(why) => {
                    self.errors.invalid(format!("{path}.rule"), rule.shown(), why);
                }
                Ok(program) => {
                    self.cost("estimated rule cost", program, times, format!("{path}.rule"))
                }
            }
            match &compiled.message {
                Some(Err(why)) => {
                    self.errors.invalid(format!("{path}.messageExpression"), rule.shown(), why);
                }
                Some(Ok(program)) => {
                    let place = format!("{path}.messageExpression");
                    self.cost("estimated messageExpression cost", program, times, place);
                }
                None => {}
            }
            if compiled.uses_old {
                if let Some(fixed) = fixed {
                    let why = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within {fixed}"
                    );
                    self.errors.invalid(format!("{path}.rule"), rule.rule.as_str(), &why);
                }
            } else if let Some(optional) = rule.optional_old_self.filter(|_| compiled.rule.is_ok())
            {
                let why = "may not be set if oldSelf is not used in rule";
                self.errors.invalid(format!("{path}.optionalOldSelf"), optional, why);
            }
        }
    }

    fn cost(&mut self, what: &str, program: &Program, times: u64, path: String) {
        let cost = program.cost_max.saturating_mul(times);
        self.total = self.total.saturating_add(cost);
        if cost > ESTIMATE_MAX {
            self.errors.forbidden(path, &over_budget(what, cost, ESTIMATE_MAX));
        }
    }

    fn texts(&mut self, rule: &Rule, path: &str) {
        let lines = |text: &str| text.contains(['\n', '\r']);
        let message = rule.message.trim();
        if rule.rule.trim().is_empty() {
            self.errors.required(format!("{path}.rule"), "rule is not specified");
        } else if !rule.message.is_empty() && message.is_empty() {
            let why = "must be non-empty if specified";
            self.errors.invalid(format!("{path}.message"), rule.message.as_str(), why);
        } else if lines(message) {
            let why = "must not contain line breaks";
            self.errors.invalid(format!("{path}.message"), rule.message.as_str(), why);
        } else if lines(rule.rule.trim()) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            self.errors.required(format!("{path}.message"), why);
        }
        if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            self.errors.required(format!("{path}.messageExpression"), why);
        }
        if let Some(reason) = rule.reason.as_deref().filter(|r| !REASONS.contains(r)) {
            self.errors.not_supported(format!("{path}.reason"), reason, REASONS);
        }
        if !rule.field_path.is_empty() && rule.field_path.trim().is_empty() {
            let why = "must be non-empty if specified";
            self.errors.invalid(format!("{path}.fieldPath"), rule.field_path.as_str(), why);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a digit or two")]
fn over_budget(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(schema: &Json, value: Json, old: Option<Json>) -> Vec<String> {
        let mut errors = Errors::default();
        check(&Schema::of(schema), &value, old.as_ref(), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    fn definition(schema: &Json) -> Vec<String> {
        let mut errors = Errors::default();
        check_definition(&Schema::of(schema), "s", &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    fn spec(fields: Json, rules: Json) -> Json {
        json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": fields, "x-kubernetes-validations": rules}}})
    }

    #[test]
    fn rules_say_what_is_wrong() {
        let schema = spec(
            json!({"min": {"type": "integer"}, "max": {"type": "integer"},
                "name": {"type": "string", "maxLength": 10,
                    "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed"}]}}),
            json!([
                {"rule": "self.min <= self.max"},
                {"rule": "self.max < 10", "messageExpression": "'max is ' + string(self.max)",
                    "reason": "FieldValueForbidden", "fieldPath": ".max"},
            ]),
        );
        assert!(definition(&schema).is_empty(), "{:?}", definition(&schema));
        assert!(texts(&schema, json!({"spec": {"min": 1, "max": 2}}), None).is_empty());
        assert_eq!(
            texts(&schema, json!({"spec": {"min": 20, "max": 12}}), None),
            [
                "spec: Invalid value: failed rule: self.min <= self.max",
                "spec.max: Forbidden: max is 12"
            ]
        );
        let old = json!({"spec": {"min": 1, "max": 2, "name": "a"}});
        let new = json!({"spec": {"min": 1, "max": 2, "name": "b"}});
        assert_eq!(
            texts(&schema, new, Some(old.clone())),
            ["spec.name: Invalid value: \"b\": fixed"]
        );
        assert!(texts(&schema, old.clone(), Some(old)).is_empty());
    }

    #[test]
    fn what_broke_a_rule_before_stays() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5"}]},
            "b": {"type": "integer"}}});
        let old = json!({"a": 9, "b": 1});
        assert!(texts(&schema, json!({"a": 9, "b": 2}), Some(old.clone())).is_empty());
        assert_eq!(texts(&schema, json!({"a": 8, "b": 2}), Some(old)).len(), 1);
    }

    #[test]
    fn old_values_may_be_optional() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer",
            "x-kubernetes-validations": [
                {"rule": "oldSelf.optMap(o, o <= self).orValue(self == 1)", "optionalOldSelf": true}]}}});
        assert!(definition(&schema).is_empty(), "{:?}", definition(&schema));
        assert!(texts(&schema, json!({"a": 1}), None).is_empty());
        assert_eq!(texts(&schema, json!({"a": 2}), None).len(), 1);
        assert_eq!(texts(&schema, json!({"a": 2}), Some(json!({"a": 3}))).len(), 1);
    }

    #[test]
    fn definitions_are_refused_for_rules_that_do_not_fit_or_cost_too_much() {
        let wrong = spec(
            json!({"a": {"type": "integer"}}),
            json!([{"rule": "self.b == 1"}, {"rule": "self.a"}]),
        );
        let found = definition(&wrong);
        assert!(found[0].contains("undefined field 'b'"), "{found:?}");
        assert!(found[1].ends_with("cel expression must evaluate to a bool"), "{found:?}");
        let costly = spec(
            json!({"l": {"type": "array", "items": {"type": "string"}}}),
            json!([{"rule": "self.l.all(x, self.l.all(y, x == y))"}]),
        );
        let found = definition(&costly);
        assert!(
            found[0].starts_with("s.properties[spec].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"),
            "{found:?}"
        );
        let old = json!({"type": "object", "properties": {"l": {"type": "array", "maxItems": 2,
            "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}});
        assert!(definition(&old)[0].contains("oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[l]"));
    }
}
