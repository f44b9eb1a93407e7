//! Services on this node: one catalog, and proxy and DNS on it.

use futures::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::services::{self, Catalog};
use crate::dns::{self, DnsConfig, DnsError, DnsServer, Publication};
use crate::proxy::{self, ProxyConfig};

/// Settings of [`NodeServices::start`].
#[derive(Clone, Debug)]
pub struct NodeServicesConfig {
    /// The service proxy's settings.
    pub proxy: ProxyConfig,
    /// The DNS server's settings; `None` for a cluster that brings its own.
    pub dns: Option<DnsConfig>,
    /// The address of the `kube-dns` Service.
    pub dns_cluster_ip: IpAddr,
}

/// The running tasks.
pub struct NodeServices {
    catalog: Arc<Catalog>,
    token: CancellationToken,
    tasks: JoinSet<()>,
}

impl NodeServices {
    /// Starts informers, proxy and DNS; they end when `token` is cancelled. `client` must be allowed
    /// to list and watch Services and EndpointSlices, and, with DNS, to get, create and update both
    /// in kube-system. Call it when the pod network has its range: DNS listens on the node's address.
    pub fn start(
        config: NodeServicesConfig,
        client: Client,
        token: CancellationToken,
    ) -> BoxFuture<'static, Result<Self, DnsError>> {
        Box::pin(async move {
            let catalog = Catalog::new();
            let mut tasks = JoinSet::new();
            let node_name = config.proxy.node_name.clone();
            if let Some(settings) = config.dns {
                let address = settings.listen.first().copied().ok_or(DnsError::NoAddress)?;
                let server = DnsServer::bind(settings, Arc::clone(&catalog)).await?;
                let publication = Publication {
                    node_name,
                    cluster_ip: config.dns_cluster_ip,
                    address,
                    port: server.port(),
                };
                tasks.spawn(server.run(token.clone()));
                tasks.spawn(dns::publish(
                    client.clone(),
                    Arc::clone(&catalog),
                    publication,
                    token.clone(),
                ));
            }
            let proxy = proxy::run(Arc::clone(&catalog), config.proxy, token.clone());
            tasks.spawn(async move {
                if let Err(error) = proxy.await {
                    tracing::error!(%error, "services have no addresses on this node");
                }
            });
            tasks.spawn(services::run(Arc::clone(&catalog), client, token.clone()));
            Ok(Self { catalog, token, tasks })
        })
    }

    /// Services and endpoints as this node knows them.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Ends the tasks and waits for them. Rules stay in force.
    pub async fn stop(mut self) {
        self.token.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The address of the `kube-dns` Service: the tenth of the service range.
pub fn dns_address(service_range: &IpNet) -> IpAddr {
    match service_range.network() {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) + DNS_OFFSET).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) + u128::from(DNS_OFFSET)).into()),
    }
}

const DNS_OFFSET: u32 = 10;
