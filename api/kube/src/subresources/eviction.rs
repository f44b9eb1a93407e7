//! eviction: a delete that disruption budgets may refuse.
//!
//! Budgets are judged by the `disruptionsAllowed` that their controller wrote; a budget whose
//! status is behind its spec refuses.

use http::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::selectors::LabelSelector;
use crate::server::Body;
use crate::status::Status;
use crate::storage::stored_value;
use crate::verbs::delete::delete_object;
use crate::verbs::options::DeleteOptions;
use crate::{input, respond};

/// POST of an eviction.
pub(super) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let eviction = input::other(&mut call, "io.k8s.api.policy.v1.Eviction").await?;
    let name = call.info.name.clone();
    let namespace = call.info.namespace.clone();
    let own = eviction["metadata"]["name"].as_str().unwrap_or_default();
    if !own.is_empty() && own != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = DeleteOptions::from_value(&eviction["deleteOptions"])?;
    options.dry_run |= call.is_dry_run()?;
    let stored = call.cx.storage.get(&call.key(&name)).await?;
    let pod = stored.and_then(|s| stored_value(&s.value, s.revision));
    let pod = pod.ok_or_else(|| Status::not_found(call.resource(), &name))?;
    check_budgets(&call, &pod).await?;
    delete_object(&call, call.kind, &namespace, &name, &options).await?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    respond::value(call.accepted()?, 201, &done)
}

async fn check_budgets(call: &Call, pod: &Value) -> Result<(), Status> {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    let ending = !pod["metadata"]["deletionTimestamp"].is_null();
    if ending || matches!(phase, "Succeeded" | "Failed" | "Pending") {
        return Ok(());
    }
    let cache = call.cx.caches.of("poddisruptionbudgets").await?;
    call.cx.caches.freshen(&cache).await?;
    for budget in cache.snapshot(&format!("{}/", call.info.namespace)).objects {
        let budget = budget.value();
        let selector = LabelSelector::from_value(&budget["spec"]["selector"]);
        if !selector.matches(&pod["metadata"]["labels"]) {
            continue;
        }
        let status = &budget["status"];
        let observed = status["observedGeneration"].as_i64().unwrap_or(0);
        let behind = observed < budget["metadata"]["generation"].as_i64().unwrap_or(0);
        if behind || status["disruptionsAllowed"].as_i64().unwrap_or(0) <= 0 {
            let name = budget["metadata"]["name"].as_str().unwrap_or_default();
            let why = if behind {
                format!("The disruption budget {name} is still being processed by the server.")
            } else {
                format!(
                    "The disruption budget {name} needs {} healthy pods and has {} currently",
                    status["desiredHealthy"].as_i64().unwrap_or(0),
                    status["currentHealthy"].as_i64().unwrap_or(0)
                )
            };
            return Err(Status::too_many_requests(
                "Cannot evict pod as it would violate the pod's disruption budget.",
                if behind { 10 } else { 0 },
            )
            .cause("DisruptionBudget", why, ""));
        }
    }
    Ok(())
}
