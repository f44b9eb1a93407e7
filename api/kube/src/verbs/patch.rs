//! patch: PATCH of an object in one of four ways.

use http::Response;
use parking_lot::Mutex;
use serde_json::Value;

use crate::call::Call;
use crate::managed::{self, Manager, Ownership};
use crate::server::Body;
use crate::status::{GroupResource, Status};
use crate::verbs::guarded::{Write, now};
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
    if call.kind.custom.is_some() && ![JSON, MERGE].contains(&media.as_str()) {
        return Err(Status::unsupported_media_type(&[JSON, MERGE, APPLY]));
    }
    if ![JSON, MERGE, STRATEGIC].contains(&media.as_str()) {
        return Err(Status::unsupported_media_type(&[JSON, MERGE, STRATEGIC, APPLY]));
    }
    if call.query.has("force") {
        return Err(refused_option(
            "FieldValueForbidden",
            "force",
            "Forbidden: may not be specified for non-apply patch",
        ));
    }
    let manager = Manager::of(&call, call.kind, subresource)?;
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
    let write = Write { subresource, dry_run, ownership: Ownership::Updated(&manager) };
    let outcome = guarded_update(&call, kind, &namespace, &name, write, &change).await?;
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

/// 422 for an option of a patch.
fn refused_option(reason: &'static str, field: &str, message: &str) -> Status {
    let options = GroupResource { group: "meta.k8s.io", resource: "PatchOptions" };
    Status::invalid_field(options, "", reason, field, message)
}

/// Server-side apply: makes the object when it is missing.
async fn apply(
    mut call: Call,
    subresource: &str,
    dry_run: bool,
    validation: FieldValidation,
    body: &[u8],
) -> Result<Response<Body>, Status> {
    if call.query.get("fieldManager").is_none_or(str::is_empty) {
        let message = "Required value: is required for apply patch";
        return Err(refused_option("FieldValueRequired", "fieldManager", message));
    }
    let manager = Manager::of(&call, call.kind, subresource)?;
    let force = call.query.flag("force");
    let decoded = input::object(call.kind, body, "application/yaml")?;
    validation.judge(call.kind, &decoded, &mut call.warnings)?;
    let mut config = decoded.value;
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let name = call.info.name.clone();
    let kind = call.kind;
    check_name(&config, &name)?;
    crate::verbs::update::check_namespace(&call, &mut config)?;
    let apply =
        |live: Option<&Value>| managed::applied(kind, &manager, force, live, &config, &now());
    let missing = call.cx.storage.get(&call.key(&name)).await?.is_none();
    if missing && subresource.is_empty() {
        crate::layers::authorization::require_verb(&call, "create").await?;
        let wire = create::store_new(&call, apply(None)?, dry_run, Ownership::Applied).await?;
        return respond::object(&call, 201, wire);
    }
    let namespace = call.namespace().to_owned();
    let change = |old: &Value| {
        if config["metadata"]["resourceVersion"].is_string() {
            check_version(kind, &name, &config, old)?;
        }
        apply(Some(old))
    };
    let write = Write { subresource, dry_run, ownership: Ownership::Applied };
    let outcome = guarded_update(&call, kind, &namespace, &name, write, &change).await?;
    respond::object(&call, 200, outcome.wire)
}
