//! How the API server reaches a node's kubelet API: in memory on this node, over TLS elsewhere.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use keelson_kube_api::{Connection, KubeletDialer, NodeAddress};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes that wait in each direction of a connection in memory.
const BUFFER: usize = 64 * 1024;

/// Serves one connection of the kubelet API.
pub type Serve = Arc<dyn Fn(tokio::io::DuplexStream) + Send + Sync>;

/// The dialer that `keelson up` gives its API server.
pub struct Dialer {
    node: String,
    here: OnceLock<Serve>,
    tls: Arc<ClientConfig>,
}

impl Dialer {
    /// `node` is this process' own; its agent comes later, by [`Dialer::attach`].
    pub fn new(node: String, tls: Arc<ClientConfig>) -> Self {
        Self { node, here: OnceLock::new(), tls }
    }

    /// From now on this node is reached through `serve`.
    pub fn attach(&self, serve: Serve) {
        let _only_once = self.here.set(serve);
    }
}

#[async_trait]
impl KubeletDialer for Dialer {
    async fn dial(&self, node: &NodeAddress) -> std::io::Result<Box<dyn Connection>> {
        if node.node == self.node
            && let Some(serve) = self.here.get()
        {
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            serve(theirs);
            return Ok(Box::new(ours));
        }
        let host = node.host.clone().ok_or_else(|| {
            std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("node {} has no address", node.node),
            )
        })?;
        let stream = TcpStream::connect((host.as_str(), node.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}
