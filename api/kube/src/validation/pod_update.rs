//! What may change in a pod that exists.

use serde_json::Value;

use super::Errors;
use super::value::{items, text};

const UPDATABLE: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks the new spec against the old.
pub(super) fn check(new: &Value, old: &Value, errors: &mut Errors) {
    for list in ["containers", "initContainers"] {
        let count = |spec: &Value| spec[list].as_array().map_or(0, Vec::len);
        if count(new) != count(old) {
            let why = "pod updates may not add or remove containers";
            return errors.forbidden(format!("spec.{list}"), why);
        }
    }
    if !deadline(new, old, errors) {
        return;
    }
    tolerations(new, old, errors);
    scheduling_gates(new, old, errors);
    let mut expected = new.clone();
    for list in ["containers", "initContainers"] {
        let before = old[list].as_array();
        let after = expected.get_mut(list).and_then(Value::as_array_mut);
        let Some(after) = after else { continue };
        for (container, old) in after.iter_mut().zip(before.into_iter().flatten()) {
            container["image"] = old["image"].clone();
        }
    }
    let mut free = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let negative = old["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0);
    if negative && new["terminationGracePeriodSeconds"] == 1 {
        free.push("terminationGracePeriodSeconds");
    }
    if old["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
        // A gated pod may narrow where it runs; widening is not looked for here.
        free.extend(["nodeSelector", "affinity"]);
    }
    for name in free {
        crate::kinds::put_back(&mut expected, old, name);
    }
    if expected != *old {
        let mut why = UPDATABLE.to_owned();
        for (name, before, after) in differences(old, &expected) {
            why.push_str(&format!("\n- {name}: {before}\n+ {name}: {after}"));
        }
        errors.forbidden("spec", &why);
    }
}

fn differences(old: &Value, new: &Value) -> Vec<(String, Value, Value)> {
    let fields = |v: &Value| v.as_object().cloned().unwrap_or_default();
    let (old, new) = (fields(old), fields(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let value = |map: &serde_json::Map<String, Value>, name: &String| {
        map.get(name).cloned().unwrap_or_default()
    };
    names
        .into_iter()
        .map(|name| (name.clone(), value(&old, name), value(&new, name)))
        .filter(|(_, before, after)| before != after)
        .collect()
}

/// Returns whether to go on.
fn deadline(new: &Value, old: &Value, errors: &mut Errors) -> bool {
    let field = "spec.activeDeadlineSeconds";
    let (after, before) =
        (new["activeDeadlineSeconds"].as_i64(), old["activeDeadlineSeconds"].as_i64());
    match (after, before) {
        (Some(after), Some(before)) if after > before => {
            errors.invalid(field, after, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.invalid(field, Value::Null, why);
            true
        }
        _ => true,
    }
}

fn tolerations(new: &Value, old: &Value, errors: &mut Errors) {
    let same = |a: &Value, b: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|f| text(a, f) == text(b, f))
    };
    let all = new["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (_, before) in items(old, "tolerations", "") {
        if !all.iter().any(|after| same(after, before)) {
            let why = "existing toleration can not be modified except its tolerationSeconds";
            return errors.forbidden("spec.tolerations", why);
        }
    }
}

fn scheduling_gates(new: &Value, old: &Value, errors: &mut Errors) {
    for (path, gate) in items(new, "schedulingGates", "spec") {
        let name = text(gate, "name");
        if !items(old, "schedulingGates", "").any(|(_, before)| text(before, "name") == name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(format!("{path}.name"), &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn errors_of(change: impl Fn(&mut Value)) -> Vec<String> {
        let kind = crate::kinds::find("", "v1", "pods").expect("pods");
        let mut old = json!({"metadata": {"name": "p", "namespace": "d", "resourceVersion": "1"},
            "spec": {"containers": [{"name": "a", "image": "b"}],
                "tolerations": [{"key": "k", "operator": "Exists"}]}});
        kind.default(&mut old);
        let mut new = old.clone();
        change(&mut new["spec"]);
        kind.validate_update(&new, &old, "").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn images_change_and_tolerations_are_added() {
        let none: [&str; 0] = [];
        assert_eq!(errors_of(|spec| spec["containers"][0]["image"] = json!("c")), none);
        assert_eq!(
            errors_of(|spec| {
                spec["tolerations"] = json!([{"key": "k", "operator": "Exists"},
                    {"key": "l", "operator": "Exists"}]);
            }),
            none
        );
        assert_eq!(errors_of(|spec| spec["activeDeadlineSeconds"] = json!(5)), none);
    }

    #[test]
    fn the_rest_is_fixed() {
        let errors = errors_of(|spec| spec["nodeName"] = json!("n"));
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with(
                "spec: Forbidden: pod updates may not change fields other than \
                 `spec.containers[*].image`,`spec.initContainers[*].image`,"
            ),
            "{errors:?}"
        );
        assert_eq!(
            errors_of(|spec| spec["containers"] =
                json!([spec["containers"][0].clone(), spec["containers"][0].clone()]))
            .last()
            .map(String::as_str),
            Some("spec.containers: Forbidden: pod updates may not add or remove containers")
        );
        assert_eq!(
            errors_of(|spec| spec["tolerations"] = json!([])),
            ["spec.tolerations: Forbidden: existing toleration can not be modified except its \
              tolerationSeconds"]
        );
    }
}
