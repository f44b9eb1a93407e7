//! The Services with a cluster address, for the environment of containers.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::network::services::{Catalog, Service, ServiceKey};

/// How long a container waits for the first list.
const FIRST_LIST: Duration = Duration::from_secs(10);
/// The Service that every container is told of.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// `enableServiceLinks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceLinks {
    Own,
    MasterOnly,
}

/// The Services that a pod in `namespace` is told of, by name: its own (unless it wants none) and
/// `default/kubernetes`. None when there is no first list yet, even after a wait: no container
/// starts without its Services.
pub(crate) async fn visible_services(
    catalog: &Catalog,
    namespace: &str,
    links: ServiceLinks,
) -> Option<BTreeMap<String, Arc<Service>>> {
    tokio::time::timeout(FIRST_LIST, catalog.synced()).await.ok()?;
    let master = catalog.service(&ServiceKey::new(MASTER.0, MASTER.1));
    let mut visible: BTreeMap<String, Arc<Service>> =
        master.into_iter().map(|service| (MASTER.1.to_owned(), service)).collect();
    if links == ServiceLinks::Own {
        visible.extend(catalog.services_in(namespace));
    }
    visible.retain(|_, service| !service.cluster_ips.is_empty());
    Some(visible)
}
