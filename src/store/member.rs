//! One member: its files, its consensus, its ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keelson_etcd_api::{DiskMetrics, ETCD_VERSION, EtcdConfig, EtcdServer, serve};
use keelson_failpoint::failpoint;
use keelson_raft::peer::PeerTls;
use keelson_raft::{Member, Node, NodeConfig};
use keelson_storage::command::{Command, MemberAttributes, Op, command};
use keelson_storage::engine::{RocksDb, RocksOptions};
use keelson_storage::machine::{Options as MachineOptions, StateMachine};
use keelson_storage::wal::Identity;
use tokio::signal::unix::{SignalKind, signal};

use super::config::{Config, Founders};
use super::listen::{Reuse, client_ports, peer_listener};
use super::tls::TlsInfo;
use super::unsynced::Unsynced;
use super::{compaction, files, identity};
use crate::lock;
use crate::measured::{MeasuredDisk, MeasuredEngine};

/// How long an orderly end may take.
const STOP_MAX: Duration = Duration::from_millis(1500);
/// After a member could not be reached, before the next try.
const RETRY: Duration = Duration::from_millis(50);
/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: u8 = 128;

/// Runs the member until a signal ends it; the code says which.
pub fn run(config: &Config) -> Result<u8> {
    let dir = config.data_dir().join("member");
    let founders = match config.founders() {
        Ok(founders) => founders,
        // A member that has data knows its cluster: `--initial-*` counts no more.
        Err(_) if files::identity(&dir)?.is_some() => Founders::new(),
        Err(error) => bail!("{error}"),
    };
    make_private(&dir)?;
    place_log(config, &dir)?;
    let _lock = lock::take(&dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("store")
        .build()
        .context("start the runtime")?;
    let ended = runtime.block_on(member(config, &founders, &dir));
    runtime.shutdown_timeout(STOP_MAX);
    ended
}

async fn member(config: &Config, founders: &Founders, dir: &Path) -> Result<u8> {
    let settings = &config.0;
    let node_config = node_config(config, founders, dir)?;
    let mut tls = TlsInfo::for_clients(settings);
    if settings.is_on("auto-tls") {
        let urls = [settings.urls("listen-client-urls"), settings.urls("listen-client-http-urls")];
        let hosts = hosts(urls.concat().iter());
        tls.make_certificates(&config.data_dir().join("fixtures/client"), &hosts, years(config))?;
    }
    let ports = client_ports(settings, &tls)?;
    tracing::info!(
        "etcd-version" = ETCD_VERSION,
        "keelson-version" = env!("CARGO_PKG_VERSION"),
        "member-id" = format!("{:x}", node_config.node_id),
        "cluster-id" = format!("{:x}", node_config.cluster_id),
        name = config.name(),
        "data-dir" = %config.data_dir().display(),
        "snapshot-count" = settings.number("snapshot-count", u64::MAX),
        "snapshot-catchup-entries" = settings.number("snapshot-catchup-entries", u64::MAX),
        "quota-backend-bytes" = settings.number("quota-backend-bytes", i64::MAX),
        "v2-deprecation" = "write-only",
        "starting an etcd server"
    );
    let face = config.face();
    let node = open(node_config, &face.disk).await?;
    let server = serve(EtcdConfig { ports, face, http: config.http() }, node.clone());
    let own = MemberAttributes {
        member_id: node.node_id(),
        name: config.name().to_owned(),
        client_urls: config.client_urls(),
    };
    let ready = tokio::spawn(say_ready(node.clone(), own));
    let compaction = config
        .retention()
        .map_err(anyhow::Error::msg)?
        .map(|retention| tokio::spawn(compaction::run(server.face(), retention)));
    let ended = tokio::select! {
        signal = end_signal() => signal,
        reason = node.stopped() => Err(anyhow::anyhow!("{reason}")),
    };
    ready.abort();
    if let Some(compaction) = compaction {
        compaction.abort();
    }
    stop(node, server).await;
    let number = ended?;
    // The first process of a container has nobody to tell.
    let is_first = std::process::id() == 1;
    Ok(if is_first { 0 } else { BY_SIGNAL + number })
}

/// Tells the others where clients find this member, and says that it serves: once it has answered
/// a read.
async fn say_ready(node: Node, own: MemberAttributes) {
    while node.read_index().await.is_err() {
        tokio::time::sleep(RETRY).await;
    }
    failpoint!(await beforePublishing);
    while node.view().member_attributes().get(&own.member_id) != Some(&own) {
        let command = Command { trusted: true, ..command(Op::MemberAttributes(own.clone())) };
        if let Err(error) = node.propose(command).await {
            tracing::warn!(%error, "failed to publish local member to cluster through raft");
            tokio::time::sleep(RETRY).await;
        }
    }
    tracing::info!("published local member to cluster through raft");
    tracing::info!("ready to serve client requests");
    let _not_under_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Waits for Ctrl-C or SIGTERM; the signal's number.
async fn end_signal() -> Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    let number = u8::try_from(kind.as_raw_value())?;
    tracing::info!(signal = number, "received signal; shutting down");
    Ok(number)
}

/// Who the member is: what its log says, or else its flags.
fn who(
    config: &Config,
    founders: &Founders,
    dir: &Path,
) -> Result<(Identity, BTreeMap<u64, Member>)> {
    let token = config.0.text("initial-cluster-token");
    let members: BTreeMap<u64, Member> = founders
        .iter()
        .map(|(name, peer_urls)| {
            let own = name == config.name();
            let client_urls = if own { config.client_urls() } else { Vec::new() };
            let member = Member { name: name.clone(), peer_urls: peer_urls.clone(), client_urls };
            (identity::member(peer_urls, token), member)
        })
        .collect();
    if let Some(known) = files::identity(dir)? {
        return Ok((known, members));
    }
    let cluster_id = identity::cluster(members.keys().copied().collect());
    Ok((Identity { cluster_id, node_id: identity::member(&config.peer_urls(), token) }, members))
}

fn node_config(config: &Config, founders: &Founders, dir: &Path) -> Result<NodeConfig> {
    let settings = &config.0;
    let (identity, members) = who(config, founders, dir)?;
    let mut node = NodeConfig::new(identity.node_id, identity.cluster_id, dir.to_owned());
    node.members = members;
    node.heartbeat = config.heartbeat();
    node.election = config.election();
    node.entries_kept = settings.number("snapshot-catchup-entries", u64::MAX);
    // Without the flag there is no reason to be durable as often as etcd: replay is quicker here.
    if settings.is_given("snapshot-count") {
        node.snapshot_entries = settings.number("snapshot-count", usize::MAX);
    }
    if settings.is_on("unsafe-no-fsync") {
        node.disk = Arc::new(Unsynced);
    }
    let urls = settings.urls("listen-peer-urls");
    let url = urls.first().context("no --listen-peer-urls")?;
    for other in &urls[1..] {
        tracing::warn!("peer-url" = %other, "only the first --listen-peer-urls is listened on");
    }
    let mut tls = TlsInfo::for_peers(settings);
    if settings.is_on("peer-auto-tls") {
        tls.make_certificates(
            &config.data_dir().join("fixtures/peer"),
            &hosts(urls.iter()),
            years(config),
        )?;
    }
    if url.is_secure() {
        if tls.is_empty() {
            bail!(
                "cannot listen on TLS for {}: KeyFile and CertFile are not presented",
                url.address
            );
        }
        node.peer_tls = Some(PeerTls { client: tls.client()?, server: tls.server(&[])? });
    } else if !tls.is_empty() {
        tracing::warn!(
            "peer-url" = %url,
            "scheme is HTTP while key and cert files are present; ignoring key and cert files"
        );
    }
    node.peer_listener = Some(peer_listener(url, Reuse::of(settings))?);
    Ok(node)
}

fn years(config: &Config) -> u32 {
    config.0.number("self-signed-cert-validity", 100)
}

fn hosts<'a>(urls: impl Iterator<Item = &'a super::flags::Url>) -> Vec<String> {
    let mut hosts: Vec<String> =
        urls.filter_map(|url| Some(url.host_and_port()?.0.to_owned())).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// With `--wal-dir` the log is kept there, and found by a link.
pub fn place_log(config: &Config, dir: &Path) -> Result<()> {
    let Some(wanted) = config.0.path("wal-dir") else { return Ok(()) };
    let link = dir.join("wal");
    if std::fs::symlink_metadata(&link).is_ok() {
        return Ok(());
    }
    make_private(&wanted)?;
    let wanted = wanted.canonicalize().context("find --wal-dir")?;
    std::os::unix::fs::symlink(&wanted, &link)
        .with_context(|| format!("link {} to {}", link.display(), wanted.display()))
}

/// Opens the state and starts consensus on it; answers once the log is replayed.
pub async fn open(mut config: NodeConfig, metrics: &Arc<DiskMetrics>) -> Result<Node> {
    let engine = RocksDb::open(&config.data_dir.join("db"), RocksOptions::default())
        .context("open the engine")?;
    let engine = MeasuredEngine { engine, metrics: metrics.clone() };
    config.disk = Arc::new(MeasuredDisk { disk: config.disk, metrics: metrics.clone() });
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
