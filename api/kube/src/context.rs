//! Context: what every request shares.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use crate::admission::Policies;
use crate::auth::node::NodeAuthorizer;
use crate::auth::rbac::Rbac;
use crate::auth::service_account::Tokens;
use crate::cache::Caches;
use crate::config::Config;
use crate::custom::Registry;
use crate::metrics::Metrics;
use crate::service_addresses::Addresses;
use crate::storage::Storage;

/// What every request shares.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) storage: Arc<Storage>,
    pub(crate) caches: Arc<Caches>,
    /// Kinds that definitions made.
    pub(crate) definitions: Registry,
    /// Admission policies, compiled.
    pub(crate) policies: Policies,
    pub(crate) mutating_policies: Policies,
    pub(crate) tokens: Tokens,
    pub(crate) rbac: Rbac,
    pub(crate) nodes: NodeAuthorizer,
    pub(crate) addresses: Addresses,
    pub(crate) metrics: Metrics,
    /// The objects that the server makes at its start are there.
    pub(crate) bootstrapped: AtomicBool,
    /// Cancelled when the server stops; watches end then.
    pub(crate) stop: CancellationToken,
}
