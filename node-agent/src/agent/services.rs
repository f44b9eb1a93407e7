//! The Services with a cluster address, for the environment of containers.
use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::Api;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::Mutex;
use tokio::sync::watch;

/// How long a container waits for the first list.
const FIRST_LIST: Duration = Duration::from_secs(10);

/// What the environment says of one Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceAddress {
    pub(crate) name: String,
    pub(crate) cluster_ip: String,
    pub(crate) ports: Vec<ServicePort>,
}

/// All Services of the cluster, trimmed.
#[derive(Debug)]
pub(crate) struct ServiceCache {
    services: Mutex<BTreeMap<(String, String), ServiceAddress>>,
    synced: watch::Sender<bool>,
}

impl ServiceCache {
    pub(crate) fn new() -> Self {
        Self { services: Mutex::default(), synced: watch::Sender::new(false) }
    }

    /// Follows the Services until dropped.
    pub(crate) async fn run(&self, client: kube::Client) {
        let stream = watcher(Api::<Service>::all(client), watcher::Config::default());
        let mut stream = std::pin::pin!(stream.default_backoff());
        let mut listing = BTreeMap::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(service)) => {
                    if let Some((key, address)) = trim(service) {
                        listing.insert(key, address);
                    }
                }
                Ok(Event::InitDone) => {
                    *self.services.lock() = std::mem::take(&mut listing);
                    self.synced.send_replace(true);
                }
                Ok(Event::Apply(service)) => {
                    let key = key_of(&service);
                    let mut services = self.services.lock();
                    match trim(service) {
                        Some((key, address)) => services.insert(key, address),
                        None => services.remove(&key),
                    };
                }
                Ok(Event::Delete(service)) => {
                    self.services.lock().remove(&key_of(&service));
                }
                Err(error) => tracing::debug!(%error, "watch of services"),
            }
        }
    }

    /// Waits for the first list, so that no container starts without its Services; whether it came.
    pub(crate) async fn synced(&self) -> bool {
        let mut synced = self.synced.subscribe();
        let first = synced.wait_for(|synced| *synced);
        tokio::time::timeout(FIRST_LIST, first).await.is_ok_and(|listed| listed.is_ok())
    }

    /// The Services that a pod in `namespace` is told of: its own (unless it wants none) and `default/kubernetes`.
    pub(crate) fn visible(&self, namespace: &str, links: ServiceLinks) -> Vec<ServiceAddress> {
        let services = self.services.lock();
        let mut visible: BTreeMap<&str, &ServiceAddress> = BTreeMap::new();
        if let Some(master) = services.get(&("default".to_owned(), "kubernetes".to_owned())) {
            visible.insert("kubernetes", master);
        }
        if links == ServiceLinks::Own {
            for ((_, name), address) in services.iter().filter(|((ns, _), _)| ns == namespace) {
                visible.insert(name, address);
            }
        }
        visible.into_values().cloned().collect()
    }
}

/// `enableServiceLinks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceLinks {
    Own,
    MasterOnly,
}

fn key_of(service: &Service) -> (String, String) {
    let meta = &service.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn trim(service: Service) -> Option<((String, String), ServiceAddress)> {
    let key = key_of(&service);
    let spec = service.spec?;
    let cluster_ip = spec.cluster_ip.filter(|ip| !ip.is_empty() && ip != "None")?;
    let address =
        ServiceAddress { name: key.1.clone(), cluster_ip, ports: spec.ports.unwrap_or_default() };
    Some((key, address))
}
