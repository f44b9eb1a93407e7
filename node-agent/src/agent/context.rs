//! What all parts of the agent share.
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{AgentConfig, CriClients, ObjectCache, Recorder, TokenCache};
use crate::network::services::Catalog;
use crate::node::Machine;
use crate::pods::{Cgroups, Mailboxes, PodFacts};

/// Handles and facts; made once when the agent starts.
pub(crate) struct Context {
    pub(crate) config: AgentConfig,
    pub(crate) client: kube::Client,
    pub(crate) cri: CriClients,
    /// The runtime's name, which container ids carry: `keelson://ID`.
    pub(crate) runtime_name: String,
    pub(crate) runtime_version: String,
    pub(crate) recorder: Recorder,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) objects: ObjectCache,
    pub(crate) services: Arc<Catalog>,
    pub(crate) tokens: TokenCache,
    pub(crate) pulls: Semaphore,
    pub(crate) machine: Machine,
    pub(crate) cgroups: Cgroups,
}

impl Context {
    /// The facts of a pod with these addresses.
    pub(crate) fn facts(&self, pod_ips: Vec<String>) -> PodFacts {
        PodFacts {
            pod_ips,
            host_ips: self.config.node_ips.iter().map(ToString::to_string).collect(),
            allocatable: self.machine.allocatable(&self.config),
        }
    }
}
