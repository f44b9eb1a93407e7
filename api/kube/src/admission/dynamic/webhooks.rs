//! Admission webhooks: mutating ones in order, validating ones all at once.

use std::time::Duration;

use base64::Engine as _;
use futures::FutureExt;
use futures::future::join_all;
use serde_json::{Value, json};

use super::policy::conditions_hold;
use super::request::request;
use super::{is_exempt, rules};
use crate::admission::{Admission, Plugin};
use crate::status::Status;
use crate::{input, webhook};

pub(in crate::admission) const MUTATING: Plugin =
    Plugin { mutate: Some(|a, object| mutate(a, object).boxed()), validate: None };

pub(in crate::admission) const VALIDATING: Plugin =
    Plugin { mutate: None, validate: Some(|a, object| validate(a, object).boxed()) };

/// The webhooks of all configurations, by the configurations' names.
async fn configured(a: &Admission<'_>, prefix: &str) -> Result<Vec<Value>, Status> {
    let cache = a.cx.caches.of(prefix).await?;
    if cache.len() == 0 || is_exempt(a.kind) {
        return Ok(Vec::new());
    }
    let all = cache.snapshot("").objects;
    Ok(all
        .iter()
        .flat_map(|o| o.value()["webhooks"].as_array().cloned().unwrap_or_default())
        .collect())
}

/// Whether the webhook is to be called.
async fn asked(a: &Admission<'_>, hook: &Value, object: &Value) -> Result<bool, Status> {
    if !rules::matches(a, object, hook, &hook["rules"], false).await? {
        return Ok(false);
    }
    match conditions_hold(a, object, &hook["matchConditions"]) {
        Ok(holds) => Ok(holds),
        Err(_) if hook["failurePolicy"] == "Ignore" => Ok(false),
        Err(why) => Err(a.forbidden(&why)),
    }
}

async fn mutate(a: &Admission<'_>, object: &mut Value) -> Result<(), Status> {
    let hooks = configured(a, "mutatingwebhookconfigurations").await?;
    // After which change each webhook that may be asked again was called.
    let mut again: Vec<(&Value, usize)> = Vec::new();
    let mut changes = 0;
    for hook in &hooks {
        if !asked(a, hook, object).await? {
            continue;
        }
        changes += usize::from(change(a, hook, object).await?);
        if hook["reinvocationPolicy"] == "IfNeeded" {
            again.push((hook, changes));
        }
    }
    for (hook, seen) in again {
        if seen < changes && asked(a, hook, object).await? {
            changes += usize::from(change(a, hook, object).await?);
        }
    }
    Ok(())
}

/// Calls a mutating webhook; true when it changed the object.
async fn change(a: &Admission<'_>, hook: &Value, object: &mut Value) -> Result<bool, Status> {
    let Some(response) = call(a, hook, object).await? else { return Ok(false) };
    let Some(patch) = response["patch"].as_str() else { return Ok(false) };
    let failed = |why: String| {
        Status::internal(format!("failed to apply patch of webhook {}: {why}", hook["name"]))
    };
    if response["patchType"] != "JSONPatch" {
        return Err(failed("unsupported patch type".to_owned()));
    }
    let patch = base64::engine::general_purpose::STANDARD
        .decode(patch)
        .map_err(|e| failed(e.to_string()))?;
    let patch: Value = serde_json::from_slice(&patch).map_err(|e| failed(e.to_string()))?;
    let patched =
        crate::patch::json_patch(a.kind, object, &patch).map_err(|e| failed(e.to_string()))?;
    let mut new = input::value(a.kind, patched)?.value;
    a.kind.default(&mut new);
    let changed = new != *object;
    *object = new;
    Ok(changed)
}

async fn validate(a: &Admission<'_>, object: &Value) -> Result<(), Status> {
    let hooks = configured(a, "validatingwebhookconfigurations").await?;
    let mut called = Vec::new();
    for hook in &hooks {
        if asked(a, hook, object).await? {
            called.push(call(a, hook, object));
        }
    }
    join_all(called).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

/// Calls a webhook; answers its response when it allows. None: it failed, and that is no matter.
async fn call(a: &Admission<'_>, hook: &Value, object: &Value) -> Result<Option<Value>, Status> {
    let name = hook["name"].as_str().unwrap_or_default();
    if a.dry_run && !matches!(hook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")) {
        return Err(Status::bad_request(format!(
            "admission webhook {name:?} does not support dry run"
        )));
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let mut asked = request(a, &uid);
    asked["object"] = object.clone();
    asked["oldObject"] = a.old.cloned().unwrap_or(Value::Null);
    let review =
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked});
    let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30);
    let timeout = Duration::from_secs(seconds);
    let answer = webhook::post(a.cx, &hook["clientConfig"], &review, timeout).await;
    let response = answer.and_then(|answer| {
        let response = answer["response"].clone();
        if response["uid"] == uid.as_str() {
            Ok(response)
        } else {
            Err(format!("expected response.uid={uid:?}, got {}", response["uid"]))
        }
    });
    let response = match response {
        Ok(response) => response,
        Err(why) if hook["failurePolicy"] == "Ignore" => {
            tracing::warn!(webhook = name, why, "a webhook failed, which is ignored");
            return Ok(None);
        }
        Err(why) => {
            return Err(Status::internal(format!(
                "failed calling webhook {name:?}: failed to call webhook: {why}"
            )));
        }
    };
    let warnings = response["warnings"].as_array().into_iter().flatten();
    a.warnings.lock().extend(warnings.filter_map(|w| w.as_str().map(str::to_owned)));
    if response["allowed"] == true {
        return Ok(Some(response));
    }
    Err(denied(name, &response["status"]))
}

fn denied(name: &str, status: &Value) -> Status {
    let by = format!("admission webhook {name:?} denied the request");
    let text = |field: &str| status[field].as_str().filter(|t| !t.is_empty());
    let message = match (text("message"), text("reason")) {
        (Some(why), _) | (None, Some(why)) => format!("{by}: {why}"),
        (None, None) => format!("{by} without explanation"),
    };
    let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).filter(|c| *c >= 400);
    Status::generic(code.unwrap_or(400), known_reason(text("reason").unwrap_or_default()), message)
}

/// A reason that clients know, or none.
pub(super) fn known_reason(reason: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "AlreadyExists",
        "BadRequest",
        "Conflict",
        "Forbidden",
        "Gone",
        "InternalError",
        "Invalid",
        "MethodNotAllowed",
        "NotFound",
        "RequestEntityTooLarge",
        "ServiceUnavailable",
        "Timeout",
        "TooManyRequests",
        "Unauthorized",
    ];
    KNOWN.iter().find(|known| **known == reason).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_says_who_and_why() {
        let status = denied("a.example.com", &json!({"message": "no"}));
        assert_eq!(status.message, "admission webhook \"a.example.com\" denied the request: no");
        assert_eq!(status.code, 400);
        let status = denied("a", &json!({"code": 403, "reason": "Forbidden"}));
        assert_eq!((status.code, status.reason), (403, "Forbidden"));
        assert!(denied("a", &Value::Null).message.ends_with("without explanation"));
    }
}
