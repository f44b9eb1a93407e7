//! Checking values against a schema, in the words of the API server.
//!
//! What an update leaves as it was is not held against it: a value that breaks a rule and equals
//! the old one is passed over.
// upstream: kube-openapi, pkg/validation/validate; apiextensions-apiserver, pkg/apiserver/validation

use serde_json::{Map, Number, Value};

use super::correlate::{at_index, at_key};
use super::formats;
use super::schema::{Additional, Checks, Schema};
use crate::validation::Errors;

/// What is wrong with a value; `path` is where it stands in the object, empty for all of it.
pub(crate) fn check(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Errors,
) {
    let mut found = Found::default();
    visit(schema, value, old, path, &mut found);
    for problem in found.problems {
        problem.report(errors);
    }
}

/// What a pass found, and how much of it was in order.
#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    /// Chooses among failed alternatives.
    matched: usize,
}

impl Found {
    fn merge(&mut self, other: Found) {
        self.problems.extend(other.problems);
        self.matched += other.matched;
    }
}

struct Problem {
    path: String,
    what: What,
}

enum What {
    Required,
    Enum(Value, Vec<String>),
    TooLong(usize),
    TooMany(usize, usize),
    Type(Value, String),
    Invalid(Value, String),
    /// Said of the whole object, without a path.
    Composite(String),
}

impl Problem {
    fn report(self, errors: &mut Errors) {
        let path = self.path.trim_start_matches('.').to_owned();
        let path = if path.is_empty() { "<nil>".to_owned() } else { path };
        match self.what {
            What::Required => errors.required(path, ""),
            What::Enum(value, known) => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                errors.value_not_supported(path, value, &known);
            }
            What::TooLong(max) => errors.too_long(path, max),
            What::TooMany(actual, max) => errors.too_many(path, actual, max),
            What::Type(value, why) => errors.wrong_type(path, value, &why),
            What::Invalid(value, why) => errors.invalid(path, value, &why),
            What::Composite(why) => errors.invalid("<nil>", "", &why),
        }
    }
}

fn visit(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, into: &mut Found) {
    let mut found = Found::default();
    values(schema, value, old, path, &mut found);
    if !found.problems.is_empty() && old == Some(value) {
        found.problems.clear();
    }
    into.merge(found);
}

/// Runs the checks in the order in which upstream reports them.
fn values(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, found: &mut Found) {
    let mut at = Place { path, found };
    at.check_type(schema, value);
    let Some(checks) = schema.checks.as_deref() else {
        at.check_below(schema, value, old, None);
        at.found.matched += 1;
        return;
    };
    if value.is_null() {
        at.check_enum(checks, value);
        return;
    }
    at.check_alternatives(checks, value, old);
    match value {
        Value::String(text) => {
            at.check_text(checks, text);
            let of_text = matches!(schema.kind.as_str(), "" | "string");
            if of_text && !checks.format.is_empty() && !formats::holds(&checks.format, text) {
                let why = format!("{path} in body must be of type {}: {text:?}", checks.format);
                at.add(What::Type(value.clone(), why));
            }
        }
        Value::Number(number) => at.check_number(schema, checks, number),
        _ => {}
    }
    if matches!(value, Value::Array(_)) {
        at.check_below(schema, value, old, Some(checks));
    }
    at.check_enum(checks, value);
    if matches!(value, Value::Object(_)) {
        at.check_below(schema, value, old, Some(checks));
    }
    at.found.matched += 1;
}

struct Place<'a> {
    path: &'a str,
    found: &'a mut Found,
}

