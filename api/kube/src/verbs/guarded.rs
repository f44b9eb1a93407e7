//! The guarded update: read, change, admit, validate, write if nobody was faster; else again.
//!
//! Every write to an existing object takes this path: update, patch, status, scale, binding,
//! finalizers of a delete. What does not change anything is not written.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::admission::{self, Admission, Operation};
use crate::call::{self, Call};
use crate::conversion;
use crate::deletion;
use crate::kinds::Kind;
use crate::managed::{self, Ownership};
use crate::service_addresses;
use crate::status::Status;
use crate::storage::{Stored, Written, stored_bytes, stored_value, wire_bytes};

/// Lost races before a change is given up.
const ATTEMPTS: usize = 32;

/// How the new object comes from the newest one.
pub(crate) type Change<'a> = &'a (dyn Fn(&Value) -> Result<Value, Status> + Send + Sync);

/// Which part of an object is written, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'a> {
    /// Empty: the object itself.
    pub(crate) subresource: &'a str,
    /// Nothing is stored.
    pub(crate) dry_run: bool,
    /// How it is entered in `managedFields`.
    pub(crate) ownership: Ownership<'a>,
}

/// What became of an update.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The object as it is now, or as it was when the update removed its last finalizer.
    pub(crate) wire: Bytes,
}

/// Changes one object.
pub(crate) async fn guarded_update(
    call: &Call,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    write: Write<'_>,
    change: Change<'_>,
) -> Result<Outcome, Status> {
    let Write { subresource, dry_run, ownership } = write;
    let resource = call::resource(kind);
    let key = call::key(kind, namespace, name);
    let mut seen: Option<Stored> = None;
    for _ in 0..ATTEMPTS {
        let stored = newest(call, &key, seen.take()).await?;
        let stored = stored.ok_or_else(|| Status::not_found(resource, name))?;
        let old = stored_value(&stored.value, stored.revision)
            .ok_or_else(|| Status::internal(format!("the stored value of {key} is no object")))?;
        let as_stored = conversion::is_converted(kind).then(|| old.clone());
        let old = conversion::fetched_one(&call.cx, kind, old).await?;
        let old = conversion::from_stored(kind, old);
        let mut new = change(&old)?;
        let given = take_entries(&mut new);
        carry_metadata(kind, &mut new, &old, name)?;
        match ownership {
            Ownership::Applied => put_entries(&mut new, given),
            Ownership::Untracked => {
                put_entries(&mut new, old["metadata"].get("managedFields").cloned())
            }
            Ownership::Updated(manager) => {
                kind.default(&mut new);
                let given = given.unwrap_or_default();
                managed::updated(kind, manager, Some(&old), &mut new, &given, &now());
            }
        }
        let admission = Admission {
            cx: &call.cx,
            user: &call.user,
            kind,
            operation: Operation::Update,
            namespace,
            name,
            subresource,
            dry_run,
            old: Some(&old),
            warnings: &call.admission_warnings,
        };
        admission::mutate(&admission, &mut new).await?;
        kind.default(&mut new);
        kind.prepare_update(&mut new, &old, subresource);
        refuse_new_finalizers(kind, &new, &old, name)?;
        let reserved = service_addresses::on_update(&admission, &mut new, &old).await?;
        let errors = kind.validate_update(&new, &old, subresource);
        if !errors.is_empty() {
            return Err(Status::invalid(call::kind_name(kind), name, &errors));
        }
        call.admission_warnings.lock().extend((kind.hooks.warnings)(&new, Some(&old)));
        admission::validate(&admission, &new).await?;
        if deletion::is_due(kind, &new) && !same(&new, &old) {
            if dry_run {
                return Ok(Outcome { wire: shown_wire(kind, &new, stored.revision) });
            }
            match call.cx.storage.delete(&key, stored.revision).await? {
                Written::Done(revision) => {
                    return Ok(Outcome { wire: shown_wire(kind, &new, revision) });
                }
                Written::Lost(None) => return Err(Status::not_found(resource, name)),
                Written::Lost(Some(newer)) => seen = Some(newer),
            }
            continue;
        }
        let to_store = conversion::stored(&call.cx, kind, &new).await?;
        let stored_same = as_stored.as_ref().is_none_or(|was| same(&to_store, was));
        if same(&new, &old) && stored_same {
            return Ok(Outcome { wire: shown_wire(kind, &old, stored.revision) });
        }
        if dry_run {
            return Ok(Outcome { wire: shown_wire(kind, &new, stored.revision) });
        }
        let bytes = stored_bytes(&to_store);
        let lease = lease_of(call, kind).await?;
        match call.cx.storage.update(&key, stored.revision, bytes, lease).await? {
            Written::Done(revision) => {
                reserved.keep();
                return Ok(Outcome { wire: shown_wire(kind, &new, revision) });
            }
            Written::Lost(None) => return Err(Status::not_found(resource, name)),
            Written::Lost(Some(newer)) => seen = Some(newer),
        }
    }
    Err(Status::modified(resource, name))
}

