//! The order of a merged list: the patch's items in the patch's order, the rest in the server's.
// upstream: Kubernetes apimachinery, strategicpatch, normalizeElementOrder

use serde_json::Value;

/// What makes two items the same: the value of the merge key, or the item itself.
pub(super) fn identity<'a>(item: &'a Value, merge_key: Option<&str>) -> &'a Value {
    match merge_key {
        Some(key) if item.is_object() => &item[key],
        _ => item,
    }
}

/// Puts `merged` in order: items that stand in `wanted` in that order, others as in `server`,
/// interleaved by the server's order where it knows both.
pub(super) fn normalize(
    merged: Vec<Value>,
    wanted: &[Value],
    server: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let position = |list: &[Value], item: &Value| {
        list.iter().position(|i| identity(i, merge_key) == identity(item, merge_key))
    };
    let (mut ours, mut theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| position(wanted, item).is_some());
    ours.sort_by_key(|item| position(wanted, item));
    theirs.sort_by_key(|item| position(server, item).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    loop {
        let server_first = match (theirs.peek(), ours.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(theirs), Some(ours)) => {
                match (position(server, theirs), position(server, ours)) {
                    (Some(a), Some(b)) => a < b,
                    _ => false,
                }
            }
        };
        out.extend(if server_first { theirs.next() } else { ours.next() });
    }
}
