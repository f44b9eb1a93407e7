//! Checking an expression: names are known, types fit, and what it costs at most.
//!
//! Where a type is not known until evaluation nothing is refused. Costs are those of the
//! evaluation with every text, list and map as large as its type lets it be.
// upstream: cel-go, checker and checker/cost.go

use std::sync::Arc;

use super::SyntaxError;
use super::ast::{Expr, Kind, Loop, Node};
use super::types::{Type, UNBOUNDED};
use super::value::Value;

/// The type of an expression and its greatest cost.
pub(super) fn check(
    expr: &Expr,
    variables: &[(&str, Type)],
) -> Result<(Type, u64), Vec<SyntaxError>> {
    let scope = variables.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
    let mut checker = Checker { scope, errors: Vec::new() };
    let found = checker.node(expr);
    if checker.errors.is_empty() { Ok(found) } else { Err(checker.errors) }
}

struct Checker {
    scope: Vec<(String, Type)>,
    errors: Vec<SyntaxError>,
}

/// A type, and what it costs at most to get the value.
type Checked = (Type, u64);

/// What a function gives.
#[derive(Clone, Copy)]
enum Gives {
    Bool,
    Int,
    Double,
    Text,
    List,
    Texts,
    Map,
    Dyn,
    Receiver,
    Element,
    OptionalElement,
    Duration,
    Timestamp,
    Named(&'static str),
}

/// Functions that are called on a value: the name, how many arguments, what they give.
const MEMBERS: &[(&str, usize, usize, Gives)] = &[
    ("size", 0, 0, Gives::Int),
    ("startsWith", 1, 1, Gives::Bool),
    ("endsWith", 1, 1, Gives::Bool),
    ("contains", 1, 1, Gives::Bool),
    ("matches", 1, 1, Gives::Bool),
    ("find", 1, 1, Gives::Text),
    ("findAll", 1, 2, Gives::Texts),
    ("charAt", 1, 1, Gives::Text),
    ("indexOf", 1, 2, Gives::Int),
    ("lastIndexOf", 1, 2, Gives::Int),
    ("lowerAscii", 0, 0, Gives::Text),
    ("upperAscii", 0, 0, Gives::Text),
    ("trim", 0, 0, Gives::Text),
    ("reverse", 0, 0, Gives::Receiver),
    ("replace", 2, 3, Gives::Text),
    ("split", 1, 2, Gives::Texts),
    ("substring", 1, 2, Gives::Text),
    ("format", 1, 1, Gives::Text),
    ("join", 0, 1, Gives::Text),
    ("isSorted", 0, 0, Gives::Bool),
    ("sum", 0, 0, Gives::Element),
    ("min", 0, 0, Gives::Element),
    ("max", 0, 0, Gives::Element),
    ("distinct", 0, 0, Gives::Receiver),
    ("first", 0, 0, Gives::OptionalElement),
    ("last", 0, 0, Gives::OptionalElement),
    ("sort", 0, 0, Gives::Receiver),
    ("slice", 2, 2, Gives::Receiver),
    ("flatten", 0, 1, Gives::List),
    ("hasValue", 0, 0, Gives::Bool),
    ("value", 0, 0, Gives::Element),
    ("orValue", 1, 1, Gives::Element),
    ("or", 1, 1, Gives::Receiver),
    ("getFullYear", 0, 1, Gives::Int),
    ("getMonth", 0, 1, Gives::Int),
    ("getDate", 0, 1, Gives::Int),
    ("getDayOfMonth", 0, 1, Gives::Int),
    ("getDayOfWeek", 0, 1, Gives::Int),
    ("getDayOfYear", 0, 1, Gives::Int),
    ("getHours", 0, 1, Gives::Int),
    ("getMinutes", 0, 1, Gives::Int),
    ("getSeconds", 0, 1, Gives::Int),
    ("getMilliseconds", 0, 1, Gives::Int),
    ("getScheme", 0, 0, Gives::Text),
    ("getHost", 0, 0, Gives::Text),
    ("getHostname", 0, 0, Gives::Text),
    ("getPort", 0, 0, Gives::Text),
    ("getEscapedPath", 0, 0, Gives::Text),
    ("getQuery", 0, 0, Gives::Map),
    ("isInteger", 0, 0, Gives::Bool),
    ("asInteger", 0, 0, Gives::Int),
    ("asApproximateFloat", 0, 0, Gives::Double),
    ("sign", 0, 0, Gives::Int),
    ("add", 1, 1, Gives::Receiver),
    ("sub", 1, 1, Gives::Receiver),
    ("isGreaterThan", 1, 1, Gives::Bool),
    ("isLessThan", 1, 1, Gives::Bool),
    ("compareTo", 1, 1, Gives::Int),
    ("major", 0, 0, Gives::Int),
    ("minor", 0, 0, Gives::Int),
    ("patch", 0, 0, Gives::Int),
    ("family", 0, 0, Gives::Int),
    ("isUnspecified", 0, 0, Gives::Bool),
    ("isLoopback", 0, 0, Gives::Bool),
    ("isLinkLocalMulticast", 0, 0, Gives::Bool),
    ("isLinkLocalUnicast", 0, 0, Gives::Bool),
    ("isGlobalUnicast", 0, 0, Gives::Bool),
    ("ip", 0, 0, Gives::Named("net.IP")),
    ("prefixLength", 0, 0, Gives::Int),
    ("masked", 0, 0, Gives::Named("net.CIDR")),
    ("containsIP", 1, 1, Gives::Bool),
    ("containsCIDR", 1, 1, Gives::Bool),
    ("validate", 1, 1, Gives::Dyn),
];

/// Functions that are not.
const FUNCTIONS: &[(&str, usize, usize, Gives)] = &[
    ("size", 1, 1, Gives::Int),
    ("type", 1, 1, Gives::Dyn),
    ("dyn", 1, 1, Gives::Dyn),
    ("int", 1, 1, Gives::Int),
    ("uint", 1, 1, Gives::Dyn),
    ("double", 1, 1, Gives::Double),
    ("string", 1, 1, Gives::Text),
    ("bool", 1, 1, Gives::Bool),
    ("bytes", 1, 1, Gives::Dyn),
    ("matches", 2, 2, Gives::Bool),
    ("duration", 1, 1, Gives::Duration),
    ("timestamp", 1, 1, Gives::Timestamp),
    ("ip", 1, 1, Gives::Named("net.IP")),
    ("isIP", 1, 1, Gives::Bool),
    ("cidr", 1, 1, Gives::Named("net.CIDR")),
    ("isCIDR", 1, 1, Gives::Bool),
    ("quantity", 1, 1, Gives::Named("kubernetes.Quantity")),
    ("isQuantity", 1, 1, Gives::Bool),
    ("semver", 1, 2, Gives::Named("kubernetes.Semver")),
    ("isSemver", 1, 2, Gives::Bool),
    ("url", 1, 1, Gives::Named("kubernetes.URL")),
    ("isURL", 1, 1, Gives::Bool),
];

impl Checker {
    fn fail(&mut self, at: usize, text: impl Into<String>) {
        self.errors.push(SyntaxError::new(at, text));
    }

