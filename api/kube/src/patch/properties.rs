//! Patches held against plain models.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{json_patch, merge_patch, strategic_merge};
use crate::kinds::Kind;

fn pods() -> &'static Kind {
    crate::kinds::find("", "v1", "pods").expect("pods")
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5i64..5).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c]", any_json(), 0..4)
        .prop_map(|m| Value::Object(m.into_iter().collect()))
}

/// RFC 7396, section 2, word for word.
fn merge_model(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut made: Map<String, Value> = target.as_object().cloned().unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            made.shift_remove(name);
        } else {
            let before = made.get(name).cloned().unwrap_or_default();
            made.insert(name.clone(), merge_model(&before, value));
        }
    }
    Value::Object(made)
}

fn containers(map: &BTreeMap<String, String>) -> Value {
    map.iter().map(|(name, image)| json!({"name": name, "image": image})).collect()
}

fn read(pod: &Value) -> BTreeMap<String, String> {
    let list = pod["spec"]["containers"].as_array().into_iter().flatten();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    list.map(|c| (text(&c["name"]), text(&c["image"]))).collect()
}

fn names(pod: &Value) -> Vec<&str> {
    let list = pod["spec"]["containers"].as_array().into_iter().flatten();
    list.filter_map(|c| c["name"].as_str()).collect()
}

proptest! {
    #[test]
    fn merge_patches_follow_the_rfc(target in any_object(), patch in any_object()) {
        prop_assert_eq!(merge_patch(pods(), &target, &patch), Ok(merge_model(&target, &patch)));
    }

    #[test]
    fn a_difference_leads_from_one_to_the_other(from in any_json(), to in any_json()) {
        let difference = serde_json::to_value(::json_patch::diff(&from, &to)).expect("json");
        prop_assert_eq!(json_patch(pods(), &from, &difference), Ok(to));
    }

    /// Without lists that merge, a strategic patch is a merge patch.
    #[test]
    fn plain_fields_merge_as_in_a_merge_patch(
        before in prop::collection::btree_map("[a-d]", "[x-z]", 0..4),
        patch in prop::collection::btree_map("[a-d]", prop::option::of("[x-z]"), 0..4),
    ) {
        let original = json!({"metadata": {"labels": before}});
        let patch = json!({"metadata": {"labels": patch}});
        prop_assert_eq!(
            strategic_merge(pods(), &original, &patch),
            Ok(merge_model(&original, &patch))
        );
    }

    /// A merged list holds what a map by merge key would hold, and a second time changes nothing.
    #[test]
    fn lists_merge_like_maps(
        before in prop::collection::btree_map("[a-e]", "[x-z]", 0..5),
        set in prop::collection::btree_map("[a-e]", "[x-z]", 0..5),
        gone in prop::collection::btree_set("[a-e]", 0..3),
    ) {
        let original = json!({"spec": {"containers": containers(&before)}});
        let mut entries = containers(&set).as_array().cloned().unwrap_or_default();
        entries.retain(|c| c["name"].as_str().is_some_and(|n| !gone.contains(n)));
        entries.extend(gone.iter().map(|name| json!({"name": name, "$patch": "delete"})));
        let patch = json!({"spec": {"containers": entries}});
        let mut model = before;
        model.extend(set);
        model.retain(|name, _| !gone.contains(name));
        let once = strategic_merge(pods(), &original, &patch).expect("a patch");
        prop_assert_eq!(read(&once), model);
        prop_assert_eq!(strategic_merge(pods(), &once, &patch), Ok(once));
    }

    /// An order that names every item is the order of the result.
    #[test]
    fn an_order_is_obeyed(
        before in prop::collection::btree_map("[a-f]", "[x-z]", 1..6),
        seed in any::<u64>(),
    ) {
        let mut order: Vec<&String> = before.keys().collect();
        let turn = usize::try_from(seed % 7).unwrap_or(0) % order.len();
        order.rotate_left(turn);
        if seed % 2 == 0 {
            order.reverse();
        }
        let directive: Vec<Value> = order.iter().map(|name| json!({"name": name})).collect();
        let original = json!({"spec": {"containers": containers(&before)}});
        let patch = json!({"spec": {"$setElementOrder/containers": directive}});
        let patched = strategic_merge(pods(), &original, &patch).expect("a patch");
        prop_assert_eq!(names(&patched), order);
    }
}
