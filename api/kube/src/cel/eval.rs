//! Evaluation: what an expression is, and what it cost to find out.
// upstream: CEL language definition, "Evaluation"; cel-go, interpreter/runtimecost.go

use std::collections::BTreeMap;

use super::EvalError;
use super::ast::{Expr, Kind, Loop, Node};
use super::library;
use super::value::Value;

/// Variables of an expression.
#[derive(Debug, Default, Clone)]
pub(crate) struct Variables(BTreeMap<String, Value>);

impl Variables {
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }
}

/// One evaluation.
pub(crate) struct Evaluation<'a> {
    variables: &'a Variables,
    /// Variables of macros, the innermost last.
    locals: Vec<(String, Value)>,
    /// What may still be spent.
    budget: u64,
    pub(crate) spent: u64,
}

type Evaluated = Result<Value, EvalError>;

fn error(text: impl Into<String>) -> EvalError {
    EvalError::Failed(text.into())
}

/// What the parts of costs are, as upstream counts them.
const TRAVERSE: f64 = 0.1;

impl<'a> Evaluation<'a> {
    pub(crate) fn new(variables: &'a Variables, budget: u64) -> Self {
        Evaluation { variables, locals: Vec::new(), budget, spent: 0 }
    }

    /// Counts a cost.
    pub(crate) fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.budget { Err(EvalError::Budget) } else { Ok(()) }
    }

    /// Counts the reading of texts or lists of this size.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "costs are small and positive"
    )]
    pub(crate) fn traverse(&mut self, size: u64, factor: f64) -> Result<(), EvalError> {
        self.spend((size as f64 * factor).ceil() as u64)
    }

    pub(crate) fn run(&mut self, expr: &Expr) -> Evaluated {
        match &expr.node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Ident(name) => self.variable(name),
            Node::Select { of, field, optional } => {
                let value = match self.qualified(expr) {
                    Some(value) => return Ok(value),
                    None => self.run(of)?,
                };
                self.spend(1)?;
                select(&value, field, *optional)
            }
            Node::Has { of, field } => {
                // Looking is free; getting to the place is not.
                let value = self.run(of)?;
                match &value {
                    Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
                    Value::Optional(None) => Ok(Value::Bool(false)),
                    Value::Optional(Some(inner)) => Ok(Value::Bool(
                        matches!(&**inner, Value::Map(m) if m.field(field).is_some()),
                    )),
                    other => Err(error(format!(
                        "type '{}' does not support field selection",
                        other.type_name()
                    ))),
                }
            }
            Node::Call { function, target, arguments } => {
                self.call(function, target.as_deref(), arguments)
            }
            Node::List(items) => {
                if !is_constant(expr) {
                    self.spend(10)?;
                }
                let mut all = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    match (self.run(item)?, optional) {
                        (Value::Optional(inner), true) => all.extend(inner.map(|v| (*v).clone())),
                        (value, _) => all.push(value),
                    }
                }
                Ok(Value::list(all))
            }
            Node::Map(entries) => {
                if !is_constant(expr) {
                    self.spend(30)?;
                }
                let mut all = Vec::with_capacity(entries.len());
                for (key, value, optional) in entries {
                    let key = self.run(key)?;
                    match (self.run(value)?, optional) {
                        (Value::Optional(inner), true) => {
                            all.extend(inner.map(|v| (key.clone(), (*v).clone())));
                        }
                        (value, _) => all.push((key, value)),
                    }
                }
                Ok(Value::map(all))
            }
            Node::Object(_, fields) => {
                self.spend(40)?;
                let mut all = Vec::with_capacity(fields.len());
                for (field, value, optional) in fields {
                    match (self.run(value)?, optional) {
                        (Value::Optional(inner), true) => {
                            all.extend(inner.map(|v| (Value::from(field.as_str()), (*v).clone())));
                        }
                        (value, _) => all.push((Value::from(field.as_str()), value)),
                    }
                }
                Ok(Value::map(all))
            }
            Node::Loop(l) => self.run_loop(l),
            Node::Bind { name, value, body } => {
                let value = self.run(value)?;
                self.scoped(vec![(name.clone(), value)], body)
            }
        }
    }

    /// `a.b.c` as the name of a variable or type.
    fn qualified(&self, expr: &Expr) -> Option<Value> {
        fn path(expr: &Expr) -> Option<String> {
            match &expr.node {
                Node::Ident(name) => Some(name.clone()),
                Node::Select { of, field, optional: false } => {
                    Some(format!("{}.{field}", path(of)?))
                }
                _ => None,
            }
        }
        let name = path(expr)?;
        matches!(
            name.as_str(),
            "google.protobuf.Duration"
                | "google.protobuf.Timestamp"
                | "kubernetes.Quantity"
                | "kubernetes.URL"
                | "kubernetes.Semver"
                | "net.IP"
                | "net.CIDR"
                | "kubernetes.NamedFormat"
        )
        .then(|| Value::Type(name.into()))
    }

    fn variable(&mut self, name: &str) -> Evaluated {
        self.spend(1)?;
        if let Some((_, value)) = self.locals.iter().rev().find(|(n, _)| n == name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.variables.0.get(name) {
            return Ok(value.clone());
        }
        match name {
            "bool" | "int" | "uint" | "double" | "string" | "bytes" | "list" | "map"
            | "null_type" | "type" | "optional_type" => Ok(Value::Type(name.into())),
            _ => Err(error(format!("no such attribute(s): {name}"))),
        }
    }

    fn scoped(&mut self, locals: Vec<(String, Value)>, body: &Expr) -> Evaluated {
        let before = self.locals.len();
        self.locals.extend(locals);
        let result = self.run(body);
        self.locals.truncate(before);
        result
    }

    fn call(&mut self, function: &str, target: Option<&Expr>, arguments: &[Expr]) -> Evaluated {
        match (function, arguments) {
            ("_&&_", [a, b]) => return self.logic(a, b, false),
            ("_||_", [a, b]) => return self.logic(a, b, true),
            ("_?_:_", [condition, yes, no]) => {
                return match self.run(condition)? {
                    Value::Bool(true) => self.run(yes),
                    Value::Bool(false) => self.run(no),
                    _ => Err(error("no such overload")),
                };
            }
            ("or" | "orValue", [other]) if target.is_some() => {
                let Some(target) = target else { return Err(error("no such overload")) };
                let Value::Optional(inner) = self.run(target)? else {
                    return Err(error("no such overload"));
                };
                self.spend(1)?;
                return match (inner, function) {
                    (Some(value), "orValue") => Ok((*value).clone()),
                    (Some(value), _) => Ok(Value::Optional(Some(value))),
                    (None, _) => self.run(other),
                };
            }
            _ => {}
        }
        match (function, arguments) {
            // What is constant was worked out before.
            (
                "int" | "uint" | "double" | "bool" | "bytes" | "string" | "duration" | "timestamp",
                [Expr { node: Node::Literal(value), .. }],
            ) if target.is_none() => {
                let before = self.spent;
                let made = library::call(self, function, std::slice::from_ref(value));
                self.spent = before;
                return made;
            }
            ("@in", [item, list]) if is_constant(list) => {
                let item = self.run(item)?;
                let list = self.run(list)?;
                let before = self.spent;
                let made = library::call(self, function, &[item, list]);
                self.spent = before;
                return made;
            }
            // A name in brackets is part of the step.
            ("_[_]", [of, Expr { node: Node::Ident(name), .. }]) => {
                let of = self.run(of)?;
                let before = self.spent;
                let at = self.variable(name)?;
                self.spent = before;
                return library::call(self, function, &[of, at]);
            }
            _ => {}
        }
        if let Some(name) = target.and_then(namespace)
            && library::is_namespaced(name, function)
        {
            let values = self.values(arguments)?;
            return library::call(self, &format!("{name}.{function}"), &values);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        if let Some(target) = target {
            values.push(self.run(target)?);
        }
        values.extend(self.values(arguments)?);
        if target.is_some() {
            library::call_member(self, function, &values)
        } else {
            library::call(self, function, &values)
        }
    }

    fn values(&mut self, exprs: &[Expr]) -> Result<Vec<Value>, EvalError> {
        exprs.iter().map(|e| self.run(e)).collect()
    }

    /// `&&` and `||`: either side may decide alone, whatever the other one is.
    fn logic(&mut self, a: &Expr, b: &Expr, decides: bool) -> Evaluated {
        let left = self.run(a);
        if matches!(&left, Ok(Value::Bool(v)) if *v == decides) {
            return Ok(Value::Bool(decides));
        }
        if matches!(left, Err(EvalError::Budget)) {
            return left;
        }
        let right = self.run(b);
        if matches!(&right, Ok(Value::Bool(v)) if *v == decides) {
            return Ok(Value::Bool(decides));
        }
        match (left, right) {
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decides)),
            (Err(e), _) => Err(e),
            (_, Err(e)) => Err(e),
            _ => Err(error("no such overload")),
        }
    }

    fn run_loop(&mut self, l: &Loop) -> Evaluated {
        let range = self.run(&l.range)?;
        if let Kind::Optional { flat } = l.kind {
            let Value::Optional(inner) = range else { return Err(error("no such overload")) };
            let Some(value) = inner else { return Ok(Value::Optional(None)) };
            let made = self.scoped(vec![(l.first.clone(), (*value).clone())], &l.step)?;
            return Ok(if flat { made } else { Value::optional(Some(made)) });
        }
        // Each item as (index or key, value).
        let items: Vec<(Value, Value)> = match &range {
            Value::List(items) => {
                let index = |at: usize| Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
                items.iter().enumerate().map(|(at, item)| (index(at), item.clone())).collect()
            }
            Value::Map(map) => map.entries().to_vec(),
            other => return Err(error(format!("cannot iterate over {}", other.type_name()))),
        };
        let of_map = matches!(range, Value::Map(_));
        let mut list = Vec::new();
        let mut entries = Vec::new();
        let mut found = 0usize;
        let mut failed = None;
        // What a turn of the loop costs beside its own expressions: the condition to go on.
        let again = match l.kind {
            Kind::All => 2,
            Kind::Exists => 3,
            _ => 0,
        };
        let mut rest = items.len();
        for (key, value) in items {
            rest -= 1;
            self.spend(again)?;
            let locals = match &l.second {
                Some(second) => {
                    vec![(l.first.clone(), key.clone()), (second.clone(), value.clone())]
                }
                None if of_map => vec![(l.first.clone(), key.clone())],
                None => vec![(l.first.clone(), value.clone())],
            };
            if let Some(filter) = &l.filter {
                match self.scoped(locals.clone(), filter)? {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    _ => return Err(error("no such overload")),
                }
            }
            match l.kind {
                Kind::Filter => {
                    self.spend(13)?;
                    list.push(if of_map { key } else { value });
                    continue;
                }
                Kind::All | Kind::Exists => {
                    let decides = l.kind == Kind::Exists;
                    self.spend(1)?;
                    match self.scoped(locals, &l.step) {
                        Ok(Value::Bool(v)) if v == decides => {
                            self.spend(if rest > 0 { again + 1 } else { 1 })?;
                            return Ok(Value::Bool(decides));
                        }
                        Ok(Value::Bool(_)) => {}
                        Ok(_) => failed = failed.or(Some(error("no such overload"))),
                        Err(EvalError::Budget) => return Err(EvalError::Budget),
                        Err(e) => failed = failed.or(Some(e)),
                    }
                    continue;
                }
                Kind::ExistsOne
                | Kind::List
                | Kind::Map
                | Kind::Entries
                | Kind::Optional { .. } => {}
            }
            let made = self.scoped(locals, &l.step)?;
            match l.kind {
                Kind::ExistsOne if made == Value::Bool(true) => {
                    self.spend(2)?;
                    found += 1;
                }
                Kind::ExistsOne => {}
                Kind::Map => {
                    self.spend(3)?;
                    entries.push((key, made));
                }
                Kind::Entries => match made {
                    Value::Map(map) => {
                        self.spend(2)?;
                        entries.extend(map.entries().iter().cloned());
                    }
                    _ => return Err(error("no such overload")),
                },
                _ => {
                    self.spend(12)?;
                    list.push(made);
                }
            }
        }
        self.spend(if l.kind == Kind::ExistsOne { 2 } else { 1 })?;
        if let Some(failed) = failed {
            return Err(failed);
        }
        Ok(match l.kind {
            Kind::All => Value::Bool(true),
            Kind::Exists => Value::Bool(false),
            Kind::ExistsOne => Value::Bool(found == 1),
            Kind::Map | Kind::Entries => Value::map(entries),
            Kind::List | Kind::Filter | Kind::Optional { .. } => Value::list(list),
        })
    }

    /// Counts what it costs to compare two values.
    pub(crate) fn compare_cost(&mut self, a: &Value, b: &Value) -> Result<(), EvalError> {
        let size = a.size().min(b.size());
        if matches!(a, Value::Text(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)) {
            self.traverse(size, TRAVERSE)
        } else {
            self.spend(1)
        }
    }
}

/// Whether an expression is made of literals only.
fn is_constant(expr: &Expr) -> bool {
    match &expr.node {
        Node::Literal(_) => true,
        Node::List(items) => items.iter().all(|(i, optional)| !optional && is_constant(i)),
        Node::Map(entries) => {
            entries.iter().all(|(k, v, optional)| !optional && is_constant(k) && is_constant(v))
        }
        _ => false,
    }
}

fn namespace(expr: &Expr) -> Option<&str> {
    match &expr.node {
        Node::Ident(name) => Some(name),
        _ => None,
    }
}

fn select(value: &Value, field: &str, optional: bool) -> Evaluated {
    match value {
        Value::Map(map) => match (map.field(field), optional) {
            (found, true) => Ok(Value::optional(found.cloned())),
            (Some(found), false) => Ok(found.clone()),
            (None, false) => Err(error(format!("no such key: {field}"))),
        },
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => match &**inner {
            Value::Map(map) => Ok(Value::optional(map.field(field).cloned())),
            _ => Err(error("no such overload")),
        },
        _ => Err(error("no such overload")),
    }
}
