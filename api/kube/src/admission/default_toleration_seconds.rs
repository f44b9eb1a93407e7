//! DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or unreachable.

use futures::FutureExt;
use serde_json::{Value, json};

use super::{Admission, Operation, Plugin};
use crate::status::Status;

pub(super) const ENTRY: Plugin =
    Plugin { mutate: Some(|a, object| mutate(a, object).boxed()), validate: None };

const SECONDS: i64 = 300;
const TAINTS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

async fn mutate(a: &Admission<'_>, pod: &mut Value) -> Result<(), Status> {
    if !a.is(Operation::Create, "", "Pod") || !pod["spec"].is_object() {
        return Ok(());
    }
    let tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let mut all = tolerations.clone();
    for taint in TAINTS {
        let tolerated = tolerations.iter().any(|t| {
            let key = t["key"].as_str().unwrap_or_default();
            let effect = t["effect"].as_str().unwrap_or_default();
            (key.is_empty() || key == *taint) && (effect.is_empty() || effect == "NoExecute")
        });
        if !tolerated {
            all.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": SECONDS,
            }));
        }
    }
    if all.len() > tolerations.len() {
        pod["spec"]["tolerations"] = Value::Array(all);
    }
    Ok(())
}