/// The object as a lost race showed it, else as it is stored.
pub(crate) async fn newest(
    call: &Call,
    key: &str,
    seen: Option<Stored>,
) -> Result<Option<Stored>, Status> {
    match seen {
        Some(stored) => Ok(Some(stored)),
        None => call.cx.storage.get(key).await,
    }
}

/// Takes the entries of `managedFields` out of an object.
pub(crate) fn take_entries(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.shift_remove("managedFields")
}

/// Puts them back.
pub(crate) fn put_entries(object: &mut Value, entries: Option<Value>) {
    if let (Some(metadata), Some(entries)) = (object["metadata"].as_object_mut(), entries) {
        metadata.insert("managedFields".to_owned(), entries);
    }
}

/// The time, as entries and creation times are written.
pub(crate) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The lease a kind's objects live under; 0: none.
pub(crate) async fn lease_of(call: &Call, kind: &Kind) -> Result<i64, Status> {
    if kind.storage_prefix == "events" { call.cx.storage.event_lease().await } else { Ok(0) }
}

/// What a write answers with; a custom object is shown in the version that was written.
pub(crate) fn shown_wire(kind: &Kind, value: &Value, revision: i64) -> Bytes {
    if kind.custom.is_some() {
        return wire_bytes(&stored_bytes(value), revision);
    }
    wire_bytes(&stored_bytes(&conversion::to_stored(kind, value)), revision)
}

/// Equal but for what every write changes.
fn same(new: &Value, old: &Value) -> bool {
    let strip = |v: &Value| {
        let mut v = v.clone();
        if let Some(metadata) = v.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("resourceVersion");
            managed::without_times(metadata);
        }
        v
    };
    strip(new) == strip(old)
}

/// What an update cannot change is taken from the old object; an identity that differs is refused.
fn carry_metadata(kind: &Kind, new: &mut Value, old: &Value, name: &str) -> Result<(), Status> {
    let resource = call::resource(kind);
    if !new["metadata"].is_object() {
        new["metadata"] = Value::Object(Map::new());
    }
    let was = &old["metadata"];
    let wanted = new["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let is = was["uid"].as_str().unwrap_or_default();
    if !wanted.is_empty() && wanted != is {
        return Err(Status::conflict(
            resource,
            name,
            &format!(
                "Precondition failed: UID in precondition: {wanted}, UID in object meta: {is}"
            ),
        ));
    }
    new["apiVersion"] = old["apiVersion"].clone();
    new["kind"] = old["kind"].clone();
    let Some(metadata) = new["metadata"].as_object_mut() else { return Ok(()) };
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        match was.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.shift_remove(field),
        };
    }
    metadata.shift_remove("selfLink");
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = metadata.get(field).is_some_and(|v| match v {
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            other => other.is_null(),
        });
        if empty {
            metadata.shift_remove(field);
        }
    }
    Ok(())
}

fn refuse_new_finalizers(kind: &Kind, new: &Value, old: &Value, name: &str) -> Result<(), Status> {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let of = |v: &Value| -> Vec<String> {
        let all = v["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect()
    };
    let before = of(old);
    let added: Vec<String> = of(new).into_iter().filter(|f| !before.contains(f)).collect();
    if added.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
    Err(Status::invalid_field(
        call::kind_name(kind),
        name,
        "FieldValueForbidden",
        "metadata.finalizers",
        format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            shown.join(", ")
        ),
    ))
}