    fn node(&mut self, expr: &Expr) -> Checked {
        match &expr.node {
            Node::Literal(value) => (type_of(value), 0),
            Node::Ident(name) => match self.lookup(name) {
                Some(ty) => (ty, 1),
                None => {
                    self.undeclared(expr.at, name);
                    (Type::Dyn, 1)
                }
            },
            Node::Select { of, field, optional } => self.select(expr, of, field, *optional),
            Node::Has { of, field } => {
                let (ty, cost) = self.node(of);
                self.field(expr.at, &ty, field);
                (Type::Bool, cost)
            }
            Node::Call { function, target, arguments } => {
                self.call(expr, function, target.as_deref(), arguments)
            }
            Node::List(items) => {
                let mut of: Option<Type> = None;
                let mut cost = 10u64;
                for (item, _) in items {
                    let (ty, c) = self.node(item);
                    cost = cost.saturating_add(c);
                    of = Some(joined(of, ty));
                }
                (Type::List(Arc::new(of.unwrap_or(Type::Dyn)), items.len() as u64), cost)
            }
            Node::Map(entries) => {
                let (mut keys, mut values) = (None, None);
                let mut cost = 30u64;
                for (key, value, _) in entries {
                    let (k, a) = self.node(key);
                    let (v, b) = self.node(value);
                    cost = cost.saturating_add(a).saturating_add(b);
                    keys = Some(joined(keys, k));
                    values = Some(joined(values, v));
                }
                let of = |ty: Option<Type>| Arc::new(ty.unwrap_or(Type::Dyn));
                (Type::Map(of(keys), of(values), entries.len() as u64), cost)
            }
            Node::Object(_, fields) => {
                let cost = fields.iter().map(|(_, v, _)| self.node(v).1).sum::<u64>();
                (Type::Dyn, cost.saturating_add(40))
            }
            Node::Loop(l) => self.looped(expr.at, l),
            Node::Bind { name, value, body } => {
                let (ty, cost) = self.node(value);
                self.scope.push((name.clone(), ty));
                let (ty, more) = self.node(body);
                self.scope.pop();
                (ty, cost.saturating_add(more).saturating_add(1))
            }
        }
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        let known = self.scope.iter().rev().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        let types = [
            "bool",
            "int",
            "uint",
            "double",
            "string",
            "bytes",
            "list",
            "map",
            "null_type",
            "type",
            "optional_type",
        ];
        known.or_else(|| types.contains(&name).then_some(Type::Meta))
    }

