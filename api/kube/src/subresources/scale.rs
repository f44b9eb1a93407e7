//! scale: how many replicas an object wants and has, in one shape for all kinds.

use http::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::conversion;
use crate::kinds::Kind;
use crate::managed::{Manager, Ownership};
use crate::server::Body;
use crate::status::{GroupResource, Status};
use crate::storage::stored_value;
use crate::verbs::guarded::Write;
use crate::verbs::guarded_update;
use crate::verbs::options::content_type;
use crate::{input, patch, respond};

const SCALE: GroupResource<'_> = GroupResource { group: "autoscaling", resource: "Scale" };

/// Reads or writes an object's scale.
pub(super) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let dry_run = call.is_dry_run()?;
    let name = call.info.name.clone();
    let namespace = call.namespace().to_owned();
    let accepted = call.accepted()?;
    if call.info.verb == "get" {
        let stored = call.cx.storage.get(&call.key(&name)).await?;
        let object = stored.and_then(|s| stored_value(&s.value, s.revision));
        let object = object.ok_or_else(|| Status::not_found(call.resource(), &name))?;
        let object = conversion::fetched_one(&call.cx, call.kind, object).await?;
        let object = conversion::from_stored(call.kind, object);
        return respond::value(accepted, 200, &scale_of(call.kind, &object)?);
    }
    let media = content_type(&call.headers).to_owned();
    let body = call.body().await?;
    let kind = call.kind;
    let given: Value = if media.ends_with("-patch+json") {
        serde_json::from_slice(&body)
            .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?
    } else {
        input::read_other(&body, "io.k8s.api.autoscaling.v1.Scale", &media)?
    };
    let is_patch = call.info.verb == "patch";
    let change = |old: &Value| {
        let before = scale_of(kind, old)?;
        let scale = match media.as_str() {
            _ if !is_patch => given.clone(),
            "application/json-patch+json" => patch::json_patch(kind, &before, &given)
                .map_err(|e| input::patch_refusal(kind, &name, e))?,
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                patch::merge_patch(kind, &before, &given)
                    .map_err(|e| input::patch_refusal(kind, &name, e))?
            }
            _ => {
                return Err(Status::unsupported_media_type(&[
                    "application/json-patch+json",
                    "application/merge-patch+json",
                ]));
            }
        };
        apply(kind, &name, &scale, old)
    };
    let manager = Manager::of(&call, kind, "scale")?;
    let write = Write { subresource: "scale", dry_run, ownership: Ownership::Updated(&manager) };
    let outcome = guarded_update(&call, kind, &namespace, &name, write, &change).await?;
    let object: Value = serde_json::from_slice(&outcome.wire).map_err(Status::internal)?;
    let object = conversion::from_stored(kind, object);
    respond::value(accepted, 200, &scale_of(kind, &object)?)
}

fn apply(kind: &Kind, name: &str, scale: &Value, old: &Value) -> Result<Value, Status> {
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        given => given.as_i64().ok_or_else(|| {
            Status::bad_request("Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
        })?,
    };
    if replicas < 0 {
        return Err(Status::invalid_field(
            SCALE,
            name,
            "FieldValueInvalid",
            "spec.replicas",
            format!("Invalid value: {replicas}: must be greater than or equal to 0"),
        ));
    }
    let version = scale["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && old["metadata"]["resourceVersion"] != version {
        return Err(Status::modified(crate::call::resource(kind), name));
    }
    let mut new = old.clone();
    match kind.served().and_then(|s| s.version().scale.clone()) {
        Some(paths) => paths.put_replicas(&mut new, replicas),
        None => new["spec"]["replicas"] = json!(replicas),
    }
    Ok(new)
}

fn scale_of(kind: &Kind, object: &Value) -> Result<Value, Status> {
    let metadata = &object["metadata"];
    let mut meta = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !metadata[field].is_null() {
            meta[field] = metadata[field].clone();
        }
    }
    if let Some(paths) = kind.served().and_then(|s| s.version().scale.clone()) {
        let spec = paths.replicas(object).ok_or_else(|| {
            Status::internal(format!(
                "the spec replicas field {:?} does not exist",
                paths.spec_replicas
            ))
        })?;
        let (count, selector) = paths.status(object);
        let mut status = json!({"replicas": count});
        if let Some(selector) = selector {
            status["selector"] = json!(selector);
        }
        return Ok(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
            "spec": {"replicas": spec}, "status": status,
        }));
    }
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {
            "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
            "selector": selector_text(&object["spec"]["selector"]),
        },
    }))
}

/// A selector in the form of query parameters.
fn selector_text(selector: &Value) -> String {
    let labels = match selector {
        Value::Object(map) if map.contains_key("matchLabels") => &selector["matchLabels"],
        Value::Object(map) if map.contains_key("matchExpressions") => &Value::Null,
        other => other,
    };
    let mut clauses: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    for e in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = e["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> =
            e["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        clauses.push(match e["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    clauses.sort();
    clauses.join(",")
}
