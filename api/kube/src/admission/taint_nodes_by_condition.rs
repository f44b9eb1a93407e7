//! TaintNodesByCondition: a new node takes no pods before somebody says that it is ready.

use futures::FutureExt;
use serde_json::{Value, json};

use super::{Admission, Operation, Plugin};
use crate::status::Status;

pub(super) const ENTRY: Plugin =
    Plugin { mutate: Some(|a, object| mutate(a, object).boxed()), validate: None };

const NOT_READY: &str = "node.kubernetes.io/not-ready";

async fn mutate(a: &Admission<'_>, node: &mut Value) -> Result<(), Status> {
    if !a.is(Operation::Create, "", "Node") {
        return Ok(());
    }
    if !node["spec"].is_object() {
        node["spec"] = json!({});
    }
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule") {
        return Ok(());
    }
    taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    node["spec"]["taints"] = Value::Array(taints);
    Ok(())
}
