//! Nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::value::{items, text};
use super::{Errors, names};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(crate) fn check(object: &Value, errors: &mut Errors) {
    let mut known = BTreeSet::new();
    for (path, taint) in items(&object["spec"], "taints", "spec") {
        let (key, value, effect) =
            (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.all_invalid(&format!("{path}.key"), key, names::qualified(key));
        errors.all_invalid(&format!("{path}.value"), value, names::label_value(value));
        if effect.is_empty() {
            errors.required(format!("{path}.effect"), "");
        } else if !EFFECTS.contains(&effect) {
            errors.not_supported(format!("{path}.effect"), effect, EFFECTS);
        }
        if !known.insert((key, effect)) {
            errors.duplicate(path, taint.clone());
        }
    }
}

pub(crate) fn check_update(new: &Value, old: &Value, subresource: &str, errors: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let (new, old) = (&new["spec"], &old["spec"]);
    let before = old["podCIDRs"].as_array().is_some_and(|list| !list.is_empty());
    if before && new["podCIDRs"] != old["podCIDRs"] {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden("spec.podCIDRs", why);
    }
    if !text(old, "providerID").is_empty() && text(new, "providerID") != text(old, "providerID") {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden("spec.providerID", why);
    }
}
