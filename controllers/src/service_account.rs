//! Service account: every namespace has one named `default`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_controller_runtime::{Next, ObjectKey, Queue, Watched, run_workers};
use kube::api::{Api, PostParams};

use crate::Controller;
use crate::api_error::{is_already_exists, is_namespace_terminating};
use crate::env::Env;

pub(super) const ENTRY: Controller = Controller {
    name: "serviceaccount-controller",
    account: "service-account-controller",
    run: |env| Box::pin(run(env)),
};

const ACCOUNT: &str = "default";

async fn run(env: Env) {
    let queue = Arc::new(Queue::default());
    let own = queue.clone();
    env.informers.namespaces.on_change(move |change| own.add(change.object().key()));
    let own = queue.clone();
    env.informers.default_accounts.on_change(move |change| {
        own.add(ObjectKey::new("", change.object().key().namespace));
    });
    env.informers.namespaces.synced().await;
    env.informers.default_accounts.synced().await;
    let token = env.token.clone();
    run_workers("serviceaccount", queue, 1, token, move |key| reconcile(env.clone(), key)).await;
}

async fn reconcile(env: Env, key: ObjectKey) -> Result<Next, kube::Error> {
    let Some(namespace) = env.informers.namespaces.get(&key) else { return Ok(Next::Wait) };
    let account = ObjectKey::new(&key.name, ACCOUNT);
    let exists = env.informers.default_accounts.get(&account).is_some();
    if !is_wanted(&namespace, exists) {
        return Ok(Next::Wait);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some(ACCOUNT.to_owned()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(env.client.clone(), &key.name);
    match accounts.create(&PostParams::default(), &account).await {
        Err(error) if !is_already_exists(&error) && !is_namespace_terminating(&error) => Err(error),
        _ => Ok(Next::Wait),
    }
}

/// True if the account is to be made.
fn is_wanted(namespace: &Namespace, exists: bool) -> bool {
    !exists && is_active(namespace)
}

/// True unless the namespace is going.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    !namespace.is_deleting() && phase != Some("Terminating")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_namespace_that_stays_gets_an_account() {
        let namespace = |phase| {
            serde_json::from_value::<Namespace>(json!({"status": {"phase": phase}})).unwrap()
        };
        assert!(is_wanted(&namespace("Active"), false));
        assert!(!is_wanted(&namespace("Active"), true));
        assert!(!is_wanted(&namespace("Terminating"), false));
    }
}
