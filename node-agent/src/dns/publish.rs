//! The `kube-dns` Service and this node's EndpointSlice of it.

use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::network::services::{Catalog, ServiceKey};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
const PORT: i32 = 53;
/// Who looks after the slice; the endpoint slice controller leaves it alone.
const SLICE_OWNER: &str = "keelson-node-agent";
/// First and longest wait after a failure.
const RETRY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// What to publish.
#[derive(Clone, Debug)]
pub struct Publication {
    /// This node's name.
    pub node_name: String,
    /// The address of the Service (the tenth of the service range).
    pub cluster_ip: IpAddr,
    /// Where this node's server listens.
    pub address: IpAddr,
    /// On which port.
    pub port: u16,
}

/// Makes Service and slice, and makes them again whenever they are changed or deleted, until `token`
/// is cancelled. A `kube-dns` Service with a selector is somebody's own DNS: it stays, and no slice is
/// made for it. The client must be allowed to get and create the Service, and to update the slice as
/// well, in kube-system.
pub fn publish(
    client: Client,
    catalog: Arc<Catalog>,
    publication: Publication,
    token: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let key = ServiceKey::new(NAMESPACE, NAME);
        let mut changes = catalog.subscribe();
        let mut wait = RETRY[0];
        loop {
            let done = ensure(&client, &publication).await;
            let again = async {
                match done {
                    Ok(()) => {
                        wait = RETRY[0];
                        while !changes.next().await.contains(&key) {}
                    }
                    Err(error) => {
                        // The API server may only just be starting; later it is worth a look.
                        if wait == RETRY[1] {
                            tracing::warn!(%error, "cannot publish the cluster DNS");
                        }
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(RETRY[1]);
                    }
                }
            };
            tokio::select! {
                () = token.cancelled() => return,
                () = again => {}
            }
        }
    })
}

async fn ensure(client: &Client, publication: &Publication) -> Result<(), kube::Error> {
    let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
    let service = match services.get_opt(NAME).await? {
        Some(service) => service,
        None => services.create(&PostParams::default(), &service(publication)).await?,
    };
    if service.spec.as_ref().is_some_and(|s| s.selector.as_ref().is_some_and(|s| !s.is_empty())) {
        return Ok(());
    }
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
    let mut wanted = slice(publication);
    let name = wanted.metadata.name.clone().unwrap_or_default();
    match slices.get_opt(&name).await? {
        None => {
            slices.create(&PostParams::default(), &wanted).await?;
        }
        Some(found) if says_the_same(&found, &wanted) => {}
        Some(found) => {
            wanted.metadata.resource_version = found.metadata.resource_version;
            slices.replace(&name, &PostParams::default(), &wanted).await?;
        }
    }
    Ok(())
}

fn service(publication: &Publication) -> Service {
    let port = |name: &str, protocol: &str| ServicePort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_owned()),
        port: PORT,
        target_port: Some(IntOrString::Int(PORT)),
        ..ServicePort::default()
    };
    Service {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(text_map(&[
                ("k8s-app", NAME),
                ("kubernetes.io/cluster-service", "true"),
                ("kubernetes.io/name", "CoreDNS"),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some(publication.cluster_ip.to_string()),
            // Every node has its own server; a node that is down must not be asked.
            internal_traffic_policy: Some("Local".to_owned()),
            ports: Some(vec![port("dns", "UDP"), port("dns-tcp", "TCP")]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn slice(publication: &Publication) -> EndpointSlice {
    let port = |name: &str, protocol: &str| EndpointPort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_owned()),
        port: Some(publication.port.into()),
        ..EndpointPort::default()
    };
    let conditions =
        EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{NAME}-{}", publication.node_name)),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(text_map(&[
                ("kubernetes.io/service-name", NAME),
                ("endpointslice.kubernetes.io/managed-by", SLICE_OWNER),
            ])),
            ..ObjectMeta::default()
        },
        address_type: if publication.address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        endpoints: Some(vec![Endpoint {
            addresses: vec![publication.address.to_string()],
            conditions: Some(conditions),
            node_name: Some(publication.node_name.clone()),
            ..Endpoint::default()
        }]),
        ports: Some(vec![port("dns", "UDP"), port("dns-tcp", "TCP")]),
    }
}

fn says_the_same(found: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let labels = |slice: &EndpointSlice| slice.metadata.labels.clone().unwrap_or_default();
    let found_labels = labels(found);
    found.address_type == wanted.address_type
        && found.endpoints == wanted.endpoints
        && found.ports == wanted.ports
        && labels(wanted).iter().all(|(key, value)| found_labels.get(key) == Some(value))
}

fn text_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
