//! What the controllers can be told, in the names of kube-controller-manager's flags.

use std::time::Duration;

use ipnet::IpNet;

/// Settings of the controllers.
#[derive(Debug, Clone)]
pub struct Config {
    /// Names of the controllers to run: `*` for all, `-NAME` for not that one.
    pub controllers: Vec<String>,
    /// Deployments synced at once.
    pub concurrent_deployment_syncs: usize,
    /// Replica sets synced at once.
    pub concurrent_replicaset_syncs: usize,
    /// Services whose endpoint slices are synced at once.
    pub concurrent_service_endpoint_syncs: usize,
    /// Namespaces emptied at once.
    pub concurrent_namespace_syncs: usize,
    /// Objects collected at once.
    pub concurrent_gc_syncs: usize,
    /// Jobs synced at once.
    pub concurrent_job_syncs: usize,
    /// Daemon sets synced at once.
    pub concurrent_daemonset_syncs: usize,
    /// The most endpoints in one slice.
    pub max_endpoints_per_slice: usize,
    /// How often nodes are looked at.
    pub node_monitor_period: Duration,
    /// How long a node may be silent before it is Unknown.
    pub node_monitor_grace_period: Duration,
    /// The same for a node that never reported.
    pub node_startup_grace_period: Duration,
    /// Nodes a second that are tainted NoExecute in a healthy zone.
    pub node_eviction_rate: f64,
    /// The same in an unhealthy zone, if the cluster is large.
    pub secondary_node_eviction_rate: f64,
    /// The share of nodes not ready from which on a zone is unhealthy.
    pub unhealthy_zone_threshold: f64,
    /// Clusters of more nodes are large.
    pub large_cluster_size_threshold: usize,
    /// Terminated pods that may stay before the oldest are removed.
    pub terminated_pod_gc_threshold: usize,
    /// Whether nodes get pod address ranges.
    pub allocate_node_cidrs: bool,
    /// Ranges of all pod addresses, one for each IP family.
    pub cluster_cidr: Vec<IpNet>,
    /// Prefix length of a node's IPv4 range.
    pub node_cidr_mask_size_ipv4: u8,
    /// Prefix length of a node's IPv6 range.
    pub node_cidr_mask_size_ipv6: u8,
    /// Certificates (PEM) that pods trust for the API server; published in every namespace.
    pub root_ca: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controllers: vec!["*".to_owned()],
            concurrent_deployment_syncs: 5,
            concurrent_replicaset_syncs: 5,
            concurrent_service_endpoint_syncs: 5,
            concurrent_namespace_syncs: 10,
            concurrent_gc_syncs: 20,
            concurrent_job_syncs: 5,
            concurrent_daemonset_syncs: 2,
            max_endpoints_per_slice: 100,
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            unhealthy_zone_threshold: 0.55,
            large_cluster_size_threshold: 50,
            terminated_pod_gc_threshold: 12_500,
            allocate_node_cidrs: false,
            cluster_cidr: Vec::new(),
            node_cidr_mask_size_ipv4: 24,
            node_cidr_mask_size_ipv6: 64,
            root_ca: String::new(),
        }
    }
}

/// Why settings are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody would do that work.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// A node's range would not fit into the cluster's.
    #[error("node range /{mask} is larger than the cluster range {cluster}")]
    NodeRange {
        /// The cluster's range.
        cluster: IpNet,
        /// The prefix length of a node's.
        mask: u8,
    },
    /// There is nothing to allocate from.
    #[error("node ranges are to be allocated, but there is no cluster range")]
    NoClusterRange,
}

impl Config {
    /// All problems of these settings.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("concurrent deployment syncs", self.concurrent_deployment_syncs),
            ("concurrent replicaset syncs", self.concurrent_replicaset_syncs),
            ("concurrent service endpoint syncs", self.concurrent_service_endpoint_syncs),
            ("concurrent namespace syncs", self.concurrent_namespace_syncs),
            ("concurrent gc syncs", self.concurrent_gc_syncs),
            ("concurrent job syncs", self.concurrent_job_syncs),
            ("concurrent daemonset syncs", self.concurrent_daemonset_syncs),
            ("max endpoints per slice", self.max_endpoints_per_slice),
        ] {
            if value == 0 {
                problems.push(ConfigError::Zero(name));
            }
        }
        if self.allocate_node_cidrs && self.cluster_cidr.is_empty() {
            problems.push(ConfigError::NoClusterRange);
        }
        for cluster in &self.cluster_cidr {
            let mask = self.node_mask(cluster);
            if mask < cluster.prefix_len() || mask > cluster.max_prefix_len() {
                problems.push(ConfigError::NodeRange { cluster: *cluster, mask });
            }
        }
        problems
    }

    /// The prefix length of a node's range within `cluster`.
    pub(crate) fn node_mask(&self, cluster: &IpNet) -> u8 {
        match cluster {
            IpNet::V4(_) => self.node_cidr_mask_size_ipv4,
            IpNet::V6(_) => self.node_cidr_mask_size_ipv6,
        }
    }

    /// True if the controller of that name is to run.
    pub(crate) fn enables(&self, name: &str) -> bool {
        let named = |wanted: &str| self.controllers.iter().any(|one| one == wanted);
        !named(&format!("-{name}")) && (named(name) || named("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_turned_off_by_its_name() {
        let config = Config { controllers: vec!["*".into(), "-a".into()], ..Config::default() };
        assert!(config.enables("b") && !config.enables("a"));
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let config = Config {
            concurrent_gc_syncs: 0,
            cluster_cidr: vec!["10.1.0.0/25".parse().unwrap()],
            ..Config::default()
        };
        assert_eq!(config.problems().len(), 2);
        assert!(Config::default().problems().is_empty());
    }
}
