//! Deletion: what a delete means for an object, as a value. Grace, finalizers, dependents.
//!
//! upstream: metadata.deletionTimestamp, "Finalizers", "Garbage collection"

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::verbs::Propagation;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What to do with the object.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// Remove it from the store.
    Remove,
    /// Write this; it goes when its finalizers are gone or its grace is over.
    Write(Value),
    /// It is on its way already.
    Nothing,
}

/// What a delete asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
}

/// Decides what a delete does to an object.
pub(crate) fn plan(kind: &Kind, object: &Value, wanted: Wanted, now: Timestamp) -> Plan {
    let mut new = object.clone();
    let pending = !object["metadata"]["deletionTimestamp"].is_null();
    set_propagation_finalizers(kind, &mut new, wanted.propagation);
    let mut graceful = false;
    if pending {
        let left = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if left > 0 {
            match wanted.grace_seconds.map(|s| s.max(0)) {
                Some(shorter) if shorter < left => {
                    shorten(&mut new, left, shorter);
                    graceful = true;
                }
                _ => return changed(new, object),
            }
        }
    } else if let Some(seconds) = kind.grace_seconds(object, wanted.grace_seconds) {
        mark(&mut new, now, seconds);
        graceful = true;
    }
    if !pending {
        kind.hold_deletion(&mut new);
    }
    let has_finalizers = has_entries(&new["metadata"]["finalizers"]) || kind.holds_deletion(&new);
    if graceful {
        let seconds = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        return if seconds == 0 && !has_finalizers { Plan::Remove } else { Plan::Write(new) };
    }
    if !has_finalizers {
        return Plan::Remove;
    }
    if !pending {
        mark(&mut new, now, 0);
    }
    kind.prepare_deletion(&mut new);
    changed(new, object)
}

/// Whether an object that was updated is to be removed now.
pub(crate) fn is_due(kind: &Kind, object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["deletionTimestamp"].is_null()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !has_entries(&metadata["finalizers"])
        && !kind.holds_deletion(object)
}

fn changed(new: Value, old: &Value) -> Plan {
    if new == *old { Plan::Nothing } else { Plan::Write(new) }
}

fn has_entries(list: &Value) -> bool {
    list.as_array().is_some_and(|items| !items.is_empty())
}

/// Sets deletionTimestamp (when the object should be gone) and the grace.
fn mark(object: &mut Value, now: Timestamp, seconds: i64) {
    let gone = now
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let generation = object["metadata"]["generation"].as_i64().filter(|g| *g > 0);
    object["metadata"]["deletionTimestamp"] = json!(gone);
    object["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
    if let Some(generation) = generation {
        object["metadata"]["generation"] = json!(generation + 1);
    }
}

fn shorten(object: &mut Value, left: i64, seconds: i64) {
    let metadata = &mut object["metadata"];
    let gone = metadata["deletionTimestamp"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    if let Some(gone) = gone
        && let Ok(sooner) = gone.checked_sub(jiff::SignedDuration::from_secs(left - seconds))
    {
        metadata["deletionTimestamp"] = json!(sooner.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    metadata["deletionGracePeriodSeconds"] = json!(seconds);
}

fn set_propagation_finalizers(kind: &Kind, object: &mut Value, wanted: Option<Propagation>) {
    let old: Vec<String> = object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect();
    let had = |name: &str| old.iter().any(|f| f == name);
    let (orphan, foreground) = match wanted {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Foreground) => (false, true),
        Some(Propagation::Background) => (false, false),
        None if had(ORPHAN) || had(FOREGROUND) => (had(ORPHAN), had(FOREGROUND)),
        None => (kind.orphans_by_default(), false),
    };
    let mut finalizers: Vec<String> =
        old.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        finalizers.push(ORPHAN.to_owned());
    }
    if foreground {
        finalizers.push(FOREGROUND.to_owned());
    }
    if finalizers == old {
        return;
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        if finalizers.is_empty() {
            metadata.shift_remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), json!(finalizers));
        }
    }
}
