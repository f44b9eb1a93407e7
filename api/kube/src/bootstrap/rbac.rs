//! Bootstrap RBAC: the table as objects, and how roles that lost rules get them back.

use serde_json::{Value, json};

use super::Wanted;
use super::rbac_table::{
    CLUSTER_BINDINGS, CLUSTER_ROLES, CONTROLLER_BINDINGS, CONTROLLER_ROLES, NAMESPACE_BINDINGS,
    NAMESPACE_ROLES,
};
use crate::auth::rbac::{Rule, rules_of};

const GROUP: &str = "rbac.authorization.k8s.io";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// A role of the table.
pub(super) struct Role {
    /// Empty: a cluster role.
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// Roles whose rules include these.
    pub(super) aggregates_to: &'static [&'static str],
    /// Names whose `aggregate-to` labels this role selects.
    pub(super) aggregates: &'static [&'static str],
    /// `verbs | groups | resources | names`, or `verbs @ paths`.
    pub(super) rules: &'static [&'static str],
}

/// A binding of the table.
pub(super) struct Binding {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// `Kind:name`.
    pub(super) role: &'static str,
    /// `Kind:name` or `ServiceAccount:namespace:name`.
    pub(super) subjects: &'static [&'static str],
}

/// All roles and bindings.
pub(super) fn objects() -> Vec<Wanted> {
    let roles = [CLUSTER_ROLES, CONTROLLER_ROLES, NAMESPACE_ROLES].into_iter().flatten();
    let bindings =
        [CLUSTER_BINDINGS, CONTROLLER_BINDINGS, NAMESPACE_BINDINGS].into_iter().flatten();
    roles.map(role).chain(bindings.map(binding)).collect()
}

/// The rules of the role `system:node`, which the node authorizer applies.
pub(crate) fn node_rules() -> Vec<Rule> {
    let rules = CLUSTER_ROLES.iter().find(|r| r.name == "system:node").map(|r| r.rules);
    let rules: Vec<Value> = rules.unwrap_or_default().iter().map(|text| rule(text)).collect();
    rules_of(&json!({ "rules": rules }))
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = json!({"name": name});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata["labels"] = json!({BOOTSTRAPPING: "rbac-defaults"});
    metadata["annotations"] = json!({AUTO_UPDATE: "true"});
    metadata
}

fn role(role: &Role) -> Wanted {
    let mut object = json!({"metadata": metadata(role.namespace, role.name)});
    for name in role.aggregates_to {
        object["metadata"]["labels"][format!("{AGGREGATE}{name}")] = json!("true");
    }
    let mut rules: Vec<Value> = role.rules.iter().map(|text| rule(text)).collect();
    if !role.aggregates.is_empty() {
        let selectors: Vec<Value> = role
            .aggregates
            .iter()
            .map(|name| json!({"matchLabels": {format!("{AGGREGATE}{name}"): "true"}}))
            .collect();
        object["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
        rules = aggregated(role);
    }
    object["rules"] = json!(rules);
    let plural = if role.namespace.is_empty() { "clusterroles" } else { "roles" };
    Wanted { group: GROUP, plural, object, mend: mend_role }
}

/// The rules of all roles that aggregate to this one, and to those in turn.
fn aggregated(role: &Role) -> Vec<Value> {
    CLUSTER_ROLES
        .iter()
        .filter(|r| r.aggregates_to.iter().any(|to| role.aggregates.contains(to)))
        .flat_map(|r| {
            let own = r.rules.iter().map(|text| rule(text));
            let inner = if r.aggregates.is_empty() { Vec::new() } else { aggregated(r) };
            own.chain(inner).collect::<Vec<_>>()
        })
        .collect()
}

fn rule(text: &str) -> Value {
    let list = |part: &str| -> Vec<String> {
        part.trim().split(',').map(|s| s.trim().to_owned()).collect()
    };
    if let Some((verbs, paths)) = text.split_once(" @ ") {
        return json!({"verbs": list(verbs), "nonResourceURLs": list(paths)});
    }
    let parts: Vec<&str> = text.split('|').collect();
    let part = |i: usize| list(parts.get(i).copied().unwrap_or_default());
    let mut rule = json!({"verbs": part(0), "apiGroups": part(1), "resources": part(2)});
    if parts.len() > 3 {
        rule["resourceNames"] = json!(part(3));
    }
    rule
}

fn binding(binding: &Binding) -> Wanted {
    let subjects: Vec<Value> = binding
        .subjects
        .iter()
        .map(|text| match text.split_once(':') {
            Some(("ServiceAccount", rest)) => {
                let (namespace, name) = rest.split_once(':').unwrap_or(("", rest));
                json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
            }
            Some((kind, name)) => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
            None => Value::Null,
        })
        .collect();
    let (kind, name) = binding.role.split_once(':').unwrap_or(("ClusterRole", binding.role));
    let mut object = json!({
        "metadata": metadata(binding.namespace, binding.name),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name},
    });
    if !subjects.is_empty() {
        object["subjects"] = json!(subjects);
    }
    let plural = if binding.namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
    Wanted { group: GROUP, plural, object, mend: mend_binding }
}

