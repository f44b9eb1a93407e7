//! Merging an applied object into the live one: what it names is as it says, the rest stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::set::Part;
use super::shape::Shape;

/// The live value with the applied one merged in.
pub(super) fn merged(shape: Shape<'_>, live: Option<&Value>, applied: &Value) -> Value {
    let Some(live) = live else { return applied.clone() };
    match (shape, live, applied) {
        (shape, Value::Object(was), Value::Object(wanted))
            if shape.has_fields() && !(was.is_empty() && wanted.is_empty()) =>
        {
            let mut all = was.clone();
            for (name, value) in wanted {
                let value = merged(shape.below(name), was.get(name), value);
                all.insert(name.clone(), value);
            }
            Value::Object(all)
        }
        (shape, Value::Array(was), Value::Array(wanted))
            if shape.has_items() && !(was.is_empty() && wanted.is_empty()) =>
        {
            Value::Array(merged_list(shape, was, wanted))
        }
        _ => applied.clone(),
    }
}

/// Items keep the live order where the applied order allows it; items that both have stand in the
/// applied order.
fn merged_list(shape: Shape<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let named = |items: &[Value]| -> Vec<(Part, Value)> {
        items.iter().filter_map(|i| Some((shape.part(i).ok()?, i.clone()))).collect()
    };
    let (left, right) = (named(live), named(applied));
    let by_part: BTreeMap<&Part, &Value> = left.iter().map(|(p, v)| (p, v)).collect();
    let wanted: BTreeSet<&Part> = right.iter().map(|(p, _)| p).collect();
    let both = |part: &Part| merged(shape.item(), by_part.get(part).copied(), item(&right, part));
    let mut shared: VecDeque<&Part> =
        right.iter().map(|(p, _)| p).filter(|p| by_part.contains_key(p)).collect();
    let mut next_shared = shared.pop_front();
    let mut done: BTreeSet<&Part> = BTreeSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((at_left, _)), Some((at_right, _))) = (left.get(l), right.get(r)) {
            if at_left == at_right {
                done.insert(at_left);
                out.push(both(at_left));
                l += 1;
                r += 1;
                next_shared = shared.pop_front();
                continue;
            }
            if wanted.contains(at_left) && next_shared.is_some_and(|next| next != at_left) {
                l += 1;
                continue;
            }
        }
        if let Some((part, value)) = left.get(l) {
            if !wanted.contains(part) {
                out.push(value.clone());
                l += 1;
                continue;
            }
            if done.contains(part) {
                l += 1;
            }
        }
        if let Some((part, _)) = right.get(r) {
            done.insert(part);
            out.push(both(part));
            r += 1;
            if next_shared == Some(part) {
                next_shared = shared.pop_front();
            }
        }
    }
    out
}

fn item<'a>(items: &'a [(Part, Value)], part: &Part) -> &'a Value {
    items.iter().find(|(p, _)| p == part).map_or(&Value::Null, |(_, value)| value)
}
