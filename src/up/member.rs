//! The store of `keelson up`: a single member in this process, or an etcd-compatible cluster elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store};
use keelson_etcd_api::{EtcdConfig, EtcdServer, FaceConfig, HttpConfig, Port, serve};
use keelson_raft::{Member, Node, NodeConfig, identity};
use keelson_storage::machine::Options as MachineOptions;
use tokio::net::TcpListener;

use super::options::Options;
use super::run::{Site, in_use};
use crate::dirs::Dirs;
use crate::pki::Pki;
use crate::store;
use crate::tls::{self, ClientCertificates};

/// Sets the ids of these clusters apart from etcd's.
const TOKEN: &str = "keelson-up";
/// Threads for consensus: a single member has little of it.
const THREADS: usize = 1;

/// The store, wherever it is.
pub struct RunningStore {
    client: Arc<dyn Store>,
    here: Option<(Node, EtcdServer)>,
}

impl RunningStore {
    /// The store as the API server sees it.
    pub fn client(&self) -> Arc<dyn Store> {
        Arc::clone(&self.client)
    }

    /// Yields why the member in this process has stopped by itself; never, if there is none.
    pub async fn failed(&self) -> String {
        match &self.here {
            Some((node, _)) => node.stopped().await.to_string(),
            None => std::future::pending().await,
        }
    }

    /// Ends what runs here; a cluster elsewhere is left alone.
    pub async fn stop(self) {
        if let Some((node, server)) = self.here {
            store::stop(node, server).await;
        }
    }
}

/// Starts the member, or connects to the cluster that `--etcd-servers` names.
pub async fn start(options: &Options, dirs: &Dirs, pki: &Pki, site: &Site) -> Result<RunningStore> {
    if !options.etcd_servers.is_empty() {
        return Ok(RunningStore { client: Arc::new(external(options)?), here: None });
    }
    let address = store::address(&options.listen_client_urls)?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| in_use(error, "--listen-client-urls", address.to_string()))?;

    let dir = dirs.store().join("member");
    store::make_private(&dir)?;
    // The id must stay what it was at the first start, whatever the flags say later.
    let peer_urls = vec!["http://localhost:2380".to_owned()];
    let node_id = identity::member(&peer_urls, TOKEN);
    let client_urls = vec![options.listen_client_urls.clone()];
    let member = Member { name: site.node.clone(), peer_urls, client_urls, learner: false };
    let mut config = NodeConfig::new(node_id, identity::cluster(vec![node_id]), dir);
    config.members = BTreeMap::from([(node_id, member)]);
    config.heartbeat = Duration::from_millis(options.heartbeat_interval);
    config.election = Duration::from_millis(options.election_timeout);
    config.threads = THREADS;
    let face = FaceConfig::default();
    let node = store::open(config, MachineOptions::default(), &face.disk).await?;

    let tls = if options.listen_client_urls.starts_with("https://") {
        Some(tls::server(
            pki.etcd_server.certificate.as_bytes(),
            pki.etcd_server.key.as_bytes(),
            Some((pki.etcd_ca.certificate.as_bytes(), ClientCertificates::Required)),
            &[b"h2", b"http/1.1"],
        )?)
    } else {
        None
    };
    let ports = vec![Port::new(listener, tls)];
    let config = EtcdConfig { ports, face, http: HttpConfig::default() };
    let server = serve(config, node.clone());
    Ok(RunningStore { client: Arc::new(server.face()), here: Some((node, server)) })
}

fn external(options: &Options) -> Result<GrpcStore> {
    let read = |path: &Option<std::path::PathBuf>| -> Result<Option<Vec<u8>>> {
        path.as_ref()
            .map(|path| std::fs::read(path).with_context(|| format!("read {}", path.display())))
            .transpose()
    };
    let config = GrpcStoreConfig {
        endpoints: options.etcd_servers.clone(),
        ca_pem: read(&options.etcd_cafile)?,
        identity_pem: read(&options.etcd_certfile)?.zip(read(&options.etcd_keyfile)?),
        connections: 2,
    };
    Ok(GrpcStore::new(&config)?)
}
