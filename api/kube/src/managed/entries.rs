//! The entries of `metadata.managedFields`.

use serde_json::{Map, Value, json};

use super::manager::Manager;
use super::set::FieldSet;

/// Managers that update, before the oldest are put together.
const UPDATERS_MAX: usize = 10;
/// The name of those put together.
const OLD: &str = "ancient-changes";

/// What one manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    /// By apply; else by any other write.
    pub(super) applies: bool,
    pub(super) version: String,
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) set: FieldSet,
}

impl Entry {
    pub(super) fn new(manager: &Manager, applies: bool, set: FieldSet, now: &str) -> Self {
        Entry {
            manager: manager.name.clone(),
            applies,
            version: manager.version.clone(),
            subresource: manager.subresource.clone(),
            time: Some(now.to_owned()),
            set,
        }
    }

    /// Whether this is the entry of that manager: one that applies has one for all versions.
    pub(super) fn is(&self, manager: &Manager, applies: bool) -> bool {
        self.manager == manager.name
            && self.applies == applies
            && self.subresource == manager.subresource
            && (applies || self.version == manager.version)
    }

    /// As in messages.
    pub(super) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applies {
            text.push_str(&format!(" using {}", self.version));
        }
        text
    }

    fn decode(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Entry {
            manager: text("manager"),
            applies: value["operation"] == "Apply",
            version: text("apiVersion"),
            subresource: text("subresource"),
            time: value["time"].as_str().map(str::to_owned),
            set: FieldSet::from_value(&value["fieldsV1"]),
        }
    }

    fn encode(&self) -> Value {
        let mut value = Map::new();
        let mut put = |name: &str, text: &str| {
            if !text.is_empty() {
                value.insert(name.to_owned(), Value::from(text));
            }
        };
        put("manager", &self.manager);
        put("operation", if self.applies { "Apply" } else { "Update" });
        put("apiVersion", &self.version);
        put("time", self.time.as_deref().unwrap_or_default());
        put("fieldsType", "FieldsV1");
        value.insert("fieldsV1".to_owned(), self.set.to_value());
        if !self.subresource.is_empty() {
            value.insert("subresource".to_owned(), Value::from(self.subresource.as_str()));
        }
        Value::Object(value)
    }
}

/// The entries of an object.
pub(super) fn of(object: &Value) -> Vec<Entry> {
    decode(&object["metadata"]["managedFields"])
}

/// The entries of a list of them.
pub(super) fn decode(list: &Value) -> Vec<Entry> {
    list.as_array().into_iter().flatten().map(Entry::decode).collect()
}

/// Writes entries into an object's metadata, in their order.
pub(super) fn write(mut entries: Vec<Entry>, object: &mut Value) {
    entries.retain(|e| !e.set.is_empty());
    put_old_together(&mut entries);
    entries.sort_by(|a, b| {
        let key = |e: &Entry| (!e.applies, e.time.clone(), e.manager.clone(), e.version.clone());
        key(a).cmp(&key(b)).then_with(|| a.subresource.cmp(&b.subresource))
    });
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        metadata.shift_remove("managedFields");
    } else {
        let all: Vec<Value> = entries.iter().map(Entry::encode).collect();
        metadata.insert("managedFields".to_owned(), json!(all));
    }
}

/// Beyond the limit, the oldest that update are merged into one entry a version.
fn put_old_together(entries: &mut Vec<Entry>) {
    let mut updaters: Vec<(Option<String>, String, usize)> = entries
        .iter()
        .enumerate()
        .filter(|(_, e)| !e.applies)
        .map(|(at, e)| (e.time.clone(), e.manager.clone(), at))
        .collect();
    if updaters.len() <= UPDATERS_MAX {
        return;
    }
    updaters.sort();
    // One more goes than are too many: the merged entry takes a place itself.
    let mut old: Vec<usize> =
        updaters.iter().take(updaters.len() - UPDATERS_MAX + 1).map(|(_, _, at)| *at).collect();
    old.sort_unstable();
    let mut merged: Vec<Entry> = Vec::new();
    for at in old.into_iter().rev() {
        let entry = entries.remove(at);
        match merged.iter_mut().find(|m| m.version == entry.version) {
            Some(bucket) => {
                bucket.set = bucket.set.union(&entry.set);
                bucket.time = bucket.time.take().max(entry.time);
            }
            None => {
                merged.push(Entry { manager: OLD.to_owned(), subresource: String::new(), ..entry })
            }
        }
    }
    entries.extend(merged);
}

/// The list of an object's entries without their times: what tells whether a write changed
/// anything.
pub(crate) fn without_times(metadata: &mut Map<String, Value>) {
    let list = metadata.get_mut("managedFields").and_then(Value::as_array_mut);
    for entry in list.into_iter().flatten().filter_map(Value::as_object_mut) {
        entry.shift_remove("time");
    }
}
