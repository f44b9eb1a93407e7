//! Conversion: kinds that are stored in the shape of another API version.
//!
//! Events have two APIs over one store: core's shape is the stored one, and what comes and goes
//! through events.k8s.io is renamed on the way. Every other kind is stored as it is served.

use bytes::Bytes;
use serde_json::Value;

use crate::custom;
use crate::kinds::Kind;

/// Names in events.k8s.io, and in core.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Whether objects of this kind are stored in another shape.
pub(crate) fn is_converted(kind: &Kind) -> bool {
    if let Some(served) = kind.served() {
        return served.is_converted();
    }
    kind.group == "events.k8s.io" && kind.kind == "Event"
}

/// The object as it is stored.
pub(crate) fn to_stored(kind: &Kind, object: &Value) -> Value {
    if let Some(served) = kind.served() {
        let mut object = object.clone();
        let definition = &served.definition;
        object["apiVersion"] =
            Value::from(format!("{}/{}", definition.group, definition.storage_version));
        return object;
    }
    if !is_converted(kind) {
        return object.clone();
    }
    rename(object, "v1", |name| EVENT_FIELDS.iter().find(|(new, _)| *new == name).map(|f| f.1))
}

/// A stored object as its kind serves it.
pub(crate) fn from_stored(kind: &Kind, object: Value) -> Value {
    if let Some(served) = kind.served() {
        let mut object = object;
        custom::read(&served, &mut object);
        return object;
    }
    if !is_converted(kind) {
        return object;
    }
    rename(&object, "events.k8s.io/v1", |name| {
        EVENT_FIELDS.iter().find(|(_, old)| *old == name).map(|f| f.0)
    })
}

/// The wire form of a stored object as its kind serves it.
pub(crate) fn wire(kind: &Kind, stored: Bytes) -> Bytes {
    if !is_converted(kind) {
        return stored;
    }
    match serde_json::from_slice(&stored) {
        Ok(object) => Bytes::from(from_stored(kind, object).to_string()),
        Err(_) => stored,
    }
}

fn rename(
    object: &Value,
    api_version: &str,
    new_name: impl Fn(&str) -> Option<&'static str>,
) -> Value {
    let Value::Object(fields) = object else { return object.clone() };
    fields
        .iter()
        .map(|(name, value)| match name.as_str() {
            "apiVersion" => (name.clone(), Value::from(api_version)),
            other => (new_name(other).unwrap_or(other).to_owned(), value.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    #[test]
    fn an_event_comes_back_as_it_went() {
        let kind = kinds::find("events.k8s.io", "v1", "events").unwrap();
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "regarding": {"kind": "Pod"}, "note": "n", "reason": "r", "reportingController": "c"});
        let stored = to_stored(kind, &event);
        assert_eq!(stored["apiVersion"], "v1");
        assert_eq!(stored["involvedObject"]["kind"], "Pod");
        assert_eq!(stored["message"], "n");
        assert_eq!(from_stored(kind, stored), event);
    }
}
