//! Settings of the cluster DNS.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Settings of [`super::DnsServer`].
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// Ports to try, the first that is free on all addresses for UDP and TCP is taken.
    pub ports: Vec<u16>,
    /// The cluster's domain (`--cluster-domain`).
    pub domain: String,
    /// Addresses of Services and pods: names for them are never looked for elsewhere.
    pub own_ranges: Vec<IpNet>,
    /// Where the node's resolvers are written (`--resolv-conf`).
    pub resolv_conf: PathBuf,
    /// Longest time that another resolver's answer is kept.
    pub cache_ttl_max: Duration,
    /// Most answers kept.
    pub cache_entries_max: usize,
}

impl DnsConfig {
    /// The usual ports, then one that hardly anybody else listens on at every address.
    pub const PORTS: [u16; 2] = [53, 10_053];
    /// The usual domain.
    pub const DOMAIN: &'static str = "cluster.local";
    /// As upstream's configuration of the cluster DNS has it.
    pub const CACHE_TTL_MAX: Duration = Duration::from_secs(30);
    /// About two megabytes of answers at most.
    pub const CACHE_ENTRIES_MAX: usize = 2048;

    /// Settings with the usual values.
    pub fn new(listen: Vec<IpAddr>, own_ranges: Vec<IpNet>) -> Self {
        Self {
            listen,
            ports: Self::PORTS.to_vec(),
            domain: Self::DOMAIN.to_owned(),
            own_ranges,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            cache_ttl_max: Self::CACHE_TTL_MAX,
            cache_entries_max: Self::CACHE_ENTRIES_MAX,
        }
    }
}
