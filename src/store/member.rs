//! One member: its files, its consensus, its ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keelson_etcd_api::{EtcdConfig, EtcdServer, FaceConfig, serve};
use keelson_raft::{Member, Node, NodeConfig};
use keelson_storage::engine::{RocksDb, RocksOptions};
use keelson_storage::machine::{Options as MachineOptions, StateMachine};
use tokio::net::TcpListener;

use super::options::{self, Options, Tool};
use super::{files, identity};
use crate::tls::ClientCertificates;
use crate::{lock, logging, tls};

/// How long an orderly end may take.
const STOP_MAX: Duration = Duration::from_millis(1500);

/// `keelson store`: a member, or a tool.
pub fn run(options: Options) -> Result<()> {
    match &options.tool {
        Some(Tool::Verify(files)) => files::verify(files),
        Some(Tool::DumpLog(files)) => files::dump(files),
        None => run_member(options.member),
    }
}

fn run_member(options: options::Member) -> Result<()> {
    logging::start_json(&options.log_level);
    tls::install_provider();
    let founders = options.founders()?;
    let dir = options.data_dir().join("member");
    make_private(&dir)?;
    let _lock = lock::take(&dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("store")
        .build()
        .context("start the runtime")?;
    let ended = runtime.block_on(member(&options, &founders, &dir));
    runtime.shutdown_timeout(STOP_MAX);
    ended
}

async fn member(options: &options::Member, founders: &options::Founders, dir: &Path) -> Result<()> {
    let token = &options.initial_cluster_token;
    let members: BTreeMap<u64, Member> = founders
        .iter()
        .map(|(name, peer_urls)| {
            let own = *name == options.name;
            let client_urls = if own { options.client_urls() } else { Vec::new() };
            let member = Member { name: name.clone(), peer_urls: peer_urls.clone(), client_urls };
            (identity::member(peer_urls, token), member)
        })
        .collect();
    let node_id = identity::member(&options.initial_advertise_peer_urls, token);
    let cluster_id = identity::cluster(members.keys().copied().collect());
    let alone = members.len() == 1;
    let mut config = NodeConfig::new(node_id, cluster_id, dir.to_owned());
    config.members = members;
    config.heartbeat = Duration::from_millis(options.heartbeat_interval);
    config.election = Duration::from_millis(options.election_timeout);
    if !alone {
        let address = address(options.listen_peer_urls.first().context("no --listen-peer-urls")?)?;
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("listen for peers on {address}"))?;
        config.peer_listener = Some(listener);
    }
    tracing::info!(
        member_id = format!("{node_id:x}"),
        cluster_id = format!("{cluster_id:x}"),
        keelson = env!("CARGO_PKG_VERSION"),
        "starting an etcd server"
    );
    let node = open(config).await?;

    let mut listeners = Vec::new();
    let mut secure = false;
    for url in &options.listen_client_urls {
        secure |= url.starts_with("https://");
        let address = address(url)?;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen for clients on {address}"))?;
        listeners.push(listener);
    }
    let tls = if secure { Some(client_tls(options)?) } else { None };
    let server = serve(EtcdConfig { listeners, tls, face: FaceConfig::default() }, node.clone());
    let ready = tokio::spawn({
        let node = node.clone();
        async move {
            while node.read_index().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tracing::info!("ready to serve client requests");
            let _not_under_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }
    });
    let ended = tokio::select! {
        signal = crate::up::end_signal() => signal,
        reason = node.stopped() => Err(anyhow::anyhow!("{reason}")),
    };
    ready.abort();
    stop(node, server).await;
    ended
}

/// Opens the state and starts consensus on it; answers once the log is replayed.
pub async fn open(config: NodeConfig) -> Result<Node> {
    let engine = RocksDb::open(&config.data_dir.join("db"), RocksOptions::default())
        .context("open the engine")?;
    let machine = StateMachine::open(Arc::new(engine), MachineOptions::default())?;
    Ok(Node::start(config, machine).await?)
}

/// Ends ports, then consensus.
pub async fn stop(node: Node, server: EtcdServer) {
    let _over_time = tokio::time::timeout(STOP_MAX, async {
        server.shutdown().await;
        node.shutdown().await;
    })
    .await;
}

/// Makes a directory that only its owner may enter.
pub fn make_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("make {}", dir.display()))
}

/// The socket address of `http://HOST:PORT`.
pub fn address(url: &str) -> Result<SocketAddr> {
    let (scheme, rest) = url.split_once("://").with_context(|| format!("{url:?} is not a URL"))?;
    if scheme != "http" && scheme != "https" {
        bail!("URL scheme must be http, https, unix, or unixs: {url}");
    }
    let rest = rest.trim_end_matches('/');
    let rest = rest.replace("localhost", "127.0.0.1");
    rest.parse().with_context(|| format!("{url:?}: expected IP in URL for binding, and a port"))
}

fn client_tls(options: &options::Member) -> Result<Arc<rustls::ServerConfig>> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let (Some(certificate), Some(key)) = (&options.cert_file, &options.key_file) else {
        bail!("an https client URL needs --cert-file and --key-file");
    };
    let ca = options.trusted_ca_file.as_deref().map(read).transpose()?;
    let wanted = if options.client_cert_auth {
        ClientCertificates::Required
    } else {
        ClientCertificates::Optional
    };
    tls::server(
        &read(certificate)?,
        &read(key)?,
        ca.as_deref().map(|ca| (ca, wanted)),
        &[b"h2", b"http/1.1"],
    )
}
