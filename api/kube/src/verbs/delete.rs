//! delete: one object, at once or as its grace and its finalizers allow.

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::Value;

use crate::admission::{self, Admission, Operation};
use crate::call::{self, Call};
use crate::conversion;
use crate::deletion::{self, Plan, Wanted};
use crate::kinds::Kind;
use crate::respond;
use crate::server::Body;
use crate::status::{self, Status};
use crate::storage::{Stored, Written, stored_bytes, stored_value, wire_bytes};
use crate::verbs::guarded::newest;
use crate::verbs::options::DeleteOptions;

/// Lost races before a delete is given up.
const ATTEMPTS: usize = 32;

/// DELETE of an object.
pub(crate) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let options = DeleteOptions::of(&mut call).await?;
    let name = call.info.name.clone();
    let namespace = call.namespace().to_owned();
    let warned =
        options.propagation.is_none() && call.kind.orphans_by_default() && call.kind.kind == "Job";
    let done = delete_object(&call, call.kind, &namespace, &name, &options).await?;
    if warned {
        call.warnings.push(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"
                .to_owned(),
        );
    }
    if done.removed && !call.kind.returns_deleted {
        let value = status::deleted(call.resource(), &name, &done.uid);
        let accepted = call.accepted()?;
        let response = respond::value(accepted, 200, &value)?;
        return Ok(respond::with_warnings(response, &call.all_warnings()));
    }
    let wire = conversion::fetched_wire(&call.cx, call.kind, done.wire).await?;
    respond::object(&call, 200, wire)
}

/// What became of a delete.
pub(crate) struct Deleted {
    pub(crate) removed: bool,
    pub(crate) uid: String,
    pub(crate) wire: Bytes,
}

/// Deletes one object, or starts to.
pub(crate) async fn delete_object(
    call: &Call,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let resource = call::resource(kind);
    let key = call::key(kind, namespace, name);
    let wanted = Wanted { grace_seconds: options.grace_seconds, propagation: options.propagation };
    let mut seen: Option<Stored> = None;
    for _ in 0..ATTEMPTS {
        let stored = newest(call, &key, seen.take()).await?;
        let stored = stored.ok_or_else(|| Status::not_found(resource, name))?;
        let object = stored_value(&stored.value, stored.revision)
            .ok_or_else(|| Status::internal(format!("the stored value of {key} is no object")))?;
        check_preconditions(kind, name, &object, options)?;
        let admission = Admission {
            cx: &call.cx,
            user: &call.user,
            kind,
            operation: Operation::Delete,
            namespace,
            name,
            subresource: "",
            dry_run: options.dry_run,
            old: Some(&object),
            warnings: &call.admission_warnings,
        };
        admission::validate(&admission, &Value::Null).await?;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let as_is = || wire_bytes(&stored.value, stored.revision);
        match deletion::plan(kind, &object, wanted, Timestamp::now()) {
            Plan::Nothing => return Ok(Deleted { removed: false, uid, wire: as_is() }),
            Plan::Remove if options.dry_run => {
                return Ok(Deleted { removed: true, uid, wire: as_is() });
            }
            Plan::Remove => match call.cx.storage.delete(&key, stored.revision).await? {
                Written::Done(revision) => {
                    let wire = wire_bytes(&stored.value, revision);
                    return Ok(Deleted { removed: true, uid, wire });
                }
                Written::Lost(None) => return Err(Status::not_found(resource, name)),
                Written::Lost(Some(newer)) => seen = Some(newer),
            },
            Plan::Write(new) => {
                let bytes = stored_bytes(&new);
                if options.dry_run {
                    let wire = wire_bytes(&bytes, stored.revision);
                    return Ok(Deleted { removed: false, uid, wire });
                }
                match call.cx.storage.update(&key, stored.revision, bytes.clone(), 0).await? {
                    Written::Done(revision) => {
                        let wire = wire_bytes(&bytes, revision);
                        return Ok(Deleted { removed: false, uid, wire });
                    }
                    Written::Lost(None) => return Err(Status::not_found(resource, name)),
                    Written::Lost(Some(newer)) => seen = Some(newer),
                }
            }
        }
    }
    Err(Status::modified(resource, name))
}

fn check_preconditions(
    kind: &Kind,
    name: &str,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let metadata = &object["metadata"];
    let differs = |what: &str, label: &str, wanted: &Option<String>, is: &Value| match wanted {
        Some(wanted) if is != wanted.as_str() => Err(Status::conflict(
            call::resource(kind),
            name,
            &format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in {label}: {}",
                is.as_str().unwrap_or_default()
            ),
        )),
        _ => Ok(()),
    };
    differs("UID", "object meta", &options.uid, &metadata["uid"])?;
    let version = &metadata["resourceVersion"];
    differs("ResourceVersion", "object meta", &options.resource_version, version)
}
