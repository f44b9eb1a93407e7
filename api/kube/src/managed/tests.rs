//! Ownership by example, and against a plain model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::set::FieldSet;
use super::{Manager, applied, updated};
use crate::kinds::{self, Kind};
use crate::status::Status;

fn kind(group: &str, plural: &str) -> &'static Kind {
    kinds::find(group, "v1", plural).unwrap()
}

fn manager(name: &str, kind: &Kind) -> Manager {
    Manager { name: name.into(), version: kind.api_version(), subresource: String::new() }
}

fn create(kind: &Kind, by: &str, mut object: Value) -> Value {
    updated(kind, &manager(by, kind), None, &mut object, &Value::Null, "t0");
    object
}

fn update(kind: &Kind, by: &str, old: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut new = old.clone();
    change(&mut new);
    let given = new["metadata"]["managedFields"].take();
    updated(kind, &manager(by, kind), Some(old), &mut new, &given, "t1");
    new
}

fn apply(
    kind: &Kind,
    by: &str,
    force: bool,
    live: &Value,
    config: &Value,
) -> Result<Value, Status> {
    let live = (!live.is_null()).then_some(live);
    applied(kind, &manager(by, kind), force, live, config, "t2")
}

fn fields_of(object: &Value, by: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.into_iter().find(|e| e["manager"] == by).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

fn deployment(replicas: Option<i64>, containers: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}},
        },
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = json!(replicas);
    }
    object
}

#[test]
fn field_sets_keep_their_wire_form() {
    let wire = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"x\"": {}}},
        "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
        "i:3": {},
    });
    let set = FieldSet::from_value(&wire);
    assert_eq!(FieldSet::from_value(&set.to_value()), set);
    let mut sorted = wire;
    sorted.sort_all_objects();
    let mut written = set.to_value();
    written.sort_all_objects();
    assert_eq!(written, sorted);
    assert!(set.paths().contains(&".spec.ports[port=80,protocol=\"TCP\"].port".to_owned()));
    assert!(set.paths().contains(&".metadata.finalizers[=\"x\"]".to_owned()));
}

#[test]
fn a_new_object_belongs_to_its_creator() {
    let maps = kind("", "configmaps");
    let mut object = config_map(json!({"x": "1"}));
    object["metadata"]["labels"] = json!({"l": "m"});
    let object = create(maps, "me", object);
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "manager": "me", "operation": "Update", "apiVersion": "v1", "time": "t0",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:data": {".": {}, "f:x": {}},
                "f:metadata": {"f:labels": {".": {}, "f:l": {}}},
            },
        }])
    );
}

#[test]
fn structs_that_are_always_there_are_not_owned_by_themselves() {
    let object = deployment(Some(1), json!([{"name": "a", "image": "i"}]));
    let object = create(kind("apps", "deployments"), "me", object);
    let spec = &fields_of(&object, "me")["f:spec"];
    assert_eq!(spec.get("."), None);
    assert_eq!(spec["f:replicas"], json!({}));
    let template = &spec["f:template"]["f:spec"];
    assert_eq!(
        template["f:containers"],
        json!({"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}})
    );
}

#[test]
fn an_update_takes_what_it_changes_and_nothing_else() {
    let maps = kind("", "configmaps");
    let first = create(maps, "one", config_map(json!({"a": "1", "b": "1"})));
    let second = update(maps, "two", &first, |o| o["data"] = json!({"a": "1", "b": "2", "c": "2"}));
    assert_eq!(fields_of(&second, "one"), json!({"f:data": {".": {}, "f:a": {}}}));
    assert_eq!(fields_of(&second, "two"), json!({"f:data": {"f:b": {}, "f:c": {}}}));
    // Nothing changes: not even a time.
    assert_eq!(update(maps, "three", &second, |_| ()), second);
    let third = update(maps, "two", &second, |o| {
        o["data"].as_object_mut().unwrap().shift_remove("a");
    });
    assert_eq!(fields_of(&third, "one"), json!({"f:data": {}}));
}

#[test]
fn an_apply_is_refused_what_others_own_unless_it_is_forced() {
    let kind = kind("apps", "deployments");
    let containers = json!([{"name": "a", "image": "i"}]);
    let live = apply(kind, "one", false, &Value::Null, &deployment(Some(1), containers.clone()));
    let live = live.unwrap();
    let wanted = deployment(Some(2), containers);
    let refused = apply(kind, "two", false, &live, &wanted).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"
    );
    assert_eq!(refused.code, 409);
    let causes = refused.to_value()["details"]["causes"].clone();
    assert_eq!(
        causes,
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".spec.replicas"}])
    );
    let forced = apply(kind, "two", true, &live, &wanted).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    assert_eq!(fields_of(&forced, "one")["f:spec"].get("f:replicas"), None);
    assert_eq!(fields_of(&forced, "two")["f:spec"]["f:replicas"], json!({}));
    // The same value is no conflict: both own it.
    let again = apply(kind, "three", false, &forced, &wanted).unwrap();
    assert_eq!(fields_of(&again, "three"), fields_of(&again, "two"));
}

