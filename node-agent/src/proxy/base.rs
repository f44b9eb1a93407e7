//! The fixed part of the proxy's table: maps, sets and the chains that look packets up in them. Pure.

use std::fmt::Write as _;

use super::config::{Family, ProxyConfig};

/// Destination address, protocol and port to the chain of a Service's port.
pub(super) const SERVICE_IPS: &str = "service-ips";
/// Protocol and port to the chain of a node port.
pub(super) const NODE_PORTS: &str = "node-ports";
/// As `SERVICE_IPS`, for ports without endpoints: what to do with new connections.
pub(super) const UNSERVED_IPS: &str = "unserved-ips";
/// As `NODE_PORTS`, for ports without endpoints.
pub(super) const UNSERVED_NODE_PORTS: &str = "unserved-node-ports";
/// Cluster addresses in use: other ports on them are refused.
pub(super) const CLUSTER_ADDRESSES: &str = "cluster-addresses";
/// Pairs of an endpoint and itself: such a packet must not keep its source.
pub(super) const HAIRPIN: &str = "hairpin";
/// Refuses a connection.
pub(super) const REFUSE: &str = "refuse";
/// Marks a packet for source translation.
pub(super) const MARK: &str = "mark-for-masquerade";

/// Makes the table of one family anew, without any Service.
pub(super) fn table(config: &ProxyConfig, family: Family) -> String {
    let (name, address) = (family.name(), family.address_type());
    let table = &config.table;
    let mark = config.masquerade_mark;
    let node_address = node_address(config, family);
    let mut text = String::new();
    let _ = write!(
        text,
        "add table {name} {table}
delete table {name} {table}
table {name} {table} {{
  map {SERVICE_IPS} {{ type {address} . inet_proto . inet_service : verdict; }}
  map {NODE_PORTS} {{ type inet_proto . inet_service : verdict; }}
  map {UNSERVED_IPS} {{ type {address} . inet_proto . inet_service : verdict; }}
  map {UNSERVED_NODE_PORTS} {{ type inet_proto . inet_service : verdict; }}
  set {CLUSTER_ADDRESSES} {{ type {address}; }}
  set {HAIRPIN} {{ type {address} . {address}; }}
  chain {REFUSE} {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain {MARK} {{
    meta mark set meta mark or {mark:#x}
  }}
  chain services {{
    {name} daddr . meta l4proto . th dport vmap @{SERVICE_IPS}
    {node_address} meta l4proto . th dport vmap @{NODE_PORTS}
  }}
  chain unserved {{
    {name} daddr . meta l4proto . th dport vmap @{UNSERVED_IPS}
    {node_address} meta l4proto . th dport vmap @{UNSERVED_NODE_PORTS}
    {name} daddr @{CLUSTER_ADDRESSES} goto {REFUSE}
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }}
  chain nat-output {{
    type nat hook output priority -100; policy accept;
    jump services
  }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark and {mark:#x} != 0 meta mark set meta mark xor {mark:#x} masquerade fully-random
    ct status dnat {name} saddr . {name} daddr @{HAIRPIN} masquerade fully-random
  }}
  chain filter-input {{
    type filter hook input priority -110; policy accept;
    ct state new jump unserved
  }}
  chain filter-forward {{
    type filter hook forward priority -110; policy accept;
    ct state new jump unserved
  }}
  chain filter-output {{
    type filter hook output priority -90; policy accept;
    ct state new jump unserved
  }}
}}
"
    );
    text
}

/// The match on addresses that node ports listen on.
fn node_address(config: &ProxyConfig, family: Family) -> String {
    let name = family.name();
    let own: Vec<String> = config
        .node_port_addresses
        .iter()
        .filter(|range| family.owns(range.addr()))
        .map(ToString::to_string)
        .collect();
    if own.is_empty() {
        format!("fib daddr type local {name} daddr != {}", family.loopback())
    } else {
        format!("fib daddr type local {name} daddr {{ {} }}", own.join(", "))
    }
}
