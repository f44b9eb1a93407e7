//! Conversion between versions by a webhook.
//!
//! Objects come out of the store as they were written, in a version of that time. Where a
//! definition has a webhook, they are converted here, all of a list at once, before anything else
//! looks at them; without one only the name of the version changes.
// upstream: apiextensions-apiserver, pkg/apiserver/conversion

use std::time::Duration;

use serde_json::{Value, json};

use super::definition::Definition;
use crate::context::Context;
use crate::status::Status;
use crate::webhook;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The objects in this version of their definition (`group/version`), in their order.
pub(crate) async fn convert(
    cx: &Context,
    definition: &Definition,
    mut objects: Vec<Value>,
    wanted: &str,
) -> Result<Vec<Value>, Status> {
    let Some(hook) = &definition.webhook else { return Ok(objects) };
    let others: Vec<usize> =
        (0..objects.len()).filter(|at| objects[*at]["apiVersion"] != wanted).collect();
    if others.is_empty() {
        return Ok(objects);
    }
    let sent: Vec<Value> = others.iter().map(|at| objects[*at].clone()).collect();
    let failed = |why: String| {
        Status::internal(format!(
            "conversion webhook for {}/{}, Kind={} failed: {why}",
            definition.group, definition.storage_version, definition.kind
        ))
    };
    let known = |v: &&Value| *v == "v1" || *v == "v1beta1";
    let versions = hook["conversionReviewVersions"].as_array();
    let version = versions.into_iter().flatten().find(known).cloned().unwrap_or(json!("v1"));
    let api_version = format!("apiextensions.k8s.io/{}", version.as_str().unwrap_or("v1"));
    let uid = uuid::Uuid::new_v4().to_string();
    let review = json!({
        "kind": "ConversionReview", "apiVersion": api_version,
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": sent},
    });
    let answer =
        webhook::post(cx, &hook["clientConfig"], &review, TIMEOUT).await.map_err(failed)?;
    let response = &answer["response"];
    if answer["apiVersion"] != api_version || answer["kind"] != "ConversionReview" {
        return Err(failed(format!(
            "expected webhook response of {api_version}, Kind=ConversionReview, got {}, Kind={}",
            answer["apiVersion"].as_str().unwrap_or_default(),
            answer["kind"].as_str().unwrap_or_default()
        )));
    }
    if response["uid"] != uid.as_str() {
        return Err(failed(format!("expected response.uid={uid:?}, got {}", response["uid"])));
    }
    if response["result"]["status"] != "Success" {
        let why = response["result"]["message"].as_str().unwrap_or_default();
        return Err(failed(why.to_owned()));
    }
    let converted = response["convertedObjects"].as_array().cloned().unwrap_or_default();
    if converted.len() != sent.len() {
        return Err(failed(format!(
            "webhook returned {} objects, expected {}",
            converted.len(),
            sent.len()
        )));
    }
    for ((at, was), new) in others.into_iter().zip(sent).zip(converted) {
        objects[at] = restored(&was, new, wanted).map_err(failed)?;
    }
    Ok(objects)
}

/// A converted object with the metadata that a webhook may not change.
fn restored(was: &Value, mut new: Value, wanted: &str) -> Result<Value, String> {
    if new["apiVersion"] != wanted {
        return Err(format!("invalid converted object: apiVersion must be {wanted}"));
    }
    if new["kind"] != was["kind"] {
        return Err(format!("invalid converted object: kind must be {}", was["kind"]));
    }
    for field in ["name", "namespace", "uid"] {
        if new["metadata"][field] != was["metadata"][field] {
            return Err(format!(
                "invalid metadata of converted object: metadata.{field} must not be changed"
            ));
        }
    }
    let mut metadata = was["metadata"].clone();
    for field in ["labels", "annotations"] {
        match new["metadata"].get(field).filter(|v| !v.is_null()) {
            Some(value) => metadata[field] = value.clone(),
            None => {
                if let Some(fields) = metadata.as_object_mut() {
                    fields.shift_remove(field);
                }
            }
        }
    }
    new["metadata"] = metadata;
    Ok(new)
}
