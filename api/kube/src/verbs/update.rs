//! update: PUT of a whole object.

use http::Response;
use serde_json::Value;

use crate::call::{self, Call};
use crate::input;
use crate::kinds::Kind;
use crate::managed::{Manager, Ownership};
use crate::respond;
use crate::server::Body;
use crate::status::Status;
use crate::validation::FieldError;
use crate::verbs::guarded::Write;
use crate::verbs::options::{FieldValidation, content_type};
use crate::verbs::{create, guarded_update};

/// PUT of an object.
pub(crate) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let dry_run = call.is_dry_run()?;
    let new = decode_body(&mut call).await?;
    let name = call.info.name.clone();
    if call.kind.create_on_update && call.cx.storage.get(&call.key(&name)).await?.is_none() {
        crate::layers::authorization::require_verb(&call, "create").await?;
        let manager = Manager::of(&call, call.kind, "")?;
        let wire = create::store_new(&call, new, dry_run, Ownership::Updated(&manager)).await?;
        return respond::object(&call, 201, wire);
    }
    replace(call, "", new, dry_run).await
}

/// Replaces the part of an object that `subresource` names.
pub(crate) async fn replace(
    call: Call,
    subresource: &str,
    new: Value,
    dry_run: bool,
) -> Result<Response<Body>, Status> {
    let name = call.info.name.clone();
    let namespace = call.namespace().to_owned();
    let kind = call.kind;
    let change = |old: &Value| {
        check_version(kind, &name, &new, old)?;
        Ok(new.clone())
    };
    let manager = Manager::of(&call, kind, subresource)?;
    let write = Write { subresource, dry_run, ownership: Ownership::Updated(&manager) };
    let outcome = guarded_update(&call, kind, &namespace, &name, write, &change).await?;
    respond::object(&call, 200, outcome.wire)
}

/// Reads the body as an object of the call's kind and checks that it is the one of the path.
pub(crate) async fn decode_body(call: &mut Call) -> Result<Value, Status> {
    let validation = FieldValidation::of(call)?;
    let body = call.body().await?;
    let decoded = input::object(call.kind, &body, content_type(&call.headers))?;
    validation.judge(call.kind, &decoded, &mut call.warnings)?;
    let mut object = decoded.value;
    check_namespace(call, &mut object)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !call.info.name.is_empty() && name != call.info.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.info.name
        )));
    }
    Ok(object)
}

/// The namespace of the object is the one of the path, or is filled in from it.
pub(crate) fn check_namespace(call: &Call, object: &mut Value) -> Result<(), Status> {
    let path = call.namespace().to_owned();
    let body = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if body == path {
        return Ok(());
    }
    if !body.is_empty() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = serde_json::json!({});
    }
    object["metadata"]["namespace"] = Value::String(path);
    Ok(())
}

/// A resourceVersion that is given must be the newest one.
pub(crate) fn check_version(
    kind: &'static Kind,
    name: &str,
    new: &Value,
    old: &Value,
) -> Result<(), Status> {
    match new["metadata"]["resourceVersion"].as_str() {
        None | Some("" | "0") if kind.unconditional_update => Ok(()),
        None | Some("" | "0") => {
            let field = FieldError {
                reason: "FieldValueInvalid",
                field: "metadata.resourceVersion".to_owned(),
                message: "Invalid value: 0: must be specified for an update".to_owned(),
            };
            Err(Status::invalid(call::kind_name(kind), name, std::slice::from_ref(&field)))
        }
        Some(version) if old["metadata"]["resourceVersion"] == version => Ok(()),
        Some(_) => Err(Status::modified(call::resource(kind), name)),
    }
}
