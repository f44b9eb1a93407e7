//! The controllers, one a file: each a pure plan inside a thin reconcile, all on shared informers.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api_error;
mod claim;
mod config;
mod deployment;
mod discovered;
mod endpoint_slice;
mod endpoints;
mod env;
mod garbage_collector;
mod int_or_percent;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod objects;
mod pod_control;
mod pod_garbage_collector;
mod pod_ranks;
mod pod_state;
mod replica_set;
mod root_ca;
mod service_account;
mod taint_eviction;

pub use config::{Config, ConfigError};
pub use env::SHARED_INFORMERS_USER;

use futures::future::BoxFuture;
use std::pin::Pin;
use std::sync::Arc;

use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::env::{Env, Informers};

/// One controller.
struct Controller {
    /// Its name as in `--controllers`.
    name: &'static str,
    /// The service account it acts as.
    account: &'static str,
    /// Runs it until cancelled.
    run: fn(Env) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Every controller, by name.
const CONTROLLERS: &[Controller] = &[
    deployment::ENTRY,
    endpoint_slice::ENTRY,
    endpoints::ENTRY,
    garbage_collector::ENTRY,
    namespace::ENTRY,
    node_ipam::ENTRY,
    node_lifecycle::ENTRY,
    pod_garbage_collector::ENTRY,
    replica_set::ENTRY,
    root_ca::ENTRY,
    service_account::ENTRY,
    taint_eviction::ENTRY,
];

/// Makes the client that acts as somebody, named as [`run`] says.
pub type ClientFactory = Box<dyn Fn(&str) -> Client + Send + Sync>;

/// Runs all controllers that `config` does not turn off, until cancelled.
///
/// `clients` makes the client that acts as the service account of that name in `kube-system`, or,
/// called with [`SHARED_INFORMERS_USER`], as that user. `config` must have no problems.
pub fn run(
    clients: ClientFactory,
    config: Config,
    token: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let config = Arc::new(config);
        let mut tasks = JoinSet::new();
        let informers = Informers::start(&clients(SHARED_INFORMERS_USER), &token, &mut tasks);
        for controller in CONTROLLERS.iter().filter(|one| config.enables(one.name)) {
            let env = Env {
                client: clients(controller.account),
                config: config.clone(),
                informers: informers.clone(),
                token: token.clone(),
            };
            tracing::debug!(controller = controller.name, "starting");
            tasks.spawn((controller.run)(env));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a controller ended in a panic");
            }
        }
    })
}
