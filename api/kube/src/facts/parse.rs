//! The form of `table.txt`.
//!
//! `T NAME [M] [g=GROUP/VERSION/KIND]…` opens a type (`M`: atomic); each line below is a field:
//! `NAME NUMBER TYPE MARKS…`. Types: `s` string, `i` int32, `l` int64, `b` bool, `d` double, `y`
//! bytes, `q` quantity, `n` int or string, `t` time, `u` micro time, `*` anything, `R:NAME` another
//! type; `[]` and `{}` before it: list of, map of. Marks: `!` required, `+` always written, `L=`
//! list type with keys, `M=` map type, `P=` patch strategies with merge key, `D=` default, `O=` Go's
//! name of the type, `E=` enum, `G=` gate that is off. Names without package begin in `io.k8s.api`.

use std::collections::BTreeMap;

use super::types::{Base, Facts, Field, FieldType, ListType, PatchStrategy, Type, Wrap};

/// Parses the whole table. The text is compiled in: a malformed line is a bug of the build.
pub(super) fn table(text: &'static str) -> Facts {
    let mut by_name = BTreeMap::new();
    let headings = text.lines().filter_map(|line| line.strip_prefix("T "));
    for (index, heading) in headings.enumerate() {
        let name = heading.split(' ').next().unwrap_or_default();
        by_name.insert(name, u16::try_from(index).expect("fewer than 65,536 types"));
    }
    let mut types: Vec<Type> = Vec::with_capacity(by_name.len());
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if let Some(heading) = line.strip_prefix("T ") {
            types.push(open(heading));
        } else if let Some(last) = types.last_mut() {
            last.fields.push(field(line, &by_name));
        }
    }
    for one in &mut types {
        one.fields.sort_by_key(|f| f.name);
        one.fields.shrink_to_fit();
        let filled = |f: &Field| (f.always || f.default.is_some()) && f.gate.is_none();
        let positions = one.fields.iter().zip(0u16..).filter(|(f, _)| filled(f));
        one.filled = positions.map(|(_, at)| at).collect();
    }
    Facts { types, by_name }
}

fn open(heading: &'static str) -> Type {
    let mut words = heading.split(' ');
    let name = words.next().unwrap_or_default();
    let mut made =
        Type { name, atomic: false, gvks: Vec::new(), fields: Vec::new(), filled: Vec::new() };
    for word in words {
        match word.strip_prefix("g=") {
            Some(gvk) => made.gvks.push(gvk),
            None => made.atomic = true,
        }
    }
    made
}

fn field(line: &'static str, by_name: &BTreeMap<&'static str, u16>) -> Field {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (name, number, kind) = (next(), next(), next());
    let mut made = Field {
        name,
        number,
        kind: field_type(kind, by_name),
        required: false,
        always: false,
        list: None,
        map: None,
        patch: PatchStrategy::default(),
        default: None,
        named: None,
        values: None,
        gate: None,
    };
    for word in words {
        match word.split_once('=') {
            None if word == "!" => made.required = true,
            None => made.always = true,
            Some(("L", list)) => made.list = Some(list_type(list)),
            Some(("M", map)) => made.map = Some(map),
            Some(("P", patch)) => made.patch = strategy(patch),
            Some(("D", default)) => made.default = Some(default),
            Some(("O", named)) => made.named = Some(named),
            Some(("E", values)) => made.values = Some(values),
            Some(("G", gate)) => made.gate = Some(gate),
            Some(_) => panic!("table of facts: unknown mark in {line:?}"),
        }
    }
    made
}

fn field_type(text: &'static str, by_name: &BTreeMap<&'static str, u16>) -> FieldType {
    let (wrap, rest) = if let Some(rest) = text.strip_prefix("{}[]") {
        (Wrap::MapOfLists, rest)
    } else if let Some(rest) = text.strip_prefix("[]") {
        (Wrap::List, rest)
    } else if let Some(rest) = text.strip_prefix("{}") {
        (Wrap::Map, rest)
    } else {
        (Wrap::Plain, text)
    };
    let base = match rest {
        "s" => Base::String,
        "i" => Base::Int32,
        "l" => Base::Int64,
        "b" => Base::Bool,
        "d" => Base::Double,
        "y" => Base::Bytes,
        "q" => Base::Quantity,
        "n" => Base::IntOrString,
        "t" => Base::Time,
        "u" => Base::MicroTime,
        "*" => Base::Any,
        other => {
            let name = other.strip_prefix("R:").unwrap_or(other);
            let index = by_name.get(name);
            Base::Struct(*index.unwrap_or_else(|| panic!("table of facts: no type {name:?}")))
        }
    };
    FieldType { wrap, base }
}

fn list_type(text: &'static str) -> ListType {
    match text.split_once(':') {
        Some((_, keys)) => ListType::Map(keys),
        None if text == "set" => ListType::Set,
        None => ListType::Atomic,
    }
}

fn strategy(text: &'static str) -> PatchStrategy {
    let (strategies, key) = match text.split_once(':') {
        Some((strategies, key)) => (strategies, Some(key)),
        None => (text, None),
    };
    PatchStrategy {
        merge: strategies.split(',').any(|s| s == "merge"),
        retain_keys: strategies.split(',').any(|s| s == "retainKeys"),
        merge_key: key,
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts;
    use super::*;

    #[test]
    fn pods_and_containers_are_known() {
        let facts = facts();
        let pod = facts.find("io.k8s.api.core.v1.PodSpec").expect("PodSpec");
        let containers = pod.field("containers").expect("containers");
        assert_eq!(containers.patch.merge_key, Some("name"));
        assert_eq!(containers.list, Some(ListType::Map("name")));
        assert_eq!(containers.number, "2");
        assert!(containers.required);
        let Base::Struct(container) = containers.kind.base else { panic!("a struct") };
        let resources = facts.at(container).field("resources").expect("resources");
        assert!(resources.always, "Go writes an empty struct");
        assert!(pod.field("nodename").is_none(), "the case counts");
    }

    #[test]
    fn every_kind_has_its_type() {
        for kind in crate::kinds::table() {
            assert!(facts().find(kind.schema).is_some(), "{}", kind.schema);
        }
    }
}
