//! One member: its files, its consensus, its ports.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keelson_etcd_api::{DiskMetrics, ETCD_VERSION, EtcdConfig, EtcdServer, serve};
use keelson_failpoint::failpoint;
use keelson_raft::peer::{PeerCheck, PeerTls};
use keelson_raft::{Member, Node, NodeConfig, Stop};
use keelson_storage::command::{Command, MemberAttributes, Op, command};
use keelson_storage::engine::{RocksDb, RocksOptions};
use keelson_storage::machine::{Options as MachineOptions, StateMachine};
use tokio::signal::unix::{SignalKind, signal};

use super::bootstrap::{Bootstrap, bootstrap};
use super::config::Config;
use super::flags::{Settings, Url};
use super::listen::{Reuse, client_ports, peer_listener};
use super::tls::{TlsInfo, check_san};
use super::unsynced::Unsynced;
use super::{compaction, peer_http};
use crate::lock;
use crate::measured::{MeasuredDisk, MeasuredEngine};
use crate::settled;

/// How long an orderly end may take.
const STOP_MAX: Duration = Duration::from_millis(1500);
/// After a member could not be reached, before the next try.
const RETRY: Duration = Duration::from_millis(50);
/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: u8 = 128;

/// Runs the member until a signal ends it; the code says which.
pub fn run(config: &Config) -> Result<u8> {
    let dir = config.data_dir().join("member");
    make_private(&dir)?;
    place_log(config, &dir)?;
    let _lock = lock::take(&dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("store")
        .worker_threads(workers())
        .build()
        .context("start the runtime")?;
    let ended = runtime.block_on(member(config, &dir));
    runtime.shutdown_timeout(STOP_MAX);
    ended
}

/// Threads that serve clients. Consensus and the log have their own; and a request that another
/// thread takes up costs more than most requests do.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

async fn member(config: &Config, dir: &Path) -> Result<u8> {
    let settings = &config.0;
    let told = peer_http::Told::default();
    let node_config = node_config(config, dir, told.clone()).await?;
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
    let machine =
        MachineOptions { compaction_pace: config.compaction_pace(), ..MachineOptions::default() };
    let node = open(node_config, machine, &face.disk).await?;
    defragment(&node, settings.number("bootstrap-defrag-threshold-megabytes", u64::MAX >> 20))
        .await?;
    if settings.gate("InitialCorruptCheck") {
        check_history(&node).await?;
    }
    let _first = told.set(node.clone());
    let server = serve(EtcdConfig { ports, face, http: config.http() }, node.clone());
    let own = MemberAttributes {
        member_id: node.node_id(),
        name: config.name().to_owned(),
        client_urls: config.client_urls(),
        removed: false,
    };
    let ready = tokio::spawn(say_ready(node.clone(), own));
    let compaction = config
        .retention()
        .map_err(anyhow::Error::msg)?
        .map(|retention| tokio::spawn(compaction::run(server.face(), retention)));
    let ended = tokio::select! {
        signal = end_signal() => signal.map(Some),
        stop = node.stopped() => match stop {
            Stop::Removed => {
                tracing::warn!(error = %stop, "server error");
                tracing::warn!("data-dir used by this member must be removed");
                Ok(None)
            }
            Stop::Failed(reason) => Err(anyhow::anyhow!("{reason}")),
        },
    };
    ready.abort();
    if let Some(compaction) = compaction {
        compaction.abort();
    }
    stop(node, server).await;
    let Some(number) = ended? else { return Ok(0) };
    // The first process of a container has nobody to tell.
    let is_first = std::process::id() == 1;
    Ok(if is_first { 0 } else { BY_SIGNAL + number })
}

/// Rewrites the files at start, where that gives back so many megabytes; 0: never.
async fn defragment(node: &Node, megabytes: u64) -> Result<()> {
    if megabytes == 0 {
        return Ok(());
    }
    let view = node.view().clone();
    let (on_disk, used) = (view.disk_size(), view.size().unsigned_abs());
    let freeable = on_disk.saturating_sub(used);
    if freeable < megabytes << 20 {
        tracing::info!(
            "current-db-size-bytes" = on_disk,
            "current-db-size-in-use-bytes" = used,
            "bootstrap-defrag-threshold-bytes" = megabytes << 20,
            "Skipping defragmentation"
        );
        return Ok(());
    }
    tokio::task::spawn_blocking(move || view.defragment()).await?.context("defragment")
}

/// Compares this member's history with the others', as far as they answer, before it serves.
// upstream: etcd v3, "Data corruption", initial check
async fn check_history(node: &Node) -> Result<()> {
    let own = node.node_id();
    let odd = node.corrupt_members().await;
    if odd.contains(&own) {
        bail!("{own:x} found data inconsistency with peers");
    }
    for member in odd {
        let member = format!("{member:x}");
        tracing::error!(member, "found data inconsistency with peers");
    }
    tracing::info!(
        "local-member-id" = format!("{own:x}"),
        "initial corruption checking passed; no corruption"
    );
    Ok(())
}

/// Tells the others where clients find this member, and says that it serves: once it has answered
/// a read.
async fn say_ready(node: Node, own: MemberAttributes) {
    while node.read_index().await.is_err() {
        tokio::time::sleep(RETRY).await;
    }
    failpoint!(await beforePublishing);
    let id = own.member_id;
    while !node.view().is_removed_member(id)
        && node.view().member_attributes().get(&id) != Some(&own)
    {
        let command = Command { trusted: true, ..command(Op::MemberAttributes(own.clone())) };
        if let Err(error) = node.propose(command).await {
            tracing::warn!(%error, "failed to publish local member to cluster through raft");
            tokio::time::sleep(RETRY).await;
        }
    }
    tracing::info!("published local member to cluster through raft");
    tracing::info!("ready to serve client requests");
    let _not_under_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    settled::release_code().await;
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

async fn node_config(config: &Config, dir: &Path, told: peer_http::Told) -> Result<NodeConfig> {
    let settings = &config.0;
    let urls = settings.urls("listen-peer-urls");
    let tls = peer_tls(config, urls)?;
    let Bootstrap { identity, founders } = bootstrap(config, dir, tls.as_ref()).await?;
    // Not before: other founders may ask, and nobody answers yet.
    let reuse = Reuse::of(settings);
    let listeners = urls.iter().map(|url| peer_listener(url, reuse)).collect::<Result<_>>()?;
    let mut node = NodeConfig::new(identity.node_id, identity.cluster_id, dir.to_owned());
    node.members = founders;
    node.peer_tls = tls;
    node.peer_listeners = listeners;
    node.peer_http = Some(peer_http::serve(told));
    if settings.is_on("force-new-cluster") {
        tracing::warn!("forcing a new cluster: all members but this one are forgotten");
        let (name, peer_urls) = (config.name().to_owned(), config.peer_urls());
        node.force_new_cluster = Some(Member { name, peer_urls, ..Member::default() });
    }
    node.heartbeat = config.heartbeat();
    node.election = config.election();
    node.pre_vote = settings.is_on("pre-vote");
    node.apply_warning = settings.duration("warning-apply-duration");
    node.corrupt_check =
        Some(settings.duration("corrupt-check-time")).filter(|time| !time.is_zero());
    node.compact_hash_check =
        settings.gate("CompactHashCheck").then(|| settings.duration("compact-hash-check-time"));
    node.entries_kept = settings.number("snapshot-catchup-entries", u64::MAX);
    // Without the flag there is no reason to be durable as often as etcd: replay is quicker here.
    if settings.is_given("snapshot-count") {
        node.snapshot_entries = settings.number("snapshot-count", usize::MAX);
    }
    if settings.is_on("unsafe-no-fsync") {
        node.disk = Arc::new(Unsynced);
    }
    Ok(node)
}

/// Certificates for members, where any of the URLs asks for them.
fn peer_tls(config: &Config, urls: &[Url]) -> Result<Option<PeerTls>> {
    let settings = &config.0;
    let mut tls = TlsInfo::for_peers(settings);
    if settings.is_on("peer-auto-tls") {
        let dir = config.data_dir().join("fixtures/peer");
        tls.make_certificates(&dir, &hosts(urls.iter()), years(config))?;
    }
    for url in urls {
        if url.is_secure() && tls.is_empty() {
            bail!(
                "cannot listen on TLS for {}: KeyFile and CertFile are not presented",
                url.address
            );
        }
        if !url.is_secure() && !tls.is_empty() {
            tracing::warn!(
                "peer-url" = %url,
                "scheme is HTTP while key and cert files are present; ignoring key and cert files"
            );
        }
    }
    let checks_san = !settings.is_on("peer-skip-client-san-verification");
    match urls.iter().any(Url::is_secure) {
        true => Ok(Some(PeerTls {
            client: tls.client()?,
            server: tls.server(&[])?,
            check: checks_san.then_some(check_san as PeerCheck),
            local: local_address(settings),
        })),
        false => Ok(None),
    }
}

/// Where connections to other members come from, with the gate that wants it to be told.
fn local_address(settings: &Settings) -> Option<IpAddr> {
    if !settings.gate("SetMemberLocalAddr") {
        return None;
    }
    let urls = settings.urls("initial-advertise-peer-urls").iter();
    let address = urls.filter_map(|url| url.host_and_port()?.0.parse::<IpAddr>().ok()).next();
    address.filter(|address| !address.is_unspecified())
}

fn years(config: &Config) -> u32 {
    config.0.number("self-signed-cert-validity", 100)
}

fn hosts<'a>(urls: impl Iterator<Item = &'a Url>) -> Vec<String> {
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
pub async fn open(
    mut config: NodeConfig,
    machine: MachineOptions,
    metrics: &Arc<DiskMetrics>,
) -> Result<Node> {
    let engine = RocksDb::open(&config.data_dir.join("db"), RocksOptions::default())
        .context("open the engine")?;
    let engine = MeasuredEngine { engine, metrics: metrics.clone() };
    config.disk = Arc::new(MeasuredDisk { disk: config.disk, metrics: metrics.clone() });
    let machine = StateMachine::open(Arc::new(engine), machine)?;
    Ok(Node::start(config, machine).await?)
}

/// Hands leadership over while clients are still served, by the next leader then; ends ports, then
/// consensus.
pub async fn stop(node: Node, server: EtcdServer) {
    let _over_time = tokio::time::timeout(STOP_MAX, async {
        node.hand_over().await;
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
