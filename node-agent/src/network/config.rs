//! Settings of the pod network.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

/// Settings of [`super::RoutedVeth`]. Two clusters live side by side on a host when `table`,
/// `link_prefix`, `state_dir` and the ranges differ.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Directory of everything the network keeps on disk; made when missing, removed by tear-down.
    pub state_dir: PathBuf,
    /// The node's pod ranges, at most one a family, primary first. Empty means those of the last
    /// time, until [`super::RoutedVeth::set_pod_ranges`].
    pub pod_ranges: Vec<IpNet>,
    /// The cluster's pod ranges (`--cluster-cidr`): traffic to them keeps the pod's address, all other
    /// traffic leaves with the node's.
    pub cluster_ranges: Vec<IpNet>,
    /// Name of the nftables table.
    pub table: String,
    /// First letters of the names of the host's ends of pod links; at most four, since the rest of
    /// the fifteen is a hash.
    pub link_prefix: String,
    /// MTU of pod links; `None` takes the MTU of the link with the default route.
    pub mtu: Option<u32>,
}

impl NetworkConfig {
    /// Default name of the nftables table.
    pub const TABLE: &'static str = "keelson-pods";
    /// Default beginning of link names.
    pub const LINK_PREFIX: &'static str = "kln";
    /// Longest beginning of link names.
    pub const LINK_PREFIX_LEN_MAX: usize = 4;

    /// Settings with the default names.
    pub fn new(state_dir: &Path, pod_ranges: Vec<IpNet>, cluster_ranges: Vec<IpNet>) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            pod_ranges,
            cluster_ranges,
            table: Self::TABLE.to_owned(),
            link_prefix: Self::LINK_PREFIX.to_owned(),
            mtu: None,
        }
    }
}
