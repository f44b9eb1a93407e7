//! Addresses: which ones of the node's pod ranges are taken. Pure; the records on disk are the truth.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The largest number of addresses considered of one range: more than any node runs pods, and it
/// keeps the search through a /64 finite.
const ADDRESSES_MAX: u128 = 1 << 16;

/// One range and the addresses of it that pods hold.
#[derive(Debug)]
struct Pool {
    range: IpNet,
    /// Offset of the address handed out last: the search goes on behind it, so that an address
    /// that was just freed rests while others are free.
    last: u128,
}

/// Address book of the node.
#[derive(Debug, Default)]
pub(super) struct Ipam {
    pools: Vec<Pool>,
    taken: BTreeMap<IpAddr, String>,
}

/// A range has no address left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted(pub(super) IpNet);

impl Ipam {
    /// Sets the ranges; addresses that are taken stay taken, also those outside the new ranges.
    pub(super) fn set_ranges(&mut self, ranges: &[IpNet]) {
        let highest = |range: &IpNet| {
            let inside = self.taken.keys().filter(|ip| range.contains(*ip));
            inside.map(|ip| number(*ip) - number(range.network())).max().unwrap_or(0)
        };
        self.pools = ranges
            .iter()
            .map(|range| Pool { range: range.trunc(), last: highest(range) })
            .collect();
    }

    /// The ranges as set.
    pub(super) fn ranges(&self) -> Vec<IpNet> {
        self.pools.iter().map(|pool| pool.range).collect()
    }

    /// Takes one address of every range for `owner`. All or none.
    pub(super) fn allocate(&mut self, owner: &str) -> Result<Vec<IpAddr>, Exhausted> {
        let mut picked = Vec::with_capacity(self.pools.len());
        for pool in &self.pools {
            let offset = free_offset(pool, &self.taken).ok_or(Exhausted(pool.range))?;
            picked.push(offset);
        }
        let mut ips = Vec::with_capacity(picked.len());
        for (pool, offset) in self.pools.iter_mut().zip(picked) {
            pool.last = offset;
            let ip = address(pool.range, offset);
            self.taken.insert(ip, owner.to_owned());
            ips.push(ip);
        }
        Ok(ips)
    }

    /// Marks addresses as taken that a record names.
    pub(super) fn adopt(&mut self, owner: &str, ips: &[IpAddr]) {
        for ip in ips {
            self.taken.insert(*ip, owner.to_owned());
        }
    }

    /// Frees the addresses that `owner` holds; an address that meanwhile belongs to another stays.
    pub(super) fn release(&mut self, owner: &str) {
        self.taken.retain(|_, holder| holder != owner);
    }
}

/// The address of a range that belongs to the node itself.
pub(super) fn node_address(range: &IpNet) -> IpAddr {
    address(*range, 1)
}

fn free_offset(pool: &Pool, taken: &BTreeMap<IpAddr, String>) -> Option<u128> {
    let host_bits = u32::from(pool.range.max_prefix_len() - pool.range.prefix_len());
    let size = 1_u128.checked_shl(host_bits).unwrap_or(ADDRESSES_MAX).min(ADDRESSES_MAX);
    // Offset 0 is the network's name, 1 the node's; the last one of an IPv4 range is its broadcast.
    let end = if pool.range.addr().is_ipv4() { size.saturating_sub(1) } else { size };
    let first = 2;
    if end <= first {
        return None;
    }
    let count = end - first;
    let start = if pool.last < first { 0 } else { pool.last - first + 1 };
    (0..count)
        .map(|step| first + (start + step) % count)
        .find(|offset| !taken.contains_key(&address(pool.range, *offset)))
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(range: IpNet, offset: u128) -> IpAddr {
    let sum = number(range.network()) + offset;
    match range {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(sum).unwrap_or(u32::MAX))),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(sum)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipam(ranges: &[&str]) -> Ipam {
        let mut ipam = Ipam::default();
        ipam.set_ranges(&ranges.iter().map(|r| r.parse().unwrap()).collect::<Vec<_>>());
        ipam
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_come_from_every_range_and_skip_the_nodes_own() {
        let mut ipam = ipam(&["10.1.2.0/24", "fd00:1::/64"]);
        assert_eq!(ipam.allocate("a").unwrap(), ips(&["10.1.2.2", "fd00:1::2"]));
        assert_eq!(ipam.allocate("b").unwrap(), ips(&["10.1.2.3", "fd00:1::3"]));
        assert_eq!(node_address(&"10.1.2.0/24".parse().unwrap()), ips(&["10.1.2.1"])[0]);
    }

    #[test]
    fn a_freed_address_rests_until_the_others_were_used() {
        let mut ipam = ipam(&["10.1.2.0/29"]);
        for want in ["10.1.2.2", "10.1.2.3", "10.1.2.4"] {
            assert_eq!(ipam.allocate(want).unwrap(), ips(&[want]));
        }
        ipam.release("10.1.2.2");
        for want in ["10.1.2.5", "10.1.2.6", "10.1.2.2"] {
            assert_eq!(ipam.allocate(want).unwrap(), ips(&[want]));
        }
        let range: IpNet = "10.1.2.0/29".parse().unwrap();
        assert_eq!(ipam.allocate("x"), Err(Exhausted(range)));
    }

    #[test]
    fn adopted_addresses_are_not_given_twice() {
        let mut ipam = Ipam::default();
        ipam.adopt("old", &ips(&["10.1.2.2", "10.1.2.4"]));
        ipam.set_ranges(&["10.1.2.0/24".parse().unwrap()]);
        assert_eq!(ipam.allocate("new").unwrap(), ips(&["10.1.2.5"]));
    }

    #[test]
    fn a_full_second_range_leaves_the_first_untouched() {
        let mut ipam = ipam(&["10.1.2.0/24", "fd00::/127"]);
        assert!(ipam.allocate("a").is_err());
        ipam.set_ranges(&["10.1.2.0/24".parse().unwrap()]);
        assert_eq!(ipam.allocate("a").unwrap(), ips(&["10.1.2.2"]));
    }
}
