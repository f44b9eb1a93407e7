//! Small kinds: budgets, leases, priorities, events, classes of storage.

use serde_json::Value;

use super::value::{at_most_all, immutable, int_or_percent, one_of, text};
use super::{Errors, names, selector};

pub(crate) fn disruption_budget(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.invalid("spec", spec.clone(), why);
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if !spec[field].is_null() {
            let path = format!("spec.{field}");
            int_or_percent(&spec[field], &path, errors);
            at_most_all(&spec[field], &path, errors);
        }
    }
    selector::check(&spec["selector"], "spec.selector", errors);
    if !spec["unhealthyPodEvictionPolicy"].is_null() {
        let known = ["AlwaysAllow", "IfHealthyBudget"];
        one_of(spec, "unhealthyPodEvictionPolicy", "spec", &known, errors);
    }
}

pub(crate) fn lease(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64().filter(|s| *s <= 0) {
        errors.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
    }
    if let Some(count) = spec["leaseTransitions"].as_i64().filter(|c| *c < 0) {
        errors.invalid("spec.leaseTransitions", count, "must be greater than or equal to 0");
    }
}

pub(crate) fn priority_class(object: &Value, errors: &mut Errors) {
    const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let value = object["value"].as_i64().unwrap_or(0);
    let system =
        [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
    if name.starts_with("system-") {
        if !system.contains(&(name, value)) {
            let why = "priority class names with 'system-' prefix are reserved for system use \
                       only. error: "
                .to_owned()
                + &format!("{name} is not a known system priority class");
            errors.forbidden("metadata.name", &why);
        }
    } else if value > HIGHEST_USER_PRIORITY {
        let why =
            format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
        errors.forbidden("value", &why);
    }
    if !object["preemptionPolicy"].is_null() {
        let policy = text(object, "preemptionPolicy");
        let known = ["PreemptLowerPriority", "Never"];
        if !known.contains(&policy) {
            errors.not_supported("preemptionPolicy", policy, &known);
        }
    }
}

pub(crate) fn priority_class_update(new: &Value, old: &Value, _sub: &str, errors: &mut Errors) {
    if new["value"] != old["value"] {
        errors.forbidden("value", "may not be changed in an update.");
    }
    immutable(new, old, "preemptionPolicy", "", errors);
}

/// The namespace of an event is that of what it is about.
pub(crate) fn event(object: &Value, errors: &mut Errors) {
    let (about, path) = match object.get("involvedObject") {
        Some(about) => (about, "involvedObject.namespace"),
        None => (&object["regarding"], "regarding.namespace"),
    };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let wanted = text(about, "namespace");
    let fits = match wanted {
        "" => matches!(namespace, "default" | "kube-system"),
        wanted => wanted == namespace,
    };
    if !fits {
        errors.invalid(path, wanted, "does not match event.namespace");
    }
    errors.all_invalid("metadata.namespace", namespace, names::subdomain(namespace));
}

pub(crate) fn storage_class(object: &Value, errors: &mut Errors) {
    match text(object, "provisioner") {
        "" => errors.required("provisioner", ""),
        name => errors.all_invalid("provisioner", name, names::qualified(&name.to_lowercase())),
    }
    for (field, known) in [
        ("reclaimPolicy", ["Delete", "Retain"]),
        ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
    ] {
        let value = text(object, field);
        if !known.contains(&value) {
            errors.not_supported(field, value, &known);
        }
    }
}

pub(crate) fn storage_class_update(new: &Value, old: &Value, _sub: &str, errors: &mut Errors) {
    if new["parameters"] != old["parameters"] {
        errors.forbidden("parameters", "updates to parameters are forbidden.");
    }
    if new["provisioner"] != old["provisioner"] {
        errors.forbidden("provisioner", "updates to provisioner are forbidden.");
    }
    if new["reclaimPolicy"] != old["reclaimPolicy"] {
        errors.forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.");
    }
    immutable(new, old, "volumeBindingMode", "", errors);
}
