//! RBAC escalation check: nobody grants by a role or a binding what they may not do themselves.

use futures::FutureExt;
use serde_json::Value;

use super::{Admission, Operation, Plugin};
use crate::auth::rbac::{Rule, rules_of};
use crate::auth::{Attributes, ResourceAttributes};
use crate::cache::Caches;
use crate::layers::authorization;
use crate::status::Status;
use crate::user::UserInfo;

pub(super) const ENTRY: Plugin =
    Plugin { mutate: None, validate: Some(|a, object| validate(a, object).boxed()) };

const GROUP: &str = "rbac.authorization.k8s.io";

async fn validate(a: &Admission<'_>, object: &Value) -> Result<(), Status> {
    let writes = matches!(a.operation, Operation::Create | Operation::Update);
    if !writes || a.kind.group != GROUP || a.user.is_in(crate::user::MASTERS) {
        return Ok(());
    }
    let binding = a.kind.kind.ends_with("Binding");
    let (part, verb) = if binding { ("subjects", "bind") } else { ("rules", "escalate") };
    let role = &object["roleRef"];
    if a.old.is_some_and(|old| old[part] == object[part] && old["roleRef"] == *role) {
        return Ok(());
    }
    let (resource, name) = match (binding, role["kind"].as_str()) {
        (false, _) => (a.kind.plural, a.name),
        (true, Some("Role")) => ("roles", role["name"].as_str().unwrap_or_default()),
        (true, _) => ("clusterroles", role["name"].as_str().unwrap_or_default()),
    };
    let target = ResourceAttributes {
        group: GROUP,
        resource,
        subresource: "",
        namespace: a.namespace,
        name,
    };
    let attributes = Attributes { user: a.user, verb, resource: Some(target), path: "" };
    if authorization::allowed(a.cx, &attributes).await {
        return Ok(());
    }
    let wanted = if binding {
        granted(&a.cx.caches, resource, a.namespace, name).await?
    } else {
        rules_of(object)
    };
    let held = a.cx.rbac.rules(a.user, a.namespace);
    let missing: Vec<&Rule> = wanted.iter().filter(|rule| !covered(a.user, rule, &held)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = missing.iter().map(|rule| show(rule)).collect();
    Err(a.forbidden(&format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        a.user.name,
        a.user.groups,
        shown.join("\n")
    )))
}

async fn granted(
    caches: &Caches,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Vec<Rule>, Status> {
    let cache = caches.of(resource).await?;
    let key = if resource == "roles" { format!("{namespace}/{name}") } else { name.to_owned() };
    Ok(cache.get(&key).map(|role| rules_of(&role.value())).unwrap_or_default())
}

/// Whether each single permission of a rule is held.
fn covered(user: &UserInfo, rule: &Rule, held: &[Rule]) -> bool {
    let none = vec![String::new()];
    let names = if rule.names.is_empty() { &none } else { &rule.names };
    let held = |verb: &str, resource: Option<ResourceAttributes<'_>>, path: &str| {
        held.iter().any(|h| h.allows(&Attributes { user, verb, resource, path }))
    };
    rule.verbs.iter().all(|verb| {
        rule.urls.iter().all(|url| held(verb, None, url))
            && rule.groups.iter().all(|group| {
                rule.resources.iter().all(|resource| {
                    let (resource, subresource) =
                        resource.split_once('/').unwrap_or((resource, ""));
                    let of =
                        ResourceAttributes { group, resource, subresource, ..Default::default() };
                    names.iter().all(|name| held(verb, Some(ResourceAttributes { name, ..of }), ""))
                })
            })
    })
}

fn show(rule: &Rule) -> String {
    let mut out = String::from("{");
    for (name, list) in [
        ("APIGroups", &rule.groups),
        ("NonResourceURLs", &rule.urls),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.names),
        ("Verbs", &rule.verbs),
    ] {
        if !list.is_empty() {
            if out.len() > 1 {
                out.push_str(", ");
            }
            out.push_str(&format!("{name}:{list:?}"));
        }
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rbac::rule;

    #[test]
    fn a_rule_is_covered_permission_by_permission() {
        let held = [rule(&["get"], &["pods", "*/log"], &[]), rule(&["*"], &["secrets"], &["a"])];
        let check = |verbs: &[&str], resource: &str, names: &[&str], expected: bool| {
            let wanted = rule(verbs, &[resource], names);
            assert_eq!(covered(&UserInfo::new("u", &[]), &wanted, &held), expected, "{wanted:?}");
        };
        check(&["get"], "pods", &["x"], true);
        check(&["get", "list"], "pods", &[], false);
        check(&["get"], "pods/log", &[], true);
        check(&["get"], "pods/status", &[], false);
        check(&["get"], "*", &[], false);
        check(&["delete"], "secrets", &["a"], true);
        check(&["delete"], "secrets", &[], false);
    }
}