fn may_mend(old: &Value) -> bool {
    old["metadata"]["annotations"][AUTO_UPDATE] != "false"
}

/// Rules that are missing are added; what an administrator added stays.
fn mend_role(wanted: &Value, old: &Value) -> Option<Value> {
    if !may_mend(old) || old["aggregationRule"].is_object() {
        return None;
    }
    let have = old["rules"].as_array().cloned().unwrap_or_default();
    let missing: Vec<Value> = wanted["rules"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|rule| !have.contains(rule))
        .cloned()
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut new = old.clone();
    new["rules"] = json!(have.into_iter().chain(missing).collect::<Vec<_>>());
    Some(new)
}

fn mend_binding(wanted: &Value, old: &Value) -> Option<Value> {
    if !may_mend(old) || old["roleRef"] != wanted["roleRef"] {
        return None;
    }
    let have = old["subjects"].as_array().cloned().unwrap_or_default();
    let same = |a: &Value, b: &Value| {
        a["kind"] == b["kind"] && a["name"] == b["name"] && a["namespace"] == b["namespace"]
    };
    let missing: Vec<Value> = wanted["subjects"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|subject| !have.iter().any(|h| same(h, subject)))
        .cloned()
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut new = old.clone();
    new["subjects"] = json!(have.into_iter().chain(missing).collect::<Vec<_>>());
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_bootstrap_policy_whole() {
        let all = objects();
        let count = |plural: &str| all.iter().filter(|w| w.plural == plural).count();
        assert_eq!(
            [CLUSTER_ROLES.len(), CONTROLLER_ROLES.len(), count("roles")],
            [31, 38, 8],
            "cluster roles, controller roles, namespaced roles and one of ours"
        );
        assert_eq!(
            [CLUSTER_BINDINGS.len(), CONTROLLER_BINDINGS.len(), count("rolebindings")],
            [12, 38, 8]
        );
    }

    #[test]
    fn admin_has_the_rules_of_edit_and_view() {
        let all = objects();
        let admin = all.iter().find(|w| w.object["metadata"]["name"] == "admin").unwrap();
        let rules = admin.object["rules"].as_array().unwrap();
        let names = |resource: &str| {
            rules.iter().any(|r| r["resources"].as_array().unwrap().contains(&json!(resource)))
        };
        assert!(names("rolebindings") && names("secrets") && names("configmaps"));
    }

    #[test]
    fn a_mended_role_keeps_what_was_added() {
        let wanted = json!({"rules": [rule("get |  | pods")]});
        let old = json!({"metadata": {}, "rules": [rule("get |  | secrets")]});
        let new = mend_role(&wanted, &old).unwrap();
        assert_eq!(new["rules"].as_array().map(Vec::len), Some(2));
        assert_eq!(mend_role(&wanted, &new), None);
    }
}
