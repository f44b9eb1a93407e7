//! The aggregated form: all of `/api` or `/apis` in one document, made once for as long as it holds.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{groups, resources};
use crate::kinds::{Kind, Scope, Subresource};

/// Bytes that are served as they are, and the hash that names them.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON.
    pub bytes: Bytes,
    /// Upper-case hexadecimal, without quotes.
    pub etag: String,
}

impl Document {
    fn of(value: &Value) -> Self {
        let bytes = Bytes::from(value.to_string());
        let etag = hex::encode_upper(Sha256::digest(&bytes));
        Document { bytes, etag }
    }
}

static CORE: LazyLock<Document> = LazyLock::new(|| {
    let core =
        json!({"metadata": {"creationTimestamp": null}, "versions": [version(&[], "", "v1")]});
    Document::of(&list(vec![core]))
});

/// `/api`.
pub fn aggregated_core() -> Document {
    CORE.clone()
}

/// `/apis`.
pub fn aggregated_groups(custom: &[&'static Kind]) -> Document {
    let all = groups(custom).into_iter().map(|(group, versions)| {
        let versions: Vec<Value> =
            versions.into_iter().map(|v| version(custom, group, v)).collect();
        json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
    });
    Document::of(&list(all.collect()))
}

fn list(items: Vec<Value>) -> Value {
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items,
    })
}

fn version(custom: &[&'static Kind], group: &str, version: &str) -> Value {
    let all: Vec<Value> = resources(custom, group, version).into_iter().map(resource).collect();
    json!({"version": version, "resources": all, "freshness": "Current"})
}

fn resource(kind: &Kind) -> Value {
    let mut made = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        made["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        made["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let all: Vec<Value> = kind.subresources.iter().map(|s| subresource(kind, s)).collect();
        made["subresources"] = Value::Array(all);
    }
    made
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let (group, version) = match sub.version {
        "" => (kind.group, kind.version),
        version => (sub.group, version),
    };
    json!({
        "subresource": sub.name,
        "responseKind": {"group": group, "version": version, "kind": sub.kind},
        "verbs": sub.verbs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_there_once() {
        let mut found = 0;
        for document in [aggregated_core(), aggregated_groups(&[])] {
            let value: Value = serde_json::from_slice(&document.bytes).expect("json");
            for group in value["items"].as_array().expect("items") {
                for version in group["versions"].as_array().expect("versions") {
                    found += version["resources"].as_array().expect("resources").len();
                }
            }
            assert_eq!(document.etag.len(), 64);
        }
        assert_eq!(found, crate::kinds::table().len());
    }
}
