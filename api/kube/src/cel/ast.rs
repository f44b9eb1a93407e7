//! The tree of an expression.

use std::sync::Arc;

use super::value::Value;

/// One node and where it begins in the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub(crate) at: usize,
    pub(crate) node: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Literal(Value),
    Ident(String),
    /// `a.b`; `optional` for `a.?b`.
    Select {
        of: Box<Expr>,
        field: String,
        optional: bool,
    },
    /// `has(a.b)`.
    Has {
        of: Box<Expr>,
        field: String,
    },
    /// `f(x)`, `a.f(x)` and operators, which are called `_+_` and the like.
    Call {
        function: String,
        target: Option<Box<Expr>>,
        arguments: Vec<Expr>,
    },
    /// Items; true: an optional that is left out when it is empty.
    List(Vec<(Expr, bool)>),
    /// Keys and values; true as in lists.
    Map(Vec<(Expr, Expr, bool)>),
    /// A type's name with fields: `Object{a: b}`.
    Object(String, Vec<(String, Expr, bool)>),
    /// A macro that loops.
    Loop(Arc<Loop>),
    /// `cel.bind(name, value, body)`.
    Bind {
        name: String,
        value: Box<Expr>,
        body: Box<Expr>,
    },
}

/// What a loop makes of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    All,
    Exists,
    ExistsOne,
    /// A list of what `step` is for the items that `filter` lets through.
    List,
    /// A map with the same keys.
    Map,
    /// The items themselves that `filter` lets through.
    Filter,
    /// A map of the entries that `step`, a map of one entry each, gives.
    Entries,
    /// `optMap`, `optFlatMap`: what is in an optional.
    Optional {
        flat: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loop {
    pub(crate) kind: Kind,
    pub(crate) range: Expr,
    /// The item, or the key of a map; with `second` the index or key.
    pub(crate) first: String,
    /// The value beside its index or key.
    pub(crate) second: Option<String>,
    pub(crate) filter: Option<Expr>,
    pub(crate) step: Expr,
}

impl Expr {
    pub(crate) fn new(at: usize, node: Node) -> Self {
        Expr { at, node }
    }

    /// Visits every node, the outer ones first.
    pub(crate) fn visit(&self, see: &mut dyn FnMut(&Expr)) {
        see(self);
        match &self.node {
            Node::Literal(_) | Node::Ident(_) => {}
            Node::Select { of, .. } | Node::Has { of, .. } => of.visit(see),
            Node::Call { target, arguments, .. } => {
                if let Some(target) = target {
                    target.visit(see);
                }
                arguments.iter().for_each(|a| a.visit(see));
            }
            Node::List(items) => items.iter().for_each(|(i, _)| i.visit(see)),
            Node::Map(entries) => entries.iter().for_each(|(k, v, _)| {
                k.visit(see);
                v.visit(see);
            }),
            Node::Object(_, fields) => fields.iter().for_each(|(_, v, _)| v.visit(see)),
            Node::Loop(l) => {
                l.range.visit(see);
                if let Some(filter) = &l.filter {
                    filter.visit(see);
                }
                l.step.visit(see);
            }
            Node::Bind { value, body, .. } => {
                value.visit(see);
                body.visit(see);
            }
        }
    }

    /// Whether the expression reads a variable.
    pub(crate) fn uses(&self, name: &str) -> bool {
        let mut found = false;
        self.visit(&mut |e| found |= matches!(&e.node, Node::Ident(n) if n == name));
        found
    }
}
