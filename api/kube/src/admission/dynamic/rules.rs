//! What a webhook or policy is asked about: operations, resources, selectors.
// upstream: Kubernetes apiserver, pkg/admission/plugin/webhook/predicates and policy/matching

use serde_json::Value;

use crate::admission::{Admission, Operation};
use crate::kinds::Scope;
use crate::selectors::LabelSelector;
use crate::status::Status;

/// Whether the selectors and any of the rules match; `rules` absent or empty match everything
/// where `open` says so.
pub(super) async fn matches(
    a: &Admission<'_>,
    object: &Value,
    selectors: &Value,
    rules: &Value,
    open: bool,
) -> Result<bool, Status> {
    let mut list = rules.as_array().into_iter().flatten().peekable();
    let asked = (open && list.peek().is_none()) || list.any(|rule| matches_rule(a, rule));
    if !asked || !matches_object(a, object, &selectors["objectSelector"]) {
        return Ok(false);
    }
    let mut excluded = selectors["excludeResourceRules"].as_array().into_iter().flatten();
    if excluded.any(|rule| matches_rule(a, rule)) {
        return Ok(false);
    }
    matches_namespace(a, object, &selectors["namespaceSelector"]).await
}

fn matches_rule(a: &Admission<'_>, rule: &Value) -> bool {
    let has = |field: &str, wanted: &str| {
        let all = rule[field].as_array().into_iter().flatten();
        all.into_iter().any(|v| v == "*" || v == wanted)
    };
    let operation = match a.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    };
    let is_namespace = a.kind.group.is_empty() && a.kind.plural == "namespaces";
    let scope = match rule["scope"].as_str() {
        Some("Cluster") => a.kind.scope == Scope::Cluster,
        Some("Namespaced") => a.kind.scope == Scope::Namespaced && !is_namespace,
        _ => true,
    };
    let resource = rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut resources = resource.map(|r| r.split_once('/').unwrap_or((r, "")));
    let fits = |(plural, sub): (&str, &str)| {
        let plain = plural == "*" || plural == a.kind.plural;
        plain && (sub == a.subresource || sub == "*")
    };
    let mut names = rule["resourceNames"].as_array().into_iter().flatten().peekable();
    let named = names.peek().is_none() || names.any(|n| n == a.name);
    has("operations", operation)
        && has("apiGroups", a.kind.group)
        && has("apiVersions", a.kind.version)
        && scope
        && resources.any(fits)
        && named
}

fn is_open(selector: &Value) -> bool {
    selector.as_object().is_none_or(serde_json::Map::is_empty)
}

fn matches_object(a: &Admission<'_>, object: &Value, selector: &Value) -> bool {
    if is_open(selector) {
        return true;
    }
    let selector = LabelSelector::from_value(selector);
    let of = |object: &Value| object.is_object() && selector.matches(&object["metadata"]["labels"]);
    of(object) || a.old.is_some_and(of)
}

async fn matches_namespace(
    a: &Admission<'_>,
    object: &Value,
    selector: &Value,
) -> Result<bool, Status> {
    if is_open(selector) {
        return Ok(true);
    }
    let selector = LabelSelector::from_value(selector);
    if a.kind.group.is_empty() && a.kind.plural == "namespaces" {
        let namespace = if object.is_object() { object } else { a.old.unwrap_or(object) };
        return Ok(selector.matches(&namespace["metadata"]["labels"]));
    }
    if a.namespace.is_empty() {
        return Ok(true);
    }
    let namespace = namespace(a).await?;
    Ok(selector.matches(&namespace["metadata"]["labels"]))
}

/// The namespace of what is admitted; null where there is none.
pub(super) async fn namespace(a: &Admission<'_>) -> Result<Value, Status> {
    if a.namespace.is_empty() {
        return Ok(Value::Null);
    }
    let cache = a.cx.caches.of("namespaces").await?;
    if let Some(found) = cache.get(a.namespace) {
        return Ok(found.value());
    }
    a.cx.caches.freshen(&cache).await?;
    Ok(cache.get(a.namespace).map_or(Value::Null, |o| o.value()))
}
