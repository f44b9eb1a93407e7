//! Root CA: every namespace has a config map with the certificates that its pods trust.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_controller_runtime::{Next, ObjectKey, Queue, Watched, run_workers};
use kube::api::{Api, PostParams};

use crate::Controller;
use crate::api_error::{is_already_exists, is_namespace_terminating};
use crate::env::Env;
use crate::service_account::is_active;

pub(super) const ENTRY: Controller = Controller {
    name: "root-ca-certificate-publisher-controller",
    account: "root-ca-cert-publisher",
    run: |env| Box::pin(run(env)),
};

const NAME: &str = "kube-root-ca.crt";
const FIELD: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the \
    kube-apiserver when using internal endpoints such as the internal service IP or \
    kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
    clusters.";

async fn run(env: Env) {
    let queue = Arc::new(Queue::default());
    let own = queue.clone();
    env.informers.namespaces.on_change(move |change| own.add(change.object().key()));
    let own = queue.clone();
    env.informers.root_ca_config_maps.on_change(move |change| {
        own.add(ObjectKey::new("", change.object().key().namespace));
    });
    env.informers.namespaces.synced().await;
    env.informers.root_ca_config_maps.synced().await;
    let token = env.token.clone();
    run_workers("root-ca", queue, 1, token, move |key| reconcile(env.clone(), key)).await;
}

async fn reconcile(env: Env, key: ObjectKey) -> Result<Next, kube::Error> {
    let Some(namespace) = env.informers.namespaces.get(&key) else { return Ok(Next::Wait) };
    if !is_active(&namespace) {
        return Ok(Next::Wait);
    }
    let existing = env.informers.root_ca_config_maps.get(&ObjectKey::new(&key.name, NAME));
    let maps = Api::<ConfigMap>::namespaced(env.client.clone(), &key.name);
    let params = PostParams::default();
    let result = match plan(existing.as_deref(), &env.config.root_ca) {
        Plan::Nothing => return Ok(Next::Wait),
        Plan::Create(map) => maps.create(&params, &map).await,
        Plan::Update(map) => maps.replace(NAME, &params, &map).await,
    };
    match result {
        Ok(written) => env.informers.root_ca_config_maps.observe_write(written),
        Err(error) if is_already_exists(&error) || is_namespace_terminating(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Next::Wait)
}

#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create(ConfigMap),
    Update(ConfigMap),
}

/// What to do so that the map says what it is to say.
fn plan(existing: Option<&ConfigMap>, root_ca: &str) -> Plan {
    let data = BTreeMap::from([(FIELD.to_owned(), root_ca.to_owned())]);
    let Some(existing) = existing else {
        let annotations = BTreeMap::from([(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned())]);
        return Plan::Create(ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        });
    };
    let annotations = existing.metadata.annotations.as_ref();
    let described = annotations.and_then(|all| all.get(DESCRIPTION)).map(String::as_str);
    if existing.data.as_ref() == Some(&data) && described == Some(DESCRIPTION_TEXT) {
        return Plan::Nothing;
    }
    let mut map = existing.clone();
    map.data = Some(data);
    let annotations = map.metadata.annotations.get_or_insert_default();
    annotations.insert(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned());
    Plan::Update(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_made_kept_and_repaired() {
        let Plan::Create(map) = plan(None, "pem") else { panic!("not created") };
        assert_eq!(plan(Some(&map), "pem"), Plan::Nothing);
        let mut broken = map.clone();
        broken.data = None;
        assert_eq!(plan(Some(&broken), "pem"), Plan::Update(map));
    }
}
