//! Cluster DNS of this node: bound once the node has its pod range, and again when that changes.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use keelson_node_agent::dns::{DnsConfig, DnsServer, Publication, publish};
use keelson_node_agent::network::services::Catalog;
use tokio_util::sync::CancellationToken;

/// What the server needs besides its addresses.
pub struct Dns {
    /// Writes the `kube-dns` Service and this node's slice of it.
    pub client: kube::Client,
    /// Services and endpoints.
    pub catalog: Arc<Catalog>,
    /// This node.
    pub node: String,
    /// Address of the `kube-dns` Service.
    pub address: IpAddr,
    /// The cluster's domain.
    pub domain: String,
    /// Addresses of Services and pods.
    pub own_ranges: Vec<IpNet>,
}

impl Dns {
    /// Serves on this node's addresses in its pod range until `token` is cancelled.
    pub async fn serve(&self, listen: Vec<IpAddr>, token: &CancellationToken) -> Result<()> {
        let address = *listen.first().context("the node has no address in its pod range")?;
        let mut config = DnsConfig::new(listen, self.own_ranges.clone());
        config.domain.clone_from(&self.domain);
        let server = DnsServer::bind(config, Arc::clone(&self.catalog)).await?;
        let publication = Publication {
            node_name: self.node.clone(),
            cluster_ip: self.address,
            address,
            port: server.port(),
        };
        tokio::spawn(server.run(token.clone()));
        let (client, catalog) = (self.client.clone(), Arc::clone(&self.catalog));
        tokio::spawn(publish(client, catalog, publication, token.clone()));
        Ok(())
    }
}
