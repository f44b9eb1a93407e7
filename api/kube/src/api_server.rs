//! ApiServer: the parts put together.

use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keelson_client::Store;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admission::Policies;
use crate::auth::node::NodeAuthorizer;
use crate::auth::rbac::Rbac;
use crate::auth::service_account::Tokens;
use crate::auth::token_keys::KeyError;
use crate::cache::Caches;
use crate::config::Config;
use crate::context::Context;
use crate::custom::{self, Registry};
use crate::metrics::Metrics;
use crate::server::{self, InProcess};
use crate::service_addresses::Addresses;
use crate::status::Status;
use crate::storage::Storage;
use crate::user::UserInfo;
use crate::{bootstrap, compaction};

/// Why an API server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The service-account key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No range for Services was given.
    #[error("no range of addresses for services is configured")]
    NoServiceRange,
    /// The store refused what the server needs.
    #[error("the API server's own objects: {0}")]
    Objects(#[from] Status),
}

/// A running API server. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    context: Arc<Context>,
}

impl ApiServer {
    /// Opens the caches and makes the objects that every cluster has. When this returns, requests
    /// are answered.
    pub fn start(
        config: Config,
        store: Arc<dyn Store>,
    ) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(async move {
            let range =
                config.service_cluster_ip_range.first().ok_or(StartError::NoServiceRange)?;
            let addresses = Addresses::new(*range, config.service_node_port_range);
            let tokens = Tokens::new(
                &config.service_account_signing_key,
                &config.service_account_keys,
                config.service_account_issuer.clone(),
            )?;
            let stop = CancellationToken::new();
            let storage = Arc::new(Storage::new(store));
            let caches = Caches::start(storage.clone(), stop.clone()).await?;
            let rbac = Rbac::new(&caches).await?;
            let definitions = Registry::default();
            custom::load(&definitions, &*caches.of(custom::DEFINITIONS).await?);
            let context = Arc::new(Context {
                config,
                storage,
                caches,
                definitions,
                policies: Policies::default(),
                mutating_policies: Policies::default(),
                tokens,
                rbac,
                nodes: NodeAuthorizer::new(bootstrap::rbac::node_rules()),
                addresses,
                metrics: Metrics::default(),
                bootstrapped: AtomicBool::new(false),
                stop,
            });
            bootstrap::run(&context).await?;
            context.bootstrapped.store(true, Ordering::Release);
            tokio::spawn(compaction::run(context.clone()));
            tokio::spawn(custom::run(context.clone()));
            Ok(ApiServer { context })
        })
    }

    /// Serves connections on a listener until the server stops.
    pub fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
    ) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            server::serve(self.context.clone(), listener, tls, self.context.stop.clone()).await;
        })
    }

    /// Whether the server's own objects are there.
    pub fn is_ready(&self) -> bool {
        self.context.bootstrapped.load(Ordering::Acquire)
    }

    /// The server as a service for one user of this process.
    pub fn in_process(&self, user: UserInfo) -> InProcess {
        InProcess::new(self.context.clone(), user)
    }

    /// Ends watches and connections.
    pub fn stop(&self) {
        self.context.stop.cancel();
    }
}
