//! The node agent of `keelson up`: network, container runtime, agent, service proxy, cluster DNS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use keelson_kube_api::{ApiServer, UserInfo};
use keelson_node_agent::network::services::{self, Catalog};
use keelson_node_agent::network::{NetworkConfig, RoutedVeth};
use keelson_node_agent::proxy::ProxyConfig;
use keelson_node_agent::runtime::{EmbeddedRuntime, Registries, RuntimeConfig};
use keelson_node_agent::{Agent, AgentConfig, CriClients};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::dns::Dns;
use super::kubelet::Dialer;
use super::names;
use super::options::Options;
use super::run::{Site, in_use};
use crate::dirs::Dirs;
use crate::pki::Pki;
use crate::tls::{self, ClientCertificates};

/// Pause before the node's own object is watched again after an error.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// Why this process runs no node agent; `None` if it does.
pub fn reason_against(options: &Options) -> Option<&'static str> {
    if options.no_agent {
        return Some("--no-agent");
    }
    (!nix::unistd::geteuid().is_root()).then_some("containers need root")
}

/// A running node.
pub struct RunningAgent {
    agent: Arc<Agent>,
    runtime: Option<EmbeddedRuntime>,
}

impl RunningAgent {
    /// Ends it; containers run on.
    pub async fn stop(self) {
        self.agent.shutdown().await;
        if let Some(runtime) = self.runtime {
            runtime.stop().await;
        }
    }
}

/// Starts it; the node registers itself in the background.
pub async fn start(
    options: &Options,
    dirs: &Dirs,
    pki: &Pki,
    site: &Site,
    api: &ApiServer,
    dialer: &Dialer,
    token: &CancellationToken,
) -> Result<RunningAgent> {
    let node_dir = dirs.node();
    let client = |user: UserInfo| kube::Client::new(api.in_process(user), "default");
    let mut config =
        NetworkConfig::new(&node_dir.join("network"), Vec::new(), vec![options.cluster_cidr]);
    let names = names::of(&dirs.root);
    config.table = names.pod_table();
    config.link_prefix = names.link_prefix();
    let network = RoutedVeth::start(config).await.context("start the pod network")?;
    let catalog = Arc::new(Catalog::default());
    let proxy_user = UserInfo::new("system:kube-proxy", &[]);
    tokio::spawn(services::run(Arc::clone(&catalog), client(proxy_user), token.clone()));
    let mut proxy = ProxyConfig::new(&site.node, vec![options.cluster_cidr]);
    proxy.table = names.service_table();
    tokio::spawn({
        let (catalog, token) = (Arc::clone(&catalog), token.clone());
        async move {
            if let Err(error) = keelson_node_agent::proxy::run(catalog, proxy, token).await {
                tracing::error!(%error, "the service proxy has ended");
            }
        }
    });
    let services = Arc::clone(&catalog);
    let dns = Dns {
        client: client(UserInfo::service_account("kube-system", "kube-dns")),
        catalog,
        node: site.node.clone(),
        address: options.cluster_dns.unwrap_or_else(|| options.service_address(10)),
        domain: options.cluster_domain.clone(),
        own_ranges: vec![options.service_cluster_ip_range, options.cluster_cidr],
    };
    tokio::spawn(follow_pod_range(
        client(UserInfo::node(&site.node)),
        site.node.clone(),
        network.clone(),
        dns,
        token.clone(),
    ));

    let (runtime, cri) = match &options.container_runtime_endpoint {
        Some(socket) => {
            let path = socket.strip_prefix("unix://").unwrap_or(socket);
            (None, CriClients::unix(path.as_ref()))
        }
        None => {
            let mut config =
                RuntimeConfig::new(node_dir.join("runtime"), Arc::new(network.clone()));
            config.shim_cgroup = names.shim_cgroup();
            config.registries = Registries { plain_http: options.insecure_registry.clone() };
            let runtime = EmbeddedRuntime::start(config).await.context("start the runtime")?;
            runtime.serve_unix(&node_dir.join("run/cri.sock")).context("serve CRI")?;
            for image in &options.import_image {
                runtime
                    .import(image, None)
                    .await
                    .with_context(|| format!("import the image in {}", image.display()))?;
            }
            let channel = runtime.connector().channel();
            (Some(runtime), CriClients::new(channel))
        }
    };

    let cluster_dns = options.cluster_dns.unwrap_or_else(|| options.service_address(10));
    let config = AgentConfig {
        node_name: site.node.clone(),
        node_ips: vec![site.address],
        cluster_dns: vec![cluster_dns],
        cluster_domain: options.cluster_domain.clone(),
        max_pods: options.max_pods,
        root_dir: node_dir.join("kubelet"),
        pod_logs_dir: node_dir.join("logs/pods"),
        port: options.kubelet_port,
        node_status_update_frequency: options.node_status_update_frequency,
        ..AgentConfig::default()
    };
    let agent = Agent::start(config, client(UserInfo::node(&site.node)), cri, services)
        .await
        .context("start the node agent")?;

    let address = std::net::SocketAddr::new(options.bind_address, options.kubelet_port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| in_use(error, "--kubelet-port", address.to_string()))?;
    let server = tls::server(
        pki.kubelet_server.certificate.as_bytes(),
        pki.kubelet_server.key.as_bytes(),
        Some((pki.ca.certificate.as_bytes(), ClientCertificates::Optional)),
        &[b"h2", b"http/1.1"],
    )?;
    agent.serve_kubelet(listener, server);
    let agent = Arc::new(agent);
    let serving = Arc::clone(&agent);
    dialer.attach(Arc::new(move |stream| {
        tokio::spawn(serving.serve_connection(stream));
    }));
    Ok(RunningAgent { agent, runtime })
}

/// Gives the pod network the range that the node was assigned, and again when it changes; cluster
/// DNS listens in it.
async fn follow_pod_range(
    client: kube::Client,
    node: String,
    network: RoutedVeth,
    dns: Dns,
    token: CancellationToken,
) {
    let nodes = kube::Api::<Node>::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let events = watcher(nodes, config).default_backoff().applied_objects();
    let mut events = std::pin::pin!(events);
    let mut known = Vec::new();
    let mut serving = token.child_token();
    loop {
        let event = tokio::select! {
            () = token.cancelled() => return,
            event = events.next() => event,
        };
        let node = match event {
            Some(Ok(node)) => node,
            Some(Err(error)) => {
                tracing::debug!(%error, "watch of the own node");
                tokio::time::sleep(WATCH_RETRY).await;
                continue;
            }
            None => return,
        };
        let spec = node.spec.unwrap_or_default();
        let mut ranges = spec.pod_cidrs.unwrap_or_default();
        ranges.extend(spec.pod_cidr);
        ranges.sort();
        ranges.dedup();
        let ranges: Vec<ipnet::IpNet> =
            ranges.iter().filter_map(|range| range.parse().ok()).collect();
        if ranges.is_empty() || ranges == known {
            continue;
        }
        if let Err(error) = network.set_pod_ranges(&ranges).await {
            tracing::warn!(%error, "pod ranges could not be set");
            continue;
        }
        known = ranges;
        serving.cancel();
        serving = token.child_token();
        if let Err(error) = dns.serve(network.node_addresses(), &serving).await {
            tracing::error!(error = format!("{error:#}"), "cluster DNS does not run");
        }
    }
}
