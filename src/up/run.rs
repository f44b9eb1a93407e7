//! From nothing to a ready cluster, step by step, and back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keelson_client::Store;
use keelson_kube_api::{ApiServer, UserInfo};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::kubelet::Dialer;
use super::options::Options;
use super::screen::{Progress, Welcome};
use super::{agent, member};
use crate::cli::end_now;
use crate::dirs::Dirs;
use crate::pki::{self, Pki};
use crate::tls::{self, ClientCertificates};
use crate::{host, kubeconfig, lock, logging, settled};

/// How long an orderly end may take.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Runs until Ctrl-C or SIGTERM, and ends the process once anything was started.
pub fn run(options: Options) -> Result<()> {
    let problems = options.problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    logging::start(options.verbose);
    tls::install_provider();
    let dirs = Dirs::prepare(&options.data_dir)?;
    let _lock = lock::take(&dirs.root)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("keelson")
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(serve(options, &dirs));
    runtime.shutdown_timeout(STOP_MAX);
    let code = result.map_or_else(
        |error| {
            eprintln!("keelson: {error:#}");
            1
        },
        |()| 0,
    );
    end_now(code)
}

/// Everything of one control plane.
async fn serve(options: Options, dirs: &Dirs) -> Result<()> {
    let progress = Progress::start();
    let token = CancellationToken::new();

    progress.step("certificates");
    let site = Site::of(&options);
    let pki = pki::ensure(&dirs.pki(), &site.names(&options))?;

    progress.step("store");
    let store = member::start(&options, dirs, &pki, &site).await?;

    progress.step("API server");
    let listener = TcpListener::bind(options.api_address())
        .await
        .map_err(|error| in_use(error, "--secure-port", options.api_address().to_string()))?;
    let dialer = Arc::new(Dialer::new(
        site.node.clone(),
        tls::client(&pki.ca, &pki.apiserver_kubelet_client)?,
    ));
    let api = api_server(&options, &pki, &site, &dialer, store.client()).await?;
    let tls = tls::server(
        pki.apiserver.certificate.as_bytes(),
        pki.apiserver.key.as_bytes(),
        Some((pki.ca.certificate.as_bytes(), ClientCertificates::Optional)),
        &[b"h2", b"http/1.1"],
    )?;
    let serving = tokio::spawn({
        let api = api.clone();
        async move { api.serve(listener, tls).await }
    });
    let server = format!("https://{}", local(&options));
    let kubeconfig = write_kubeconfig(&options, dirs, &pki, &server)?;

    progress.step("controllers and scheduler");
    let client_for = {
        let api = api.clone();
        move |name: &str| {
            let user = match name.starts_with("system:") {
                true => UserInfo::new(name, &[]),
                false => UserInfo::service_account("kube-system", name),
            };
            kube::Client::new(api.in_process(user), "default")
        }
    };
    let config = keelson_controllers::Config {
        node_monitor_grace_period: options.node_monitor_grace_period,
        cluster_cidr: vec![options.cluster_cidr],
        allocate_node_cidrs: true,
        root_ca: pki.ca.certificate.clone(),
        ..keelson_controllers::Config::default()
    };
    let controllers =
        tokio::spawn(keelson_controllers::run(Box::new(client_for), config, token.clone()));
    let scheduler = tokio::spawn(keelson_scheduler::run(
        kube::Client::new(api.in_process(UserInfo::new("system:kube-scheduler", &[])), "default"),
        keelson_scheduler::Config::default(),
        token.clone(),
    ));

    let no_agent = agent::reason_against(&options);
    let agent = match no_agent {
        Some(_) => None,
        None => {
            progress.step("node agent");
            Some(agent::start(&options, dirs, &pki, &site, &api, &dialer, &token).await?)
        }
    };
    progress.done();
    Welcome {
        server,
        store: options.listen_client_urls.clone(),
        kubeconfig,
        store_pki: dirs.pki().join("etcd").display().to_string(),
        no_agent,
        took: progress.elapsed(),
    }
    .print();
    let _not_under_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let settled = tokio::spawn(settled::release_code());

    let ended = tokio::select! {
        signal = end_signal() => signal,
        why = store.failed() => Err(anyhow::anyhow!("the store has stopped: {why}")),
        served = serving => Err(anyhow::anyhow!("the API server ended: {served:?}")),
    };
    settled.abort();
    token.cancel();
    if let Some(agent) = agent {
        agent.stop().await;
    }
    let _ended =
        tokio::time::timeout(STOP_MAX, async { tokio::join!(controllers, scheduler) }).await;
    store.stop().await;
    ended
}

/// What this machine is called and where it is.
pub struct Site {
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: IpAddr,
    /// Where others reach the API server.
    pub advertise: IpAddr,
}

impl Site {
    fn of(options: &Options) -> Self {
        let address = options.node_ip.unwrap_or_else(host::address);
        let bound = (!options.bind_address.is_unspecified() && !options.bind_address.is_loopback())
            .then_some(options.bind_address);
        Self {
            node: options.hostname_override.clone().unwrap_or_else(host::name),
            address,
            advertise: options.advertise_address.or(bound).unwrap_or(address),
        }
    }

    fn names(&self, options: &Options) -> pki::Names {
        let mut addresses = vec![self.address];
        if self.advertise != self.address {
            addresses.push(self.advertise);
        }
        pki::Names {
            node: self.node.clone(),
            addresses,
            kubernetes_service: vec![options.service_address(1)],
            cluster_domain: options.cluster_domain.clone(),
        }
    }
}

async fn api_server(
    options: &Options,
    pki: &Pki,
    site: &Site,
    dialer: &Arc<Dialer>,
    store: Arc<dyn Store>,
) -> Result<ApiServer> {
    let mut config = keelson_kube_api::Config::new(
        pki.service_account_key.clone(),
        site.advertise,
        options.secure_port,
    );
    config.service_cluster_ip_range = vec![options.service_cluster_ip_range];
    config.service_node_port_range = options.service_node_port_range;
    config.service_account_issuer =
        format!("https://kubernetes.default.svc.{}", options.cluster_domain);
    config.client_ca = Some(pki.ca.certificate.clone());
    config.kubelet = Arc::clone(dialer) as Arc<dyn keelson_kube_api::KubeletDialer>;
    Ok(ApiServer::start(config, store).await?)
}

/// The address that this machine's own clients use.
fn local(options: &Options) -> String {
    let host = match options.bind_address {
        address if address.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    };
    format!("{host}:{}", options.secure_port)
}

fn write_kubeconfig(options: &Options, dirs: &Dirs, pki: &Pki, server: &str) -> Result<String> {
    let mut path = dirs.kubeconfig();
    kubeconfig::write(&path, server, &pki.ca, "kubernetes-admin", &pki.admin)?;
    if let Some(other) = &options.write_kubeconfig {
        kubeconfig::write(other, server, &pki.ca, "kubernetes-admin", &pki.admin)?;
        path.clone_from(other);
    }
    Ok(path.display().to_string())
}

/// A bind error in words that name the flag.
pub fn in_use(error: std::io::Error, flag: &str, address: String) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        return anyhow::anyhow!("{address} is in use by another process; choose another {flag}");
    }
    anyhow::Error::new(error).context(format!("listen on {address}"))
}

/// Waits for Ctrl-C or SIGTERM.
async fn end_signal() -> Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("wait for Ctrl-C"),
        _ = term.recv() => Ok(()),
    }
}
