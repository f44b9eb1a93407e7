//! patch: PATCH of an object in one of four ways.

use http::Response;
use parking_lot::Mutex;
use serde_json::Value;

use crate::call::Call;
use crate::server::Body;
use crate::status::Status;
use crate::verbs::options::{FieldValidation, content_type};
use crate::verbs::update::check_version;
use crate::verbs::{create, guarded_update};
use crate::{input, patch, respond};

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// PATCH of an object.
pub(crate) async fn run(call: Call) -> Result<Response<Body>, Status> {
    patch_part(call, "").await
}

/// Patches the part of an object that `subresource` names.
pub(crate) async fn patch_part(
    mut call: Call,
    subresource: &str,
) -> Result<Response<Body>, Status> {
    let dry_run = call.is_dry_run()?;
    let validation = FieldValidation::of(&call)?;
    let media = content_type(&call.headers).to_owned();
    let body = call.body().await?;
    if media == APPLY {
        return apply(call, subresource, dry_run, validation, &body).await;
    }
    if ![JSON, MERGE, STRATEGIC].contains(&media.as_str()) {
        return Err(Status::unsupported_media_type(&[JSON, MERGE, STRATEGIC, APPLY]));
    }
    let text: Value = serde_json::from_slice(&body)
        .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    let name = call.info.name.clone();
    let namespace = call.namespace().to_owned();
    let kind = call.kind;
    let warnings = Mutex::new(Vec::new());
    let change = |old: &Value| {
        let patched = match media.as_str() {
            JSON => patch::json_patch(kind, old, &text),
            MERGE => patch::merge_patch(kind, old, &text),
            _ => patch::strategic_merge(kind, old, &text),
        };
        let patched = patched.map_err(|e| input::patch_refusal(kind, &name, e))?;
        let decoded = input::value(kind, patched)?;
        let mut found = Vec::new();
        validation.judge(kind, &decoded, &mut found)?;
        *warnings.lock() = found;
        // The patch may carry a resourceVersion, as a precondition.
        check_version(kind, &name, &decoded.value, old)?;
        check_name(&decoded.value, &name)?;
        Ok(decoded.value)
    };
    let outcome =
        guarded_update(&call, kind, &namespace, &name, subresource, dry_run, &change).await?;
    call.warnings.extend(warnings.into_inner());
    respond::object(&call, 200, outcome.wire)
}

fn check_name(object: &Value, name: &str) -> Result<(), Status> {
    match object["metadata"]["name"].as_str() {
        Some(is) if is == name => Ok(()),
        is => Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            is.unwrap_or_default()
        ))),
    }
}

/// Server-side apply, the part of it that is here: the applied fields are merged by the schema's
/// list keys and the object is made when it is missing. Ownership of fields is not kept, so
/// nothing is removed and no conflict is found.
async fn apply(
    mut call: Call,
    subresource: &str,
    dry_run: bool,
    validation: FieldValidation,
    body: &[u8],
) -> Result<Response<Body>, Status> {
    if call.query.get("fieldManager").is_none() {
        return Err(Status::invalid_field(
            crate::status::GroupResource { group: "meta.k8s.io", resource: "PatchOptions" },
            "",
            "FieldValueRequired",
            "fieldManager",
            "Required value: is required for apply patch",
        ));
    }
    let decoded = input::object(call.kind, body, "application/yaml")?;
    validation.judge(call.kind, &decoded, &mut call.warnings)?;
    let mut applied = decoded.value;
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let name = call.info.name.clone();
    check_name(&applied, &name)?;
    crate::verbs::update::check_namespace(&call, &mut applied)?;
    let missing = call.cx.storage.get(&call.key(&name)).await?.is_none();
    if missing && subresource.is_empty() {
        crate::layers::authorization::require_verb(&call, "create").await?;
        let wire = create::store_new(&call, applied, dry_run).await?;
        return respond::object(&call, 201, wire);
    }
    let namespace = call.namespace().to_owned();
    let kind = call.kind;
    let change = |old: &Value| {
        if applied["metadata"]["resourceVersion"].is_string() {
            check_version(kind, &name, &applied, old)?;
        }
        patch::strategic_merge(kind, old, &applied)
            .map_err(|e| input::patch_refusal(kind, &name, e))
    };
    let outcome =
        guarded_update(&call, kind, &namespace, &name, subresource, dry_run, &change).await?;
    respond::object(&call, 200, outcome.wire)
}