#[test]
fn conflicts_with_several_are_listed_by_manager() {
    let maps = kind("", "configmaps");
    let live = create(maps, "one", config_map(json!({"a": "1"})));
    let live = update(maps, "two", &live, |o| o["data"]["b"] = json!("1"));
    let refused = apply(maps, "me", false, &live, &config_map(json!({"a": "2", "b": "2"})));
    assert_eq!(
        refused.unwrap_err().message,
        "Apply failed with 2 conflicts: conflicts with \"one\" using v1:\n- .data.a\nconflicts with \"two\" using v1:\n- .data.b"
    );
}

#[test]
fn what_is_not_applied_any_more_goes_unless_others_own_it() {
    let maps = kind("", "configmaps");
    let all = config_map(json!({"a": "1", "b": "1", "c": "1"}));
    let live = apply(maps, "one", false, &Value::Null, &all).unwrap();
    let live = apply(maps, "two", false, &live, &config_map(json!({"b": "1"}))).unwrap();
    let live = apply(maps, "one", false, &live, &config_map(json!({"a": "1"}))).unwrap();
    assert_eq!(live["data"], json!({"a": "1", "b": "1"}));
    let live = apply(maps, "two", false, &live, &config_map(json!({}))).unwrap();
    assert_eq!(live["data"], json!({"a": "1"}));
    let same = apply(maps, "two", false, &live, &config_map(json!({}))).unwrap();
    assert_eq!(same["data"], live["data"]);
}

