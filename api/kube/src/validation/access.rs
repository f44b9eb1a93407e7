//! Roles and bindings.
// upstream: Kubernetes, pkg/apis/rbac/validation/validation.go

use serde_json::Value;

use super::value::{items, text};
use super::{Errors, names};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) fn role(object: &Value, errors: &mut Errors) {
    let namespaced = object["kind"] == "Role";
    let rules = object["rules"].as_array().into_iter().flatten().enumerate();
    for (at, rule) in rules {
        let path = format!("rules[{at}]");
        let has = |name: &str| rule[name].as_array().is_some_and(|list| !list.is_empty());
        if !has("verbs") {
            errors.required(format!("{path}.verbs"), "verbs must contain at least one value");
        }
        if has("nonResourceURLs") {
            let at = format!("{path}.nonResourceURLs");
            let urls = rule["nonResourceURLs"].clone();
            if namespaced {
                errors.invalid(at, urls, "namespaced rules cannot apply to non-resource URLs");
            } else if has("apiGroups") || has("resources") || has("resourceNames") {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(at, urls, why);
            }
            continue;
        }
        if !has("apiGroups") {
            let why = "resource rules must supply at least one api group";
            errors.required(format!("{path}.apiGroups"), why);
        }
        if !has("resources") {
            let why = "resource rules must supply at least one resource";
            errors.required(format!("{path}.resources"), why);
        }
    }
}

pub(crate) fn binding(object: &Value, errors: &mut Errors) {
    let namespaced = object["kind"] == "RoleBinding";
    let reference = &object["roleRef"];
    if text(reference, "apiGroup") != GROUP {
        errors.not_supported("roleRef.apiGroup", text(reference, "apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(reference, "kind")) {
        errors.not_supported("roleRef.kind", text(reference, "kind"), kinds);
    }
    match text(reference, "name") {
        "" => errors.required("roleRef.name", ""),
        name => errors.all_invalid("roleRef.name", name, names::path_segment(name)),
    }
    let subjects = object["subjects"].as_array().into_iter().flatten().enumerate();
    for (at, one) in subjects {
        subject(one, namespaced, &format!("subjects[{at}]"), errors);
    }
}

fn subject(subject: &Value, namespaced: bool, path: &str, errors: &mut Errors) {
    let name = text(subject, "name");
    if name.is_empty() {
        errors.required(format!("{path}.name"), "");
    }
    let group = text(subject, "apiGroup");
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.all_invalid(&format!("{path}.name"), name, names::subdomain(name));
            }
            if !group.is_empty() {
                errors.not_supported(format!("{path}.apiGroup"), group, &[""]);
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.required(format!("{path}.namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => {
            errors.not_supported(format!("{path}.apiGroup"), group, &[GROUP]);
        }
        "User" | "Group" => {}
        other => {
            errors.not_supported(
                format!("{path}.kind"),
                other,
                &["ServiceAccount", "User", "Group"],
            );
        }
    }
}

pub(crate) fn binding_update(new: &Value, old: &Value, _sub: &str, errors: &mut Errors) {
    if new["roleRef"] != old["roleRef"] {
        errors.invalid("roleRef", new["roleRef"].clone(), "cannot change roleRef");
    }
}

/// Whether anything is aggregated from nothing.
pub(crate) fn cluster_role(object: &Value, errors: &mut Errors) {
    role(object, errors);
    let rule = &object["aggregationRule"];
    if rule.is_object() && items(rule, "clusterRoleSelectors", "").next().is_none() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.required("aggregationRule.clusterRoleSelectors", why);
    }
}
