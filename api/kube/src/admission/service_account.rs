//! ServiceAccount: a pod runs as an account of its namespace and gets its token mounted.

use futures::FutureExt;
use serde_json::{Value, json};

use super::{Admission, Operation, Plugin};
use crate::status::Status;
use crate::verbs::generate_name;

pub(super) const ENTRY: Plugin =
    Plugin { mutate: Some(|a, object| mutate(a, object).boxed()), validate: None };

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// The unusual number marks tokens that may be extended.
const TOKEN_SECONDS: i64 = 3607;

async fn mutate(a: &Admission<'_>, pod: &mut Value) -> Result<(), Status> {
    if !a.is(Operation::Create, "", "Pod") || !pod["spec"].is_object() {
        return Ok(());
    }
    if !pod["metadata"]["annotations"][MIRROR].is_null() {
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if !account.is_empty() {
            return Err(a.forbidden("a mirror pod may not reference service accounts"));
        }
        return Ok(());
    }
    let named = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let name = if named.is_empty() { "default" } else { named }.to_owned();
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    let account = account(a, &name).await?;
    if wants_token(pod, &account) {
        mount_token(&mut pod["spec"]);
    }
    let secrets = &pod["spec"]["imagePullSecrets"];
    let has_secrets = secrets.as_array().is_some_and(|s| !s.is_empty());
    if !has_secrets && let Some(own) = account["imagePullSecrets"].as_array() {
        pod["spec"]["imagePullSecrets"] = json!(own);
    }
    Ok(())
}

async fn account(a: &Admission<'_>, name: &str) -> Result<Value, Status> {
    let cache = a.cx.caches.of("serviceaccounts").await?;
    let key = format!("{}/{name}", a.namespace);
    let mut found = cache.get(&key);
    if found.is_none() {
        a.cx.caches.freshen(&cache).await?;
        found = cache.get(&key);
    }
    found.map(|object| object.value()).ok_or_else(|| {
        a.forbidden(&format!(
            "error looking up service account {key}: serviceaccount \"{name}\" not found"
        ))
    })
}

fn wants_token(pod: &Value, account: &Value) -> bool {
    let field = "automountServiceAccountToken";
    pod["spec"][field].as_bool().or(account[field].as_bool()).unwrap_or(true)
}

/// Mounts the token into every container that has nothing at its place.
fn mount_token(spec: &mut Value) {
    let existing = spec["volumes"].as_array().into_iter().flatten().find_map(|v| {
        v["name"].as_str().filter(|n| n.starts_with(VOLUME_PREFIX)).map(str::to_owned)
    });
    let volume = existing.clone().unwrap_or_else(|| generate_name(VOLUME_PREFIX));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|m| m["mountPath"] == MOUNT_PATH) || !container.is_object() {
                continue;
            }
            let mut mounts = mounts;
            mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
            container["volumeMounts"] = Value::Array(mounts);
            mounted = true;
        }
    }
    if !mounted || existing.is_some() {
        return;
    }
    let mut volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}}));
    spec["volumes"] = Value::Array(volumes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_once_and_not_over_what_is_there() {
        let mut spec = json!({"containers": [
            {"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]},
        ]});
        mount_token(&mut spec);
        let volume = spec["volumes"][0]["name"].clone();
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
        let before = spec.clone();
        mount_token(&mut spec);
        assert_eq!(spec, before);
    }
}
