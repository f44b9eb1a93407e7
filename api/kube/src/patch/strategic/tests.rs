//! Strategic merge on pods and deployments.

use super::*;
use serde_json::json;

fn pod(original: Value, patch: Value) -> Value {
    let kind = crate::kinds::find("", "v1", "pods").expect("pods");
    strategic_merge(kind, &original, &patch).expect("a patch")
}

#[test]
fn containers_merge_by_name() {
    let original = json!({"spec": {"containers": [
        {"name": "a", "image": "x", "args": ["1"]}, {"name": "b", "image": "y"}]}});
    let patch = json!({"spec": {"containers": [{"name": "a", "image": "z", "args": ["2"]}]}});
    assert_eq!(
        pod(original, patch),
        json!({"spec": {"containers": [
            {"name": "a", "image": "z", "args": ["2"]}, {"name": "b", "image": "y"}]}})
    );
}

#[test]
fn items_are_deleted_replaced_and_ordered() {
    let original = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}});
    assert_eq!(
        pod(original.clone(), json!({"spec": {"containers": [{"name": "b", "$patch": "delete"}]}})),
        json!({"spec": {"containers": [{"name": "a"}, {"name": "c"}]}})
    );
    assert_eq!(
        pod(
            original.clone(),
            json!({"spec": {"containers": [{"name": "d"}, {"$patch": "replace"}]}})
        ),
        json!({"spec": {"containers": [{"name": "d"}]}})
    );
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "d"}, {"name": "a"}],
        "containers": [{"name": "d", "image": "i"}, {"name": "b", "$patch": "delete"}]}});
    assert_eq!(
        pod(original, patch),
        json!({"spec": {"containers": [
            {"name": "c"}, {"name": "d", "image": "i"}, {"name": "a"}]}})
    );
}

#[test]
fn primitives_merge_as_sets() {
    let original = json!({"metadata": {"finalizers": ["a/a", "b/b"]}});
    let patch = json!({"metadata": {
        "$deleteFromPrimitiveList/finalizers": ["a/a"], "finalizers": ["c/c"]}});
    let new = pod(original, patch);
    let mut finalizers: Vec<&str> = new["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    finalizers.sort_unstable();
    assert_eq!(finalizers, ["b/b", "c/c"]);
}

#[test]
fn volumes_keep_only_the_new_source() {
    let original = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
    let patch = json!({"spec": {"volumes": [
        {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}});
    assert_eq!(
        pod(original, patch),
        json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}})
    );
}

#[test]
fn maps_are_replaced_on_request_and_nulls_remove() {
    let original = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"x": "y"}}});
    let patch = json!({"metadata": {
        "labels": {"$patch": "replace", "c": "3"}, "annotations": {"x": null, "z": null}}});
    assert_eq!(
        pod(original, patch),
        json!({"metadata": {"labels": {"c": "3"}, "annotations": {}}})
    );
}

#[test]
fn lists_without_strategy_are_replaced() {
    let original = json!({"spec": {"tolerations": [{"key": "a"}, {"key": "b"}]}});
    let patch = json!({"spec": {"tolerations": [{"key": "c"}]}});
    assert_eq!(pod(original, patch), json!({"spec": {"tolerations": [{"key": "c"}]}}));
}

#[test]
fn an_item_without_its_key_is_refused() {
    let kind = crate::kinds::find("", "v1", "pods").expect("pods");
    let original = json!({"spec": {"containers": [{"name": "a"}]}});
    let patch = json!({"spec": {"containers": [{"image": "x"}]}});
    let error = strategic_merge(kind, &original, &patch).expect_err("an error");
    assert!(error.to_string().contains("does not contain declared merge key: name"), "{error}");
}
