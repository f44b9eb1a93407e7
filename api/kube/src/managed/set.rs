//! A set of field paths, as a tree; its wire form is `fieldsV1`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// A field of a struct or an entry of a map.
    Field(String),
    /// The item of a list with these keys: a JSON object, sorted by name.
    Key(String),
    /// An item of a set: its JSON.
    Value(String),
    /// An item by its place; never written here, only kept.
    Index(i64),
}

impl Part {
    pub(super) fn field(name: &str) -> Self {
        Part::Field(name.to_owned())
    }

    fn parse(text: &str) -> Option<Self> {
        let (tag, rest) = text.split_once(':')?;
        match tag {
            "f" => Some(Part::field(rest)),
            "k" => Some(Part::Key(rest.to_owned())),
            "v" => Some(Part::Value(rest.to_owned())),
            "i" => rest.parse().ok().map(Part::Index),
            _ => None,
        }
    }

    fn encode(&self) -> String {
        match self {
            Part::Field(name) => format!("f:{name}"),
            Part::Key(keys) => format!("k:{keys}"),
            Part::Value(value) => format!("v:{value}"),
            Part::Index(index) => format!("i:{index}"),
        }
    }
}

/// As in messages: `.spec`, `[name="web"]`, `[="a"]`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Field(name) => write!(f, ".{name}"),
            Part::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let texts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", texts.join(","))
            }
            Part::Value(value) => write!(f, "[={value}]"),
            Part::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A set of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    nodes: BTreeMap<Part, Node>,
}

/// What a set holds at one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The path itself is in the set.
    pub(super) member: bool,
    /// Paths that go on from here.
    pub(super) below: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn get(&self, part: &Part) -> Option<&Node> {
        self.nodes.get(part)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Part, &Node)> {
        self.nodes.iter()
    }

    /// Adds what a node says; a node that says nothing leaves no trace.
    pub(super) fn put(&mut self, part: Part, node: Node) {
        if node.is_empty() {
            return;
        }
        let here = self.nodes.entry(part).or_default();
        here.member |= node.member;
        if here.below.is_empty() {
            here.below = node.below;
        } else {
            here.below = here.below.union(&node.below);
        }
    }

    /// Adds the path of these fields.
    pub(super) fn insert(&mut self, path: &[&str]) {
        if let [first, rest @ ..] = path {
            let here = self.nodes.entry(Part::field(first)).or_default();
            if rest.is_empty() {
                here.member = true;
            } else {
                here.below.insert(rest);
            }
        }
    }

    /// Drops a field with all that is below it.
    pub(super) fn cut(&mut self, path: &[&str]) {
        let [first, rest @ ..] = path else { return };
        let part = Part::field(first);
        if rest.is_empty() {
            self.nodes.remove(&part);
        } else if let Some(node) = self.nodes.get_mut(&part) {
            node.below.cut(rest);
            if node.is_empty() {
                self.nodes.remove(&part);
            }
        }
    }

    /// Paths that are in one of the sets.
    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (part, node) in &other.nodes {
            all.put(part.clone(), node.clone());
        }
        all
    }

    /// Paths of this set that are not in the other one.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(|part, node| match other.get(part) {
            None => node.clone(),
            Some(gone) => Node {
                member: node.member && !gone.member,
                below: node.below.difference(&gone.below),
            },
        })
    }

    /// Paths that are in both sets.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(|part, node| match other.get(part) {
            None => Node::default(),
            Some(too) => Node {
                member: node.member && too.member,
                below: node.below.intersection(&too.below),
            },
        })
    }

    fn combine(&self, each: impl Fn(&Part, &Node) -> Node) -> Self {
        let mut all = FieldSet::default();
        for (part, node) in &self.nodes {
            all.put(part.clone(), each(part, node));
        }
        all
    }

    /// All paths, as messages show them.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.visit("", &mut all);
        all
    }

    fn visit(&self, before: &str, all: &mut Vec<String>) {
        for (part, node) in &self.nodes {
            let path = format!("{before}{part}");
            if node.member {
                all.push(path.clone());
            }
            node.below.visit(&path, all);
        }
    }

    /// `fieldsV1`.
    pub(super) fn to_value(&self) -> Value {
        let fields = self.nodes.iter().map(|(part, node)| {
            let mut below = match node.below.to_value() {
                Value::Object(below) => below,
                _ => Map::new(),
            };
            if node.member && !below.is_empty() {
                below.shift_insert(0, ".".to_owned(), Value::Object(Map::new()));
            }
            (part.encode(), Value::Object(below))
        });
        Value::Object(fields.collect())
    }

    /// Reads `fieldsV1`; steps of unknown form are passed over.
    pub(super) fn from_value(value: &Value) -> Self {
        let mut set = FieldSet::default();
        for (text, below) in value.as_object().into_iter().flatten() {
            let Some(part) = Part::parse(text) else { continue };
            let member = below.as_object().is_none_or(|b| b.is_empty() || b.contains_key("."));
            set.put(part, Node { member, below: FieldSet::from_value(below) });
        }
        set
    }
}