impl Place<'_> {
    fn add(&mut self, what: What) {
        self.found.problems.push(Problem { path: self.path.to_owned(), what });
    }

    fn fail(&mut self, value: &Value, why: &str) {
        let path = self.path;
        self.add(What::Invalid(value.clone(), format!("{path} in body {why}")));
    }

    fn composite(&mut self, why: &str) {
        let path = self.path;
        self.add(What::Composite(format!("{path:?} {why}")));
    }

    fn check_type(&mut self, schema: &Schema, value: &Value) {
        let wanted = if schema.int_or_string { "integer,string" } else { schema.kind.as_str() };
        let is = type_of(value);
        let fits = match wanted {
            "" => true,
            _ if value.is_null() => schema.nullable,
            "integer,string" => is == "string" || is_whole(value),
            "integer" => is_whole(value),
            "number" => value.is_number(),
            wanted => wanted == is,
        };
        if fits {
            self.found.matched += 1;
        } else {
            let path = self.path;
            let why = format!("{path} in body must be of type {wanted}: {is:?}");
            self.add(What::Type(Value::from(is), why));
        }
    }

    fn check_enum(&mut self, checks: &Checks, value: &Value) {
        let Some(known) = &checks.values else { return };
        if known.iter().any(|k| equal(k, value)) {
            self.found.matched += 1;
            return;
        }
        let shown = known.iter().map(|k| match k {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        self.add(What::Enum(value.clone(), shown.collect()));
    }

    fn check_text(&mut self, checks: &Checks, text: &str) {
        let length = || text.chars().count() as u64;
        let value = Value::from(text);
        if let Some(max) = checks.max_length.filter(|max| length() > *max) {
            self.add(What::TooLong(usize::try_from(max).unwrap_or(usize::MAX)));
        } else if let Some(min) = checks.min_length.filter(|min| length() < *min) {
            self.fail(&value, &format!("should be at least {min} chars long"));
        } else if let Some(pattern) = checks.pattern.as_ref().filter(|p| !p.matches(text)) {
            self.fail(&value, &format!("should match '{}'", pattern.text));
        } else {
            self.found.matched += 1;
        }
    }

    fn check_number(&mut self, schema: &Schema, checks: &Checks, number: &Number) {
        let value = Value::Number(number.clone());
        let amount = number.as_f64().unwrap_or(f64::NAN);
        if let Some(out) = out_of_range(schema, checks, number) {
            self.add(What::Composite(format!(
                "Checked value must be of type {} with format {}",
                out.0, out.1
            )));
        }
        let bound =
            |limit: f64| if number.is_f64() { go_float(limit) } else { format!("{limit:.0}") };
        if let Some(factor) = checks.multiple_of {
            let times = amount / factor;
            if factor > 0.0 && (times - times.round()).abs() > f64::EPSILON * times.abs().max(1.0) {
                self.fail(&value, &format!("should be a multiple of {}", go_float(factor)));
            }
        }
        if let Some(min) = checks.minimum {
            if checks.exclusive_minimum && amount <= min {
                self.fail(&value, &format!("should be greater than {}", bound(min)));
            } else if amount < min {
                self.fail(&value, &format!("should be greater than or equal to {}", bound(min)));
            }
        }
        if let Some(max) = checks.maximum {
            if checks.exclusive_maximum && amount >= max {
                self.fail(&value, &format!("should be less than {}", bound(max)));
            } else if amount > max {
                self.fail(&value, &format!("should be less than or equal to {}", bound(max)));
            }
        }
        self.found.matched += 1;
    }

    fn check_below(
        &mut self,
        schema: &Schema,
        value: &Value,
        old: Option<&Value>,
        checks: Option<&Checks>,
    ) {
        match value {
            Value::Array(items) => self.check_items(schema, items, old, checks),
            Value::Object(fields) => self.check_fields(schema, fields, old, checks),
            _ => {}
        }
    }

    fn check_items(
        &mut self,
        schema: &Schema,
        items: &[Value],
        old: Option<&Value>,
        checks: Option<&Checks>,
    ) {
        if let Some(below) = schema.items.as_deref() {
            for (at, item) in items.iter().enumerate() {
                let old = at_index(schema, old, item);
                visit(below, item, old, &format!("{}[{at}]", self.path), self.found);
            }
        }
        let Some(checks) = checks else { return };
        let count = items.len() as u64;
        if let Some(min) = checks.min_items.filter(|min| count < *min) {
            let value = Value::from(count);
            self.fail(&value, &format!("should have at least {min} items"));
        }
        if let Some(max) = checks.max_items.filter(|max| count > *max) {
            self.add(What::TooMany(items.len(), usize::try_from(max).unwrap_or(usize::MAX)));
        }
        self.found.matched += 1;
    }

    fn check_fields(
        &mut self,
        schema: &Schema,
        fields: &Map<String, Value>,
        old: Option<&Value>,
        checks: Option<&Checks>,
    ) {
        if let Some(checks) = checks {
            let count = fields.len() as u64;
            if let Some(min) = checks.min_properties.filter(|min| count < *min) {
                self.fail(&Value::from(count), &format!("should have at least {min} properties"));
            }
            if let Some(max) = checks.max_properties.filter(|max| count > *max) {
                self.add(What::TooMany(fields.len(), usize::try_from(max).unwrap_or(usize::MAX)));
            }
        }
        for (name, value) in fields {
            let below = match (schema.properties.get(name), &schema.additional) {
                (Some(below), _) => below,
                (None, Some(Additional::Of(below))) => below,
                (None, Some(Additional::Any) | None) => continue,
            };
            let path = match self.path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            visit(below, value, at_key(schema, old, name), &path, self.found);
        }
        for name in checks.into_iter().flat_map(|c| &c.required) {
            if !fields.contains_key(name) {
                let path = format!("{}.{name}", self.path);
                self.found.problems.push(Problem { path, what: What::Required });
            }
        }
        self.found.matched += 1;
    }

    fn check_alternatives(&mut self, checks: &Checks, value: &Value, old: Option<&Value>) {
        let path = self.path.to_owned();
        let run = |schema: &Schema| {
            let mut found = Found::default();
            values(schema, value, old, &path, &mut found);
            found
        };
        if !checks.any_of.is_empty() {
            let mut best: Option<Found> = None;
            let mut good = None;
            for schema in &checks.any_of {
                let found = run(schema);
                if found.problems.is_empty() {
                    good = Some(found);
                    break;
                }
                if best.as_ref().is_none_or(|b| found.matched > b.matched) {
                    best = Some(found);
                }
            }
            match good {
                Some(found) => self.found.merge(found),
                None => {
                    self.composite("must validate at least one schema (anyOf)");
                    self.found.merge(best.unwrap_or_default());
                }
            }
        }
        if !checks.one_of.is_empty() {
            let mut best: Option<Found> = None;
            let mut good = Vec::new();
            for schema in &checks.one_of {
                let found = run(schema);
                if found.problems.is_empty() {
                    good.push(found);
                } else if good.is_empty() && best.as_ref().is_none_or(|b| found.matched > b.matched)
                {
                    best = Some(found);
                }
            }
            match good.len() {
                1 => self.found.merge(good.remove(0)),
                0 => {
                    self.composite(
                        "must validate one and only one schema (oneOf). Found none valid",
                    );
                    self.found.merge(best.unwrap_or_default());
                }
                many => self.composite(&format!(
                    "must validate one and only one schema (oneOf). Found {many} valid alternatives"
                )),
            }
        }
        if !checks.all_of.is_empty() {
            let mut valid = 0;
            for schema in &checks.all_of {
                let found = run(schema);
                valid += usize::from(found.problems.is_empty());
                self.found.merge(found);
            }
            if valid == 0 {
                self.composite("must validate all the schemas (allOf). None validated");
            } else if valid < checks.all_of.len() {
                self.composite("must validate all the schemas (allOf)");
            }
        }
        if let Some(not) = &checks.not
            && run(not).problems.is_empty()
        {
            self.composite("must not validate the schema (not)");
        }
        self.found.matched += 1;
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_whole(value: &Value) -> bool {
    let Value::Number(number) = value else { return false };
    !number.is_f64() || number.as_f64().is_some_and(|f| f.fract() == 0.0)
}

/// Equal as JSON numbers are: 1 and 1.0 are the same.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// The type and format whose range a number leaves.
fn out_of_range<'a>(
    schema: &'a Schema,
    checks: &'a Checks,
    number: &Number,
) -> Option<(&'a str, &'a str)> {
    let whole = number.as_i64();
    let float = number.as_f64().unwrap_or(f64::INFINITY);
    let out = match (schema.kind.as_str(), checks.format.as_str()) {
        ("integer", "int32") => whole.map_or(float.fract() == 0.0, |n| i32::try_from(n).is_err()),
        ("integer", "int64") => whole.is_none() && float.fract() == 0.0 && float.abs() >= 9.3e18,
        ("number", "float") => float.abs() > f64::from(f32::MAX),
        _ => false,
    };
    out.then_some((schema.kind.as_str(), checks.format.as_str()))
}

/// A number as Go's %v prints it.
pub(crate) fn go_float(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(schema: Value, value: Value, old: Option<Value>) -> Vec<String> {
        let mut errors = Errors::default();
        check(&Schema::of(&schema), &value, old.as_ref(), "", &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    fn spec(fields: Value) -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": fields,
            "required": ["must"]}}})
    }

    #[test]
    fn texts_are_those_of_the_api_server() {
        let schema = spec(json!({
            "must": {"type": "integer"}, "x": {"type": "integer", "minimum": 1, "maximum": 10},
            "s": {"type": "string", "maxLength": 3, "minLength": 2, "pattern": "^a"},
            "e": {"type": "string", "enum": ["A", "B"]},
            "l": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
            "d": {"type": "string", "format": "date-time"},
            "p": {"x-kubernetes-int-or-string": true},
            "m": {"type": "object", "additionalProperties": {"type": "boolean"}},
        }));
        for (given, wanted) in [
            (json!({}), vec!["spec.must: Required value"]),
            (
                json!({"must": "string"}),
                vec![
                    "spec.must: Invalid value: \"string\": spec.must in body must be of type integer: \"string\"",
                ],
            ),
            (
                json!({"must": 1, "x": 11}),
                vec![
                    "spec.x: Invalid value: 11: spec.x in body should be less than or equal to 10",
                ],
            ),
            (
                json!({"must": 1, "x": 0}),
                vec![
                    "spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1",
                ],
            ),
            (
                json!({"must": 1.5}),
                vec![
                    "spec.must: Invalid value: \"number\": spec.must in body must be of type integer: \"number\"",
                ],
            ),
            (
                json!({"must": 1, "s": "abcd"}),
                vec!["spec.s: Too long: may not be more than 3 bytes"],
            ),
            (
                json!({"must": 1, "s": "a"}),
                vec![
                    "spec.s: Invalid value: \"a\": spec.s in body should be at least 2 chars long",
                ],
            ),
            (
                json!({"must": 1, "s": "bb"}),
                vec!["spec.s: Invalid value: \"bb\": spec.s in body should match '^a'"],
            ),
            (
                json!({"must": 1, "e": "C"}),
                vec!["spec.e: Unsupported value: \"C\": supported values: \"A\", \"B\""],
            ),
            (
                json!({"must": 1, "l": ["a", 1]}),
                vec![
                    "spec.l[1]: Invalid value: \"integer\": spec.l[1] in body must be of type string: \"integer\"",
                    "spec.l: Too many: 2: must have at most 1 items",
                ],
            ),
            (
                json!({"must": 1, "d": "abc"}),
                vec![
                    "spec.d: Invalid value: \"abc\": spec.d in body must be of type date-time: \"abc\"",
                ],
            ),
            (
                json!({"must": 1, "p": true}),
                vec![
                    "spec.p: Invalid value: \"boolean\": spec.p in body must be of type integer,string: \"boolean\"",
                ],
            ),
            (
                json!({"must": 1, "m": {"k": 1}}),
                vec![
                    "spec.m.k: Invalid value: \"integer\": spec.m.k in body must be of type boolean: \"integer\"",
                ],
            ),
        ] {
            assert_eq!(texts(schema.clone(), json!({"spec": given}), None), wanted);
        }
    }

    #[test]
    fn alternatives_say_which_failed_least() {
        let schema = json!({"type": "object", "properties": {"a": {}, "b": {}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert_eq!(
            texts(schema.clone(), json!({}), None),
            [
                "<nil>: Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found none valid",
                "a: Required value"
            ]
        );
        assert_eq!(
            texts(schema.clone(), json!({"a": 1, "b": 1}), None),
            [
                "<nil>: Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
            ]
        );
        assert!(texts(schema, json!({"a": 1}), None).is_empty());
    }

    #[test]
    fn what_was_wrong_before_stays_allowed() {
        let schema = spec(
            json!({"must": {"type": "integer", "maximum": 5}, "x": {"type": "string"},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}}}}),
        );
        let old = json!({"spec": {"must": 9, "x": "a", "l": [{"n": "a", "v": "bad"}]}});
        let mut new = old.clone();
        new["spec"]["x"] = json!("b");
        new["spec"]["l"] = json!([{"n": "b", "v": 1}, {"n": "a", "v": "bad"}]);
        assert!(texts(schema.clone(), new.clone(), Some(old.clone())).is_empty());
        new["spec"]["must"] = json!(8);
        assert_eq!(texts(schema, new, Some(old)).len(), 1);
    }

    #[test]
    fn floats_are_printed_as_go_does() {
        assert_eq!([go_float(10.0), go_float(0.5), go_float(1e6)], ["10", "0.5", "1e+06"]);
    }
}
