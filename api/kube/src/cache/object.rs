//! Objects and events of the watch cache, encoded once and shared by all who read them.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use crate::protobuf;

/// By which kind, and by which revision of its definition, an object is shown.
pub(crate) type ShownAs = (usize, i64);

/// One version of one object.
#[derive(Debug)]
pub(crate) struct Object {
    /// The key below the resource's prefix: `namespace/name` or `name`.
    pub(crate) key: Arc<str>,
    /// When it was written.
    pub(crate) revision: i64,
    /// JSON with resourceVersion.
    pub(crate) wire: Bytes,
    trimmed: OnceLock<Value>,
    shown: OnceLock<(ShownAs, Option<Arc<Object>>)>,
    message: OnceLock<Option<Bytes>>,
}

impl Object {
    pub(crate) fn new(key: Arc<str>, revision: i64, wire: Bytes) -> Self {
        Object {
            key,
            revision,
            wire,
            trimmed: OnceLock::new(),
            shown: OnceLock::new(),
            message: OnceLock::new(),
        }
    }

    /// The object as a value. Parses.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.wire).unwrap_or(Value::Null)
    }

    /// What `trim` keeps of the object; computed once, so `trim` must be the resource's own.
    pub(crate) fn trimmed(&self, trim: impl FnOnce(&Value) -> Value) -> &Value {
        self.trimmed.get_or_init(|| trim(&self.value()))
    }

    /// The object as its kind shows it: what `make` gives (None: as it is), kept for the first
    /// way of showing that somebody asks for.
    pub(crate) fn shown(
        self: &Arc<Self>,
        how: ShownAs,
        make: impl Fn(&Object) -> Option<Object>,
    ) -> Arc<Object> {
        let (kept, shown) = self.shown.get_or_init(|| (how, make(self).map(Arc::new)));
        if *kept == how {
            return shown.clone().unwrap_or_else(|| self.clone());
        }
        make(self).map_or_else(|| self.clone(), Arc::new)
    }

    /// The object as a protobuf message of its type, encoded for the first who asks. None: it
    /// cannot be written so.
    pub(crate) fn message(&self, schema: &str) -> Option<Bytes> {
        let encode = || protobuf::object_message(schema, &self.value()).map(Bytes::from).ok();
        self.message.get_or_init(encode).clone()
    }

    /// The same content as of another revision, as the end of an object is told.
    pub(crate) fn at_revision(&self, revision: i64) -> Object {
        let mut value = self.value();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
        }
        Object::new(self.key.clone(), revision, Bytes::from(value.to_string()))
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    /// The event type on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        }
    }
}

/// One event of a resource.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) change: Change,
    /// The new version; for a deletion the last content, with the deletion's revision.
    pub(crate) object: Arc<Object>,
    /// The version before, when there was one.
    pub(crate) previous: Option<Arc<Object>>,
    pub(super) at: Instant,
    line: OnceLock<Bytes>,
    frame: OnceLock<Bytes>,
}

impl Event {
    pub(crate) fn new(change: Change, object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        Event {
            change,
            object,
            previous,
            at: Instant::now(),
            line: OnceLock::new(),
            frame: OnceLock::new(),
        }
    }

    /// The event as one line of a watch, encoded for the first watcher and shared by the others.
    pub(crate) fn line(&self) -> Bytes {
        self.line.get_or_init(|| event_line(self.change.name(), &self.object.wire)).clone()
    }

    /// The event as a frame of a watch in protobuf, shared like the line. `encode` must depend on
    /// nothing but the event and its resource.
    pub(crate) fn frame(&self, encode: impl FnOnce(&Object) -> Bytes) -> Bytes {
        self.frame.get_or_init(|| encode(&self.object)).clone()
    }
}

/// `{"type":…,"object":…}` and a newline.
pub(crate) fn event_line(name: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + name.len() + 24);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
    out.freeze()
}
