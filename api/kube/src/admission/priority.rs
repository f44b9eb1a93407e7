//! Priority: the class a pod names, or the default one, becomes its priority.

use futures::FutureExt;
use serde_json::{Value, json};

use super::{Admission, Operation, Plugin};
use crate::status::Status;

pub(super) const ENTRY: Plugin =
    Plugin { mutate: Some(|a, object| mutate(a, object).boxed()), validate: None };

async fn mutate(a: &Admission<'_>, object: &mut Value) -> Result<(), Status> {
    if !a.is(Operation::Create, "", "Pod") || !object["spec"].is_object() {
        return Ok(());
    }
    let cache = a.cx.caches.of("priorityclasses").await?;
    let named = object["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if named.is_empty() {
        let classes = cache.snapshot("").objects;
        classes
            .iter()
            .map(|o| o.value())
            .filter(|c| c["globalDefault"] == true)
            .min_by_key(|c| c["value"].as_i64().unwrap_or(0))
    } else {
        let class = cache.get(&named).map(|o| o.value());
        let Some(class) = class else {
            return Err(a.forbidden(&format!("no PriorityClass with name {named} was found")));
        };
        Some(class)
    };
    let spec = &mut object["spec"];
    let (value, policy) = match &class {
        Some(class) => {
            spec["priorityClassName"] = class["metadata"]["name"].clone();
            (class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].as_str())
        }
        None => (0, None),
    };
    let policy = policy.unwrap_or("PreemptLowerPriority");
    let given = spec["priority"].as_i64();
    let given_policy = spec["preemptionPolicy"].as_str().map(str::to_owned);
    if given.is_some_and(|p| p != value) {
        return Err(a.forbidden(&format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
            given.unwrap_or_default()
        )));
    }
    if given_policy.as_deref().is_some_and(|p| p != policy) {
        return Err(a.forbidden(&format!(
            "the string value of PreemptionPolicy ({}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name",
            given_policy.unwrap_or_default()
        )));
    }
    spec["priority"] = json!(value);
    spec["preemptionPolicy"] = json!(policy);
    Ok(())
}
