//! Settings of the service proxy.

use std::time::Duration;

use ipnet::IpNet;

/// Settings of [`super::run`].
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// This node's name, as endpoints name it.
    pub node_name: String,
    /// The cluster's pod ranges (`--cluster-cidr`).
    pub cluster_ranges: Vec<IpNet>,
    /// Families to serve: IPv4, IPv6 or both.
    pub families: Vec<Family>,
    /// Name of the nftables table. Two clusters on one host have different ones.
    pub table: String,
    /// Bit of the packet mark that asks for source translation.
    pub masquerade_mark: u32,
    /// Where node ports listen; empty for all addresses of the node but loopback.
    pub node_port_addresses: Vec<IpNet>,
    /// How long changes gather before they are applied.
    pub gather: Duration,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl ProxyConfig {
    /// Default name of the nftables table.
    pub const TABLE: &'static str = "keelson-services";
    /// Default mark: bit 14, as upstream.
    pub const MASQUERADE_MARK: u32 = 1 << 14;
    /// Default time that changes gather.
    pub const GATHER: Duration = Duration::from_millis(20);

    /// Settings with the default names; the families are those of the cluster's pod ranges.
    pub fn new(node_name: impl Into<String>, cluster_ranges: Vec<IpNet>) -> Self {
        let has = |v6: bool| cluster_ranges.iter().any(|range| range.addr().is_ipv6() == v6);
        let mut families = Vec::new();
        if has(false) || cluster_ranges.is_empty() {
            families.push(Family::V4);
        }
        if has(true) {
            families.push(Family::V6);
        }
        Self {
            node_name: node_name.into(),
            cluster_ranges,
            families,
            table: Self::TABLE.to_owned(),
            masquerade_mark: Self::MASQUERADE_MARK,
            node_port_addresses: Vec::new(),
            gather: Self::GATHER,
        }
    }
}

impl Family {
    /// The name of the family and of its header in nftables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// The type of its addresses in nftables.
    pub(super) fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    /// Its loopback range.
    pub(super) fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1",
        }
    }

    /// Whether an address is of this family.
    pub(super) fn owns(self, ip: std::net::IpAddr) -> bool {
        ip.is_ipv4() == (self == Self::V4)
    }
}
