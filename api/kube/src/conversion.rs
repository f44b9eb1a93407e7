//! Conversion: kinds that are stored in the shape of another API version.
//!
//! Events have two APIs over one store: core's shape is the stored one, and what comes and goes
//! through events.k8s.io is renamed on the way. Every other kind is stored as it is served.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::cache::Object;
use crate::context::Context;

use crate::custom;
use crate::kinds::Kind;
use crate::status::Status;

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

/// A cached object as its custom kind serves it, made once for all who read it.
pub(crate) fn shown(kind: &Kind, object: &Arc<Object>) -> Arc<Object> {
    let Some(served) = kind.served().filter(|s| s.is_converted()) else { return object.clone() };
    // Custom kinds live as long as the process, so that their place names them.
    let how = (std::ptr::from_ref(kind) as usize, served.definition.revision);
    object.shown(how, |object| {
        let stored = object.value();
        let mut value = stored.clone();
        custom::read(&served, &mut value);
        let wire = || Bytes::from(value.to_string());
        (value != stored).then(|| Object::new(object.key.clone(), object.revision, wire()))
    })
}

/// Whether a webhook converts objects of this kind.
pub(crate) fn has_webhook(kind: &Kind) -> bool {
    kind.served().is_some_and(|s| s.definition.webhook.is_some())
}

/// Objects from the store, in the version of their kind where a webhook has to make it. What is
/// left to do is done by [`from_stored`].
pub(crate) async fn fetched(
    cx: &Context,
    kind: &Kind,
    objects: Vec<Value>,
) -> Result<Vec<Value>, Status> {
    let Some(served) = kind.served() else { return Ok(objects) };
    custom::convert(cx, &served.definition, objects, &served.api_version()).await
}

/// One object of those.
pub(crate) async fn fetched_one(cx: &Context, kind: &Kind, object: Value) -> Result<Value, Status> {
    if !has_webhook(kind) {
        return Ok(object);
    }
    let mut all = fetched(cx, kind, vec![object]).await?;
    all.pop().ok_or_else(|| Status::internal("a conversion lost its object"))
}

/// The same of an object's JSON.
pub(crate) async fn fetched_wire(cx: &Context, kind: &Kind, wire: Bytes) -> Result<Bytes, Status> {
    if !has_webhook(kind) {
        return Ok(wire);
    }
    let value = serde_json::from_slice(&wire).map_err(Status::internal)?;
    Ok(Bytes::from(fetched_one(cx, kind, value).await?.to_string()))
}

/// The same of cached objects.
pub(crate) async fn fetched_objects(
    cx: &Context,
    kind: &Kind,
    objects: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, Status> {
    if !has_webhook(kind) {
        return Ok(objects);
    }
    let values = fetched(cx, kind, objects.iter().map(|o| o.value()).collect()).await?;
    let made = objects.iter().zip(values).map(|(was, value)| {
        Arc::new(Object::new(was.key.clone(), was.revision, Bytes::from(value.to_string())))
    });
    Ok(made.collect())
}

/// The object as it is to be stored.
pub(crate) async fn stored(cx: &Context, kind: &Kind, object: &Value) -> Result<Value, Status> {
    let plain = || to_stored(kind, object);
    let Some(served) = kind.served() else { return Ok(plain()) };
    let definition = &served.definition;
    if definition.webhook.is_none() {
        return Ok(plain());
    }
    let wanted = format!("{}/{}", definition.group, definition.storage_version);
    let mut all = custom::convert(cx, definition, vec![object.clone()], &wanted).await?;
    all.pop().ok_or_else(|| Status::internal("a conversion lost its object"))
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
