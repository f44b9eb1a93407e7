//! The node's Lease in kube-node-lease: its heartbeat, renewed at a quarter of its duration.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};

use crate::agent::Context;

const NAMESPACE: &str = "kube-node-lease";
/// A renewal that failed is tried again soon.
const RETRY: Duration = Duration::from_millis(500);

/// Renews until dropped.
pub(crate) async fn run(cx: &Context, node_uid: String) {
    let api: Api<Lease> = Api::namespaced(cx.client.clone(), NAMESPACE);
    let seconds = cx.config.node_lease_duration_seconds;
    let interval = Duration::from_millis(u64::from(seconds) * 250);
    let mut last: Option<Lease> = None;
    loop {
        let renewed = match last.take() {
            Some(lease) => renew(&api, lease).await,
            None => obtain(cx, &api, &node_uid).await,
        };
        let pause = match renewed {
            Ok(lease) => {
                last = Some(lease);
                interval
            }
            Err(error) => {
                tracing::debug!(%error, "node lease not renewed");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn renew(api: &Api<Lease>, mut lease: Lease) -> Result<Lease, kube::Error> {
    let name = lease.metadata.name.clone().unwrap_or_default();
    if let Some(spec) = &mut lease.spec {
        spec.renew_time = Some(MicroTime(Timestamp::now()));
    }
    api.replace(&name, &PostParams::default(), &lease).await
}

async fn obtain(cx: &Context, api: &Api<Lease>, node_uid: &str) -> Result<Lease, kube::Error> {
    let name = cx.config.node_name.clone();
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: i32::try_from(cx.config.node_lease_duration_seconds).ok(),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..Default::default()
    };
    if let Some(mut lease) = api.get_opt(&name).await? {
        lease.spec = Some(spec);
        return api.replace(&name, &PostParams::default(), &lease).await;
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name,
                uid: node_uid.to_owned(),
                ..Default::default()
            }]),
            ..Default::default()
        },
        spec: Some(spec),
    };
    api.create(&PostParams::default(), &lease).await
}
