//! The two byte forms of an object: stored (without resourceVersion) and on the wire (with it).
//!
//! What this server writes always begins `{"apiVersion":…,"kind":…,"metadata":{`, so that the wire
//! form is the stored one with the resourceVersion spliced in, without parsing.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

const METADATA: &[u8] = b"\"metadata\":{";
const RESOURCE_VERSION: &[u8] = b"\"resourceVersion\"";

/// The bytes to store: apiVersion, kind and metadata first, no resourceVersion.
pub(crate) fn stored_bytes(object: &Value) -> Bytes {
    let Value::Object(map) = object else {
        return Bytes::from(object.to_string());
    };
    let mut ordered = Map::with_capacity(map.len());
    for key in ["apiVersion", "kind", "metadata"] {
        if let Some(value) = map.get(key) {
            ordered.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(Value::Object(metadata)) = ordered.get_mut("metadata") {
        metadata.shift_remove("resourceVersion");
        metadata.shift_remove("selfLink");
    }
    for (key, value) in map {
        if !ordered.contains_key(key) {
            ordered.insert(key.clone(), value.clone());
        }
    }
    Bytes::from(Value::Object(ordered).to_string())
}

/// The wire form of stored bytes that were written at `revision`.
pub(crate) fn wire_bytes(stored: &Bytes, revision: i64) -> Bytes {
    if let Some(at) = splice_point(stored) {
        let (head, tail) = stored.split_at(at);
        let mut out = BytesMut::with_capacity(stored.len() + 48);
        out.put_slice(head);
        out.put_slice(RESOURCE_VERSION);
        out.put_slice(b":\"");
        out.put_slice(revision.to_string().as_bytes());
        out.put_slice(if tail.first() == Some(&b'}') { b"\"" } else { b"\"," });
        out.put_slice(tail);
        return out.freeze();
    }
    match stored_value(stored, revision) {
        Some(value) => Bytes::from(value.to_string()),
        None => stored.clone(),
    }
}

/// The object of stored bytes, with its resourceVersion set.
pub(crate) fn stored_value(stored: &[u8], revision: i64) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(stored).ok()?;
    value.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
    Some(value)
}

/// Where the first member of the top-level metadata begins, when that is certain without parsing.
fn splice_point(stored: &[u8]) -> Option<usize> {
    let mut rest = stored.strip_prefix(b"{\"apiVersion\":\"")?;
    rest = &rest[position(rest, b'"')? + 1..];
    rest = rest.strip_prefix(b",\"kind\":\"")?;
    rest = &rest[position(rest, b'"')? + 1..];
    rest = rest.strip_prefix(b",")?.strip_prefix(METADATA)?;
    let foreign = rest.windows(RESOURCE_VERSION.len()).any(|w| w == RESOURCE_VERSION);
    (!foreign).then(|| stored.len() - rest.len())
}

fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    bytes.iter().position(|b| *b == byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value) {
        let stored = stored_bytes(&object);
        let wire: Value = serde_json::from_slice(&wire_bytes(&stored, 7)).unwrap();
        let mut want = object;
        want["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(wire, want);
    }

    #[test]
    fn the_wire_form_is_the_object_with_its_resource_version() {
        check(json!({"kind": "Pod", "spec": {}, "apiVersion": "v1", "metadata": {"name": "a"}}));
        check(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}));
        check(
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "resourceVersion": "3"},
            "involvedObject": {"resourceVersion": "12"}}),
        );
    }

    #[test]
    fn values_that_others_wrote_are_served_too() {
        let foreign =
            Bytes::from_static(b"{ \"kind\": \"Pod\", \"metadata\": {\"resourceVersion\": \"\"} }");
        let wire: Value = serde_json::from_slice(&wire_bytes(&foreign, 9)).unwrap();
        assert_eq!(wire["metadata"]["resourceVersion"], "9");
    }
}