    fn undeclared(&mut self, at: usize, name: &str) {
        self.fail(at, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn select(&mut self, expr: &Expr, of: &Expr, field: &str, optional: bool) -> Checked {
        if let Node::Ident(name) = root(of)
            && self.lookup(name).is_none()
            && matches!(name.as_str(), "google" | "kubernetes" | "net")
        {
            return (Type::Meta, 1);
        }
        let (ty, cost) = self.node(of);
        let found = self.field(expr.at, &ty, field);
        let optional = optional || matches!(ty, Type::Optional(_));
        let found = match (optional, found) {
            (true, Type::Optional(of)) => Type::Optional(of),
            (true, of) => Type::Optional(Arc::new(of)),
            (false, of) => of,
        };
        (found, cost.saturating_add(1))
    }

    fn field(&mut self, at: usize, of: &Type, field: &str) -> Type {
        match of {
            Type::Dyn => Type::Dyn,
            Type::Map(_, value, _) => (**value).clone(),
            Type::Optional(inner) => self.field(at, inner, field),
            Type::Object(fields) => match fields.get(field) {
                Some(ty) => ty.clone(),
                None => {
                    self.fail(at, format!("undefined field '{field}'"));
                    Type::Dyn
                }
            },
            other => {
                let name = other.name();
                self.fail(at, format!("type '{name}' does not support field selection"));
                Type::Dyn
            }
        }
    }

    fn call(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        arguments: &[Expr],
    ) -> Checked {
        if let Some(Node::Ident(name)) = target.map(|t| &t.node)
            && self.lookup(name).is_none()
            && super::library::is_namespaced(name, function)
        {
            return self.namespaced(name, function, arguments);
        }
        let of = target.map(|t| self.node(t));
        let given: Vec<Checked> = arguments.iter().map(|a| self.node(a)).collect();
        let own = of.iter().chain(&given).map(|(_, c)| *c).fold(0, u64::saturating_add);
        let types: Vec<Type> = of.iter().chain(&given).map(|(t, _)| t.clone()).collect();
        if target.is_none()
            && let Some((gives, cost)) = self.operator(expr.at, function, &types, &given)
        {
            return (gives, cost);
        }
        let table = if target.is_some() { MEMBERS } else { FUNCTIONS };
        let count = arguments.len();
        let known = table.iter().find(|(name, ..)| *name == function);
        let Some((_, min, max, gives)) = known.copied() else {
            self.undeclared(expr.at, function);
            return (Type::Dyn, own);
        };
        if !(min..=max).contains(&count) || !receives(function, of.as_ref().map(|(t, _)| t)) {
            self.no_overload(expr.at, function, &types, target.is_some());
            return (Type::Dyn, own);
        }
        let receiver = types.first().cloned().unwrap_or(Type::Dyn);
        let cost = own.saturating_add(function_cost(function, &types));
        (given_type(gives, &receiver, &types), cost)
    }

    fn namespaced(&mut self, name: &str, function: &str, arguments: &[Expr]) -> Checked {
        let given: Vec<Checked> = arguments.iter().map(|a| self.node(a)).collect();
        let own = given.iter().map(|(_, c)| *c).fold(1, u64::saturating_add);
        let first = given.first().map_or(Type::Dyn, |(t, _)| t.clone());
        let pairs = given.iter().map(|(t, _)| t.size()).fold(1, u64::saturating_mul);
        match (name, function) {
            ("sets", _) => (Type::Bool, own.saturating_add(pairs)),
            ("ip", _) => (Type::Bool, own),
            ("optional", "none") => (Type::Optional(Arc::new(Type::Dyn)), own),
            ("optional", _) => (Type::Optional(Arc::new(first)), own),
            ("format", "named") => (Type::Optional(Arc::new(Type::Dyn)), own),
            ("math", "isNaN" | "isInf" | "isFinite") => (Type::Bool, own),
            ("lists", _) => {
                (Type::List(Arc::new(Type::Int), UNBOUNDED), own.saturating_add(UNBOUNDED))
            }
            _ => (Type::Dyn, own),
        }
    }

    fn no_overload(&mut self, at: usize, function: &str, types: &[Type], member: bool) {
        let names: Vec<String> = types.iter().map(Type::name).collect();
        let shown = match names.as_slice() {
            [receiver, rest @ ..] if member => format!("{receiver}.({})", rest.join(", ")),
            all => format!("({})", all.join(", ")),
        };
        self.fail(at, format!("found no matching overload for '{function}' applied to '{shown}'"));
    }

    fn operator(
        &mut self,
        at: usize,
        function: &str,
        types: &[Type],
        given: &[Checked],
    ) -> Option<Checked> {
        let own = given.iter().map(|(_, c)| *c).fold(0, u64::saturating_add);
        let dynamic = |t: &Type| *t == Type::Dyn;
        let compared = |a: &Type, b: &Type| match (a, b) {
            (Type::Text(_) | Type::Bytes(_) | Type::List(..) | Type::Map(..) | Type::Dyn, _) => {
                tenth(a.size().min(b.size()))
            }
            _ => 1,
        };
        let mut fine = true;
        let answer = match (function, types) {
            ("_&&_" | "_||_", [a, b]) => {
                fine = a.fits(&Type::Bool) && b.fits(&Type::Bool);
                (Type::Bool, own)
            }
            ("!_", [a]) => {
                fine = a.fits(&Type::Bool);
                (Type::Bool, own.saturating_add(1))
            }
            ("_?_:_", [c, a, b]) => {
                fine = c.fits(&Type::Bool) && a.fits(b);
                let cost = given[0].1.saturating_add(given[1].1.max(given[2].1));
                (joined(Some(a.clone()), b.clone()), cost)
            }
            ("_==_" | "_!=_", [a, b]) => {
                fine = a.fits(b);
                (Type::Bool, own.saturating_add(compared(a, b)))
            }
            ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => {
                let number = |t: &Type| matches!(t, Type::Int | Type::Uint | Type::Double);
                let ordered = |t: &Type| {
                    matches!(
                        t,
                        Type::Bool
                            | Type::Text(_)
                            | Type::Bytes(_)
                            | Type::Duration
                            | Type::Timestamp
                    )
                };
                fine =
                    dynamic(a) || dynamic(b) || number(a) && number(b) || ordered(a) && a.fits(b);
                (Type::Bool, own.saturating_add(compared(a, b)))
            }
            ("@in", [a, Type::List(of, max)]) => {
                fine = a.fits(of);
                (Type::Bool, own.saturating_add(*max))
            }
            ("@in", [a, Type::Map(key, ..)]) => {
                fine = a.fits(key);
                (Type::Bool, own.saturating_add(1))
            }
            ("@in", [_, b]) => {
                fine = dynamic(b);
                (Type::Bool, own.saturating_add(UNBOUNDED))
            }
            ("-_", [a]) => {
                fine = matches!(a, Type::Int | Type::Double | Type::Dyn | Type::Duration);
                (a.clone(), own.saturating_add(1))
            }
            ("_+_", [Type::Text(a), Type::Text(b)]) => {
                let size = a.saturating_add(*b);
                (Type::Text(size), own.saturating_add(tenth(size)))
            }
            ("_+_", [Type::List(a, n), Type::List(b, m)]) => {
                fine = a.fits(b);
                (
                    Type::List(a.clone(), n.saturating_add(*m)),
                    own.saturating_add(tenth(n.saturating_add(*m))),
                )
            }
            (
                "_+_" | "_-_",
                [Type::Timestamp, Type::Duration] | [Type::Duration, Type::Timestamp],
            ) => (Type::Timestamp, own.saturating_add(1)),
            ("_-_", [Type::Timestamp, Type::Timestamp]) => (Type::Duration, own.saturating_add(1)),
            ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => {
                let number = |t: &Type| match t {
                    Type::Int | Type::Uint => true,
                    Type::Double => function != "_%_",
                    Type::Duration => matches!(function, "_+_" | "_-_"),
                    Type::Bytes(_) => function == "_+_",
                    _ => false,
                };
                fine = (dynamic(a) || dynamic(b)) || number(a) && a == b;
                let gives = if dynamic(a) { b.clone() } else { a.clone() };
                (gives, own.saturating_add(1))
            }
            ("_[_]" | "_[?_]", [of, at]) => {
                let found = match of {
                    Type::List(of, _) => {
                        fine = at.fits(&Type::Int);
                        (**of).clone()
                    }
                    Type::Map(key, value, _) => {
                        fine = at.fits(key);
                        (**value).clone()
                    }
                    Type::Dyn | Type::Optional(_) | Type::Object(_) => Type::Dyn,
                    _ => {
                        fine = false;
                        Type::Dyn
                    }
                };
                let optional = function == "_[?_]";
                let found = if optional { Type::Optional(Arc::new(found)) } else { found };
                (found, own.saturating_add(1))
            }
            _ => return None,
        };
        if !fine {
            self.no_overload(at, function, types, false);
        }
        Some(answer)
    }

    fn looped(&mut self, at: usize, l: &Loop) -> Checked {
        let (range, cost) = self.node(&l.range);
        if let Kind::Optional { flat } = l.kind {
            let of = match &range {
                Type::Optional(of) => (**of).clone(),
                _ => Type::Dyn,
            };
            self.scope.push((l.first.clone(), of));
            let (made, more) = self.node(&l.step);
            self.scope.pop();
            let gives = if flat { made } else { Type::Optional(Arc::new(made)) };
            return (gives, cost.saturating_add(more).saturating_add(2));
        }
        let (first, second, size) = match &range {
            Type::List(of, max) if l.second.is_some() => (Type::Int, (**of).clone(), *max),
            Type::List(of, max) => ((**of).clone(), Type::Dyn, *max),
            Type::Map(key, value, max) => ((**key).clone(), (**value).clone(), *max),
            Type::Dyn | Type::Object(_) => (Type::Dyn, Type::Dyn, UNBOUNDED),
            other => {
                let name = other.name();
                self.fail(at, format!("expression of type '{name}' cannot be range of a comprehension (must be list, map, or dynamic)"));
                return (Type::Dyn, cost);
            }
        };
        let before = self.scope.len();
        let item = first.clone();
        self.scope.push((l.first.clone(), first));
        if let Some(name) = &l.second {
            self.scope.push((name.clone(), second));
        }
        let filter = l.filter.as_ref().map(|f| (f.at, self.node(f)));
        let (made, step) = self.node(&l.step);
        self.scope.truncate(before);
        if let Some((at, (ty, _))) = &filter
            && !ty.fits(&Type::Bool)
        {
            self.fail(*at, format!("expected type 'bool' but found '{}'", ty.name()));
        }
        let judged = matches!(l.kind, Kind::All | Kind::Exists | Kind::ExistsOne);
        if judged && !made.fits(&Type::Bool) {
            let names = format!(
                "found no matching overload for '_&&_' applied to '(bool, {})'",
                made.name()
            );
            self.fail(l.step.at, names);
        }
        let filter_cost = filter.map_or(0, |(_, (_, c))| c);
        let (gives, own) = match l.kind {
            Kind::All => (Type::Bool, 3),
            Kind::Exists => (Type::Bool, 4),
            Kind::ExistsOne => (Type::Bool, 3),
            Kind::Filter => (Type::List(Arc::new(item), size), 12),
            Kind::List => (Type::List(Arc::new(made), size), 12),
            Kind::Map => {
                let key = if matches!(range, Type::List(..)) { Type::Int } else { item };
                (Type::Map(Arc::new(key), Arc::new(made), size), 32)
            }
            Kind::Entries | Kind::Optional { .. } => (Type::Dyn, 32),
        };
        let step = if l.kind == Kind::Filter { 0 } else { step };
        let each = step.saturating_add(filter_cost).saturating_add(own);
        (gives, cost.saturating_add(size.saturating_mul(each)).saturating_add(1))
    }
}

fn root(expr: &Expr) -> &Node {
    match &expr.node {
        Node::Select { of, .. } => root(of),
        node => node,
    }
}

fn joined(a: Option<Type>, b: Type) -> Type {
    match a {
        None => b,
        Some(a) if a == b => a,
        Some(Type::Text(a)) if matches!(b, Type::Text(_)) => Type::Text(a.max(b.size())),
        Some(Type::Null) => b,
        Some(a) if b == Type::Null => a,
        Some(a) if a.fits(&b) && a != Type::Dyn && b != Type::Dyn && a.size() >= b.size() => a,
        Some(a) if a.fits(&b) && a != Type::Dyn && b != Type::Dyn => b,
        Some(_) => Type::Dyn,
    }
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::Text(text) => Type::Text(text.len() as u64),
        Value::Bytes(bytes) => Type::Bytes(bytes.len() as u64),
        _ => Type::Dyn,
    }
}

/// A tenth, rounded up: what reading that much costs.
fn tenth(size: u64) -> u64 {
    size.div_ceil(10).max(1)
}

/// Whether a function can be called on a value of this type.
fn receives(function: &str, of: Option<&Type>) -> bool {
    let Some(of) = of.filter(|t| **t != Type::Dyn) else { return true };
    let (text, list) = (matches!(of, Type::Text(_)), matches!(of, Type::List(..)));
    match function {
        "startsWith" | "endsWith" | "contains" | "matches" | "find" | "findAll" | "charAt"
        | "lowerAscii" | "upperAscii" | "trim" | "replace" | "split" | "substring" | "format" => {
            text
        }
        "size" => text || list || matches!(of, Type::Bytes(_) | Type::Map(..)),
        "join" | "isSorted" | "sum" | "min" | "max" | "distinct" | "sort" | "slice" | "flatten"
        | "first" | "last" => list,
        "indexOf" | "lastIndexOf" | "reverse" => text || list,
        "hasValue" | "value" | "orValue" | "or" => matches!(of, Type::Optional(_)),
        _ => !text && !list,
    }
}

fn function_cost(function: &str, types: &[Type]) -> u64 {
    let size = |at: usize| types.get(at).map_or(1, Type::size);
    match function {
        "startsWith" | "endsWith" => tenth(size(0)),
        "contains" => tenth(size(0)).saturating_mul(tenth(size(1))),
        "matches" => tenth(size(0).saturating_add(1)).saturating_mul(size(1).div_ceil(4).max(1)),
        "find" | "findAll" => tenth(size(0)).saturating_mul(size(1).div_ceil(4).max(1)),
        "lowerAscii" | "upperAscii" | "trim" | "replace" | "split" | "substring" | "format"
        | "reverse" | "validate" | "url" | "isURL" | "ip" | "isIP" | "cidr" | "isCIDR"
        | "quantity" | "isQuantity" | "semver" | "isSemver" => tenth(size(0)),
        "join" | "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" | "distinct"
        | "sort" | "flatten" | "slice" => match types.first() {
            Some(Type::Text(max)) => tenth(*max),
            _ => size(0),
        },
        _ => 1,
    }
}

fn given_type(gives: Gives, receiver: &Type, types: &[Type]) -> Type {
    let element = || match receiver {
        Type::List(of, _) | Type::Optional(of) => (**of).clone(),
        _ => Type::Dyn,
    };
    let size = types.iter().map(Type::size).fold(0, u64::saturating_add).min(UNBOUNDED);
    match gives {
        Gives::Bool => Type::Bool,
        Gives::Int => Type::Int,
        Gives::Double => Type::Double,
        Gives::Text => Type::Text(size),
        Gives::List => Type::List(Arc::new(Type::Dyn), size),
        Gives::Texts => Type::List(Arc::new(Type::Text(size)), size),
        Gives::Map => Type::Map(Arc::new(Type::Text(UNBOUNDED)), Arc::new(Type::Dyn), UNBOUNDED),
        Gives::Dyn => Type::Dyn,
        Gives::Receiver => receiver.clone(),
        Gives::Element => element(),
        Gives::OptionalElement => Type::Optional(Arc::new(element())),
        Gives::Duration => Type::Duration,
        Gives::Timestamp => Type::Timestamp,
        Gives::Named(name) => Type::Named(name),
    }
}
