//! The agent's life: start, its tasks, and the end, which leaves containers running.
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use keelson_proto::cri;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{AgentConfig, Context, CriClients, ObjectCache, Recorder, TokenCache, pod_source};
use crate::connection::Connection;
use crate::kubelet_api;
use crate::network::services::Catalog;
use crate::node::{self, Machine};
use crate::pods::{Cgroups, Mailboxes, Workers, rotate_logs, run_pleg};

/// Pauses between attempts to reach the API server at the start.
const REGISTER_RETRY: Duration = Duration::from_millis(200);

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration lacks what the Node needs.
    #[error("invalid node agent configuration: {0}")]
    Config(&'static str),
    /// A directory could not be made.
    #[error("node agent directory {path}: {source}")]
    Directory {
        /// Which one.
        path: std::path::PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The container runtime does not answer.
    #[error("container runtime: {0}")]
    Runtime(#[from] Box<tonic::Status>),
}

/// The running agent. Dropping it ends its tasks; containers go on and are adopted by the next one.
pub struct Agent {
    cx: Arc<Context>,
    workers: Arc<Workers>,
    tasks: Mutex<JoinSet<()>>,
}

impl Agent {
    /// Starts all tasks; the Node is registered in the background as soon as the API server answers.
    /// `client` acts as `system:node:<name>`; somebody else keeps `services` up to date.
    pub fn start(
        config: AgentConfig,
        client: kube::Client,
        cri: CriClients,
        services: Arc<Catalog>,
    ) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(async move {
            if config.node_name.is_empty() {
                return Err(StartError::Config("node name is empty"));
            }
            if config.node_ips.is_empty() {
                return Err(StartError::Config("no node address"));
            }
            for path in [config.root_dir.join("pods"), config.pod_logs_dir.clone()] {
                std::fs::create_dir_all(&path)
                    .map_err(|source| StartError::Directory { path, source })?;
            }
            let asked = cri::VersionRequest { version: "v1".into() };
            let version = cri.runtime.clone().version(asked).await.map_err(Box::new)?.into_inner();
            let mailboxes = Arc::new(Mailboxes::default());
            let (recorder, events) = Recorder::start(client.clone(), config.node_name.clone());
            let told = mailboxes.clone();
            let nudge = Arc::new(move |uid: &str| {
                told.get(uid).iter().for_each(|m| m.put(|mail| mail.objects_changed = true));
            });
            let pulls =
                if config.serialize_image_pulls { 1 } else { config.max_parallel_image_pulls };
            let cx = Arc::new(Context {
                objects: ObjectCache::new(client.clone(), nudge),
                services,
                tokens: TokenCache::default(),
                pulls: Semaphore::new(pulls.max(1)),
                machine: Machine::read(&config.root_dir),
                cgroups: if config.make_cgroups {
                    Cgroups::of_host(config.pod_max_pids)
                } else {
                    Cgroups::default()
                },
                runtime_name: version.runtime_name,
                runtime_version: version.runtime_version,
                recorder,
                mailboxes,
                cri,
                client,
                config,
            });
            let workers = Arc::new(Workers::new(cx.clone()));
            let mut tasks = JoinSet::new();
            tasks.spawn(events);
            tasks.spawn(run_pleg(cx.clone()));
            tasks.spawn(rotate_logs(cx.clone()));
            let (own, own_workers) = (cx.clone(), workers.clone());
            tasks.spawn(async move {
                pod_source::run(own.client.clone(), &own.config.node_name, &own_workers).await;
            });
            let own = cx.clone();
            tasks.spawn(async move { keep_node(&own).await });
            Ok(Self { cx, workers, tasks: Mutex::new(tasks) })
        })
    }

    /// The kubelet API. It trusts whoever reaches it: serve it on a connection in memory, or by `serve_kubelet`.
    pub fn kubelet_router(&self) -> Router {
        kubelet_api::router(self.cx.clone(), self.workers.clone())
    }

    /// Serves the kubelet API on one connection that is trusted, such as the API server's in the same process.
    pub fn serve_connection<S>(&self, stream: S) -> BoxFuture<'static, ()>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
    {
        let router = self.kubelet_router();
        Box::pin(kubelet_api::serve_connection(router, Connection::new(stream)))
    }

    /// Serves the kubelet API with TLS until dropped. `tls` asks for client certificates of the cluster's CA;
    /// who has none needs a bearer token, and whoever it is, is authorized by the API server.
    pub fn serve_kubelet(&self, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
        let (router, client) = (self.kubelet_router(), self.cx.client.clone());
        let node = self.cx.config.node_name.clone();
        self.tasks.lock().spawn(kubelet_api::serve_tls(listener, tls, router, client, node));
    }

    /// Ends the agent's tasks; containers run on.
    pub async fn shutdown(&self) {
        self.workers.abort();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.workers.abort();
    }
}

async fn keep_node(cx: &Context) {
    let node = loop {
        match node::register(cx).await {
            Ok(node) => break node,
            Err(error) => {
                tracing::debug!(%error, "node not registered yet");
                tokio::time::sleep(REGISTER_RETRY).await;
            }
        }
    };
    tracing::info!(node = cx.config.node_name, "node registered");
    let uid = node.metadata.uid.clone().unwrap_or_default();
    tokio::join!(node::run(cx, node), node::run_lease(cx, uid));
}
