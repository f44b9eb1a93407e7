//! Config: what an API server is told at its start.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};

/// Where a node's kubelet API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// The node's name.
    pub node: String,
    /// Its preferred address (InternalIP first), when it has one.
    pub host: Option<String>,
    /// `status.daemonEndpoints.kubeletEndpoint.Port`, 10250 when unset.
    pub port: u16,
}

/// A byte stream to somewhere.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Opens connections to kubelet APIs. HTTP/1.1 is spoken on what it returns; TLS is its business.
#[async_trait]
pub trait KubeletDialer: Send + Sync + 'static {
    /// Connects to a node's kubelet API.
    async fn dial(&self, node: &NodeAddress) -> std::io::Result<Box<dyn Connection>>;
}

/// A dialer for clusters without nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKubelets;

#[async_trait]
impl KubeletDialer for NoKubelets {
    async fn dial(&self, node: &NodeAddress) -> std::io::Result<Box<dyn Connection>> {
        Err(std::io::Error::new(
            std::io::ErrorKind::NotConnected,
            format!("no connection to node {:?} is configured", node.node),
        ))
    }
}

/// What an API server is told at its start.
#[derive(Clone)]
pub struct Config {
    /// Addresses of Services (`--service-cluster-ip-range`); the first family is the default.
    pub service_cluster_ip_range: Vec<IpNet>,
    /// Ports of NodePort Services (`--service-node-port-range`), first and last.
    pub service_node_port_range: (u16, u16),
    /// `iss` of service-account tokens, and their default audience.
    pub service_account_issuer: String,
    /// Private key (PEM: PKCS#8 or PKCS#1, RSA or ECDSA P-256) that signs service-account tokens.
    pub service_account_signing_key: String,
    /// Further keys (PEM) whose tokens are believed.
    pub service_account_keys: Vec<String>,
    /// PEM of the CA that client certificates are checked with, published for extensions.
    pub client_ca: Option<String>,
    /// The address that the `kubernetes` Service leads to.
    pub advertise_address: IpAddr,
    /// The port that the `kubernetes` Service leads to.
    pub advertise_port: u16,
    /// Where JWKS are found (`--service-account-jwks-uri`); None: on the advertised address.
    pub service_account_jwks_uri: Option<String>,
    /// How kubelets are reached.
    pub kubelet: Arc<dyn KubeletDialer>,
}

impl Config {
    /// A configuration with every default that needs no secret.
    pub fn new(signing_key_pem: String, advertise_address: IpAddr, advertise_port: u16) -> Self {
        Config {
            service_cluster_ip_range: vec![IpNet::V4(DEFAULT_SERVICE_RANGE)],
            service_node_port_range: (30_000, 32_767),
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            service_account_signing_key: signing_key_pem,
            service_account_keys: Vec::new(),
            client_ca: None,
            advertise_address,
            advertise_port,
            service_account_jwks_uri: None,
            kubelet: Arc::new(NoKubelets),
        }
    }
}

const DEFAULT_SERVICE_RANGE: ipnet::Ipv4Net =
    ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 96, 0, 0), 12);
