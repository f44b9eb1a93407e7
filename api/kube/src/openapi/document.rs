//! The documents and the index of version 3, and a bare one of version 2.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Document, paths, schema};
use crate::custom::View;
use crate::discovery;

/// The release that the facts are of.
const RELEASE: &str = "v1.36.3";

/// Made documents. There are as many as group versions, which bounds it.
static MADE: OnceLock<Mutex<BTreeMap<&'static str, Packed>>> = OnceLock::new();

/// A document as it is kept: a twentieth of its size, and as most clients ask for it.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The document, compressed.
    pub gzip: Bytes,
    /// Names the content.
    pub etag: String,
}

impl Packed {
    fn new(document: &Value, etag: String) -> std::io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        serde_json::to_writer(&mut encoder, document)?;
        Ok(Packed { gzip: Bytes::from(encoder.finish()?), etag })
    }

    /// The document itself.
    pub fn bytes(&self) -> std::io::Result<Bytes> {
        let mut bytes = Vec::new();
        GzDecoder::new(&self.gzip[..]).read_to_end(&mut bytes)?;
        Ok(Bytes::from(bytes))
    }
}

/// Paths of all documents with their hashes: `/openapi/v3`.
pub(crate) fn v3_index(view: &View) -> Bytes {
    let mut all = Map::new();
    for path in all_paths(view) {
        let url = format!("/openapi/v3/{path}?hash={}", content_hash(view, &path));
        all.insert(path, json!({"serverRelativeURL": url}));
    }
    Bytes::from(json!({"paths": all}).to_string())
}

/// One document; `path` is `api/v1` or `apis/GROUP/VERSION`.
pub(crate) fn v3_doc(view: &View, path: &str) -> Option<Packed> {
    let (group, version) = split(path)?;
    let kinds = discovery::resources(&view.kinds, group, version);
    let first = kinds.first()?;
    let is_custom = kinds.iter().any(|k| k.custom.is_some());
    let key: &'static str = first.schema;
    let made = MADE.get_or_init(Mutex::default);
    let found = match is_custom {
        true => view.documents.lock().get(path).cloned(),
        false => made.lock().get(key).cloned(),
    };
    if found.is_some() {
        return found;
    }
    let mut all_paths = Map::new();
    let mut schemas = schema::Schemas::default();
    for kind in &kinds {
        paths::of_kind(kind, &mut all_paths, &mut schemas);
    }
    let document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": RELEASE},
        "paths": all_paths,
        "components": {"schemas": schemas.into_value()},
    });
    let packed = Packed::new(&document, content_hash(view, path)).ok()?;
    match is_custom {
        true => drop(view.documents.lock().insert(path.to_owned(), packed.clone())),
        false => drop(made.lock().insert(key, packed.clone())),
    }
    Some(packed)
}

/// Version 2 has no types here: clients of this release read version 3.
pub fn v2() -> Document {
    let document = json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": RELEASE},
        "paths": {}, "definitions": {},
    });
    Document { bytes: Bytes::from(document.to_string()), etag: hash("v2") }
}

/// The same as a protobuf message, which is how Go clients ask for it.
pub fn v2_message() -> Document {
    // Document: swagger 1, info 2 (title 1, version 2), paths 8, definitions 9.
    let text = |tag: u8, text: &str| {
        let length = u8::try_from(text.len()).expect("a short text");
        [&[tag, length], text.as_bytes()].concat()
    };
    let info = [text(0x0a, "Kubernetes"), text(0x12, RELEASE)].concat();
    let length = u8::try_from(info.len()).expect("a short message");
    let message = [text(0x0a, "2.0"), vec![0x12, length], info, vec![0x42, 0, 0x4a, 0]].concat();
    Document { bytes: Bytes::from(message), etag: hash("v2.message") }
}

fn all_paths(view: &View) -> Vec<String> {
    let mut all = vec!["api/v1".to_owned()];
    for (group, versions) in discovery::groups(&view.kinds) {
        all.extend(versions.into_iter().map(|version| format!("apis/{group}/{version}")));
    }
    all
}

fn split(path: &str) -> Option<(&str, &str)> {
    let mut parts = path.split('/');
    let found = match (parts.next()?, parts.next()?, parts.next()) {
        ("api", version, None) => ("", version),
        ("apis", group, Some(version)) if !group.is_empty() => (group, version),
        _ => return None,
    };
    parts.next().is_none().then_some(found)
}

/// Names a document's content; that of custom kinds depends on their definitions.
fn content_hash(view: &View, path: &str) -> String {
    let of = split(path).and_then(|(g, v)| view.hashes.get(&(g.to_owned(), v.to_owned())));
    match of {
        Some(definitions) => hash(&format!("{path}?{definitions}")),
        None => hash(path),
    }
}

/// Names a document's content: it depends on the build and the path alone.
fn hash(path: &str) -> String {
    static FACTS: OnceLock<Vec<u8>> = OnceLock::new();
    let facts = FACTS.get_or_init(|| {
        let mut all = Sha256::new();
        all.update(env!("CARGO_PKG_VERSION"));
        all.update(crate::facts::TEXT);
        all.finalize().to_vec()
    });
    let mut one = Sha256::new();
    one.update(facts);
    one.update(path);
    hex::encode_upper(one.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str) -> Value {
        serde_json::from_slice(&v3_doc(&View::default(), path).unwrap().bytes().unwrap()).unwrap()
    }

    #[test]
    fn the_index_names_every_document() {
        let index: Value = serde_json::from_slice(&v3_index(&View::default())).expect("json");
        for (path, entry) in index["paths"].as_object().expect("paths") {
            let made = v3_doc(&View::default(), path).expect("a document");
            let url = entry["serverRelativeURL"].as_str().expect("a url");
            assert!(url.ends_with(&format!("?hash={}", made.etag)), "{url}");
        }
        assert!(v3_doc(&View::default(), "apis/apps/v2").is_none());
        assert!(v3_doc(&View::default(), "version").is_none());
    }

    #[test]
    fn patches_name_the_parameters_that_kubectl_looks_for() {
        let apps = document("apis/apps/v1");
        let patch =
            &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "apps", "version": "v1", "kind": "Deployment"})
        );
        let names: Vec<&str> = patch["parameters"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|p| p["name"].as_str())
            .collect();
        for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
            assert!(names.contains(&name), "{name}");
        }
        let bodies = patch["requestBody"]["content"].as_object().expect("bodies");
        assert!(bodies.contains_key("application/strategic-merge-patch+json"));
    }

    #[test]
    fn every_reference_is_there() {
        for path in all_paths(&View::default()) {
            let document = document(&path);
            let schemas = document["components"]["schemas"].as_object().expect("schemas");
            let mut waiting = vec![&document];
            while let Some(value) = waiting.pop() {
                match value {
                    Value::Object(fields) => {
                        if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                            let name = target.trim_start_matches("#/components/schemas/");
                            assert!(schemas.contains_key(name), "{path}: {name}");
                        }
                        waiting.extend(fields.values());
                    }
                    Value::Array(items) => waiting.extend(items),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn lists_say_how_they_are_patched() {
        let core = document("api/v1");
        let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
            ["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    }
}
