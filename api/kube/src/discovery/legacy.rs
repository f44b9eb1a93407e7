//! The old form: one document for each path.

use base64::Engine as _;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{groups, resources};
use crate::kinds::{Kind, Scope, Subresource};

/// `/api`; `address` is where clients reach the server.
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
pub fn group_list(custom: &[&'static Kind]) -> Value {
    let all: Vec<Value> =
        groups(custom).into_iter().map(|(name, versions)| entry(name, &versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
}

/// `/apis/GROUP`.
pub fn group(custom: &[&'static Kind], name: &str) -> Option<Value> {
    let (name, versions) = groups(custom).into_iter().find(|(group, _)| *group == name)?;
    let mut found = entry(name, &versions);
    found["kind"] = json!("APIGroup");
    found["apiVersion"] = json!("v1");
    Some(found)
}

fn entry(name: &str, versions: &[&str]) -> Value {
    let all: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v}))
        .collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// `/api/v1` (the group is empty) and `/apis/GROUP/VERSION`.
pub fn resource_list(custom: &[&'static Kind], group: &str, version: &str) -> Option<Value> {
    let kinds = resources(custom, group, version);
    let api_version = kinds.first()?.api_version();
    let mut list = Vec::new();
    for kind in kinds {
        list.push(resource(kind));
        let mut subresources: Vec<&Subresource> = kind.subresources.iter().collect();
        subresources.sort_by_key(|s| s.name);
        list.extend(subresources.into_iter().map(|s| subresource(kind, s)));
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": api_version, "resources": list,
    }))
}

fn resource(kind: &Kind) -> Value {
    let mut made = Map::new();
    let mut set = |name: &str, value: Value| drop(made.insert(name.to_owned(), value));
    set("name", json!(kind.plural));
    set("singularName", json!(kind.singular));
    set("namespaced", json!(kind.scope == Scope::Namespaced));
    set("kind", json!(kind.kind));
    set("verbs", json!(kind.verbs));
    if !kind.short_names.is_empty() {
        set("shortNames", json!(kind.short_names));
    }
    if !kind.categories.is_empty() {
        set("categories", json!(kind.categories));
    }
    if kind.serves("list") {
        set("storageVersionHash", json!(storage_version_hash(kind)));
    }
    Value::Object(made)
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut made = json!({
        "name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
        "namespaced": kind.scope == Scope::Namespaced, "kind": sub.kind, "verbs": sub.verbs,
    });
    if !sub.version.is_empty() {
        made["group"] = json!(sub.group);
        made["version"] = json!(sub.version);
    }
    made
}

/// Names the version in which objects are stored.
fn storage_version_hash(kind: &Kind) -> String {
    // Both versions of the autoscaler are stored as v2.
    let custom = kind.served();
    let version = match &custom {
        Some(served) => served.definition.storage_version.as_str(),
        None if kind.group == "autoscaling" => "v2",
        None => kind.version,
    };
    let hash = Sha256::digest(format!("{}/{version}/{}", kind.group, kind.kind));
    base64::engine::general_purpose::STANDARD.encode(&hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_listed_with_their_subresources() {
        let list = resource_list(&[], "", "v1").expect("core");
        let all = list["resources"].as_array().expect("a list");
        let find = |name: &str| all.iter().find(|r| r["name"] == name).expect("a resource");
        let pods = find("pods");
        assert_eq!(pods["shortNames"], json!(["po"]));
        assert_eq!(pods["storageVersionHash"], "xPOwRZ+Yhw8=");
        let eviction = find("pods/eviction");
        assert_eq!((&eviction["group"], &eviction["kind"]), (&json!("policy"), &json!("Eviction")));
        assert!(resource_list(&[], "apps", "v1beta1").is_none());
    }

    #[test]
    fn groups_name_the_version_to_prefer() {
        let autoscaling = group(&[], "autoscaling").expect("autoscaling");
        assert_eq!(autoscaling["preferredVersion"]["groupVersion"], "autoscaling/v2");
        assert!(group(&[], "extensions").is_none());
    }
}