#[test]
fn lists_are_merged_by_their_keys() {
    let kind = kind("apps", "deployments");
    let web = json!({"name": "web", "image": "w"});
    let side = json!({"name": "side", "image": "s"});
    let live = apply(kind, "one", false, &Value::Null, &deployment(None, json!([web]))).unwrap();
    let live = apply(kind, "two", false, &live, &deployment(None, json!([side]))).unwrap();
    let containers = |o: &Value| o["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(containers(&live), json!([web, side]));
    let more = json!({"name": "web", "image": "w2", "tty": true});
    let live = apply(kind, "one", false, &live, &deployment(None, json!([more]))).unwrap();
    assert_eq!(containers(&live), json!([more, side]));
    let other = json!([{"name": "other", "image": "o"}]);
    let live = apply(kind, "one", false, &live, &deployment(None, other.clone())).unwrap();
    assert_eq!(containers(&live)[0], side);
    assert_eq!(containers(&live)[1], other[0]);
    let twice = deployment(None, json!([web, web]));
    let refused = apply(kind, "one", false, &live, &twice).unwrap_err();
    assert_eq!(
        refused.message,
        "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"web\"]"
    );
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let maps = kind("", "configmaps");
    let last = config_map(json!({"a": "1"})).to_string();
    let mut object = config_map(json!({"a": "1"}));
    let key = "kubectl.kubernetes.io/last-applied-configuration";
    object["metadata"]["annotations"] = json!({key: last});
    let live = create(maps, "kubectl-client-side-apply", object);
    let wanted = config_map(json!({"a": "2"}));
    assert!(apply(maps, "other", false, &live, &wanted).is_err());
    let live = apply(maps, "kubectl", false, &live, &wanted).unwrap();
    assert_eq!(live["data"], json!({"a": "2"}));
    let kept = live["metadata"]["annotations"][key].as_str().unwrap();
    assert!(kept.contains(r#""a":"2""#), "{kept}");
}

#[test]
fn the_first_apply_finds_what_nobody_tracked() {
    let maps = kind("", "configmaps");
    let old = config_map(json!({"a": "1"}));
    let refused = apply(maps, "me", false, &old, &config_map(json!({"a": "2"}))).unwrap_err();
    assert!(
        refused.message.contains("\"before-first-apply\" using v1: .data.a"),
        "{}",
        refused.message
    );
    // An update alone does not begin to track.
    let touched = update(maps, "me", &old, |o| o["data"]["b"] = json!("1"));
    assert_eq!(touched["metadata"].get("managedFields"), None);
}

#[test]
fn old_updaters_are_put_together() {
    let maps = kind("", "configmaps");
    let mut object = create(maps, "m-0", config_map(json!({"k0": "v"})));
    for number in 1..15 {
        let by = format!("m-{number:02}");
        object = update(maps, &by, &object, |o| o["data"][format!("k{number}")] = json!("v"));
    }
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert!(!fields_of(&object, "ancient-changes").is_null());
    assert!(!fields_of(&object, "m-14").is_null());
}

/// One write of the model: who, how, and the data it writes or applies.
#[derive(Debug, Clone)]
struct Write {
    by: usize,
    applies: bool,
    data: BTreeMap<String, String>,
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let data = prop::collection::btree_map("[abcd]", "[xy]", 0..4);
    let write = (0..3usize, any::<bool>(), data);
    prop::collection::vec(write.prop_map(|(by, applies, data)| Write { by, applies, data }), 1..12)
}

/// A map of texts, and who owns each key in which way.
#[derive(Debug, Default)]
struct Model {
    data: BTreeMap<String, String>,
    owners: BTreeMap<String, BTreeSet<(usize, bool)>>,
}

impl Model {
    fn write(&mut self, write: &Write) {
        let me = (write.by, write.applies);
        let before = self.data.clone();
        if write.applies {
            let mine = |owners: &BTreeSet<(usize, bool)>| owners.contains(&me);
            let gone: Vec<String> = self
                .owners
                .iter()
                .filter(|(key, owners)| {
                    mine(owners) && owners.len() == 1 && !write.data.contains_key(*key)
                })
                .map(|(key, _)| key.clone())
                .collect();
            for owners in self.owners.values_mut() {
                owners.remove(&me);
            }
            for key in gone {
                self.data.remove(&key);
            }
            self.data.extend(write.data.clone());
        } else {
            self.data = write.data.clone();
        }
        for (key, value) in &self.data {
            let owners = self.owners.entry(key.clone()).or_default();
            let changed = before.get(key) != Some(value);
            if changed {
                owners.clear();
            }
            if changed && !write.applies || write.applies && write.data.contains_key(key) {
                owners.insert(me);
            }
        }
        self.owners.retain(|key, _| self.data.contains_key(key));
    }
}

fn data_of(object: &Value) -> BTreeMap<String, String> {
    let fields = object["data"].as_object().cloned().unwrap_or_default();
    fields.into_iter().map(|(k, v)| (k, v.as_str().unwrap().to_owned())).collect()
}

fn owners_of(object: &Value) -> BTreeMap<String, BTreeSet<(usize, bool)>> {
    let mut all: BTreeMap<String, BTreeSet<(usize, bool)>> = BTreeMap::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let by = entry["manager"].as_str().unwrap().parse().unwrap();
        for key in entry["fieldsV1"]["f:data"].as_object().into_iter().flatten().map(|(k, _)| k) {
            if let Some(key) = key.strip_prefix("f:") {
                let me = (by, entry["operation"] == "Apply");
                all.entry(key.to_owned()).or_default().insert(me);
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn forced_writes_agree_with_a_plain_model(writes in writes()) {
        let maps = kind("", "configmaps");
        let mut model = Model::default();
        let mut live = Value::Null;
        // Somebody owns something at all times: an object without entries is not tracked.
        let object = |data: Value| {
            let mut object = config_map(data);
            object["metadata"]["labels"] = json!({"l": "m"});
            object
        };
        for write in &writes {
            let by = write.by.to_string();
            let data = json!(write.data);
            live = match (&live, write.applies) {
                (live, true) => apply(maps, &by, true, live, &object(data)).unwrap(),
                (Value::Null, false) => create(maps, &by, object(data)),
                (live, false) => update(maps, &by, live, |o| o["data"] = data),
            };
            model.write(write);
            prop_assert_eq!(data_of(&live), model.data.clone());
            let owners: BTreeMap<_, _> =
                model.owners.clone().into_iter().filter(|(_, o)| !o.is_empty()).collect();
            prop_assert_eq!(owners_of(&live), owners);
        }
    }
}
