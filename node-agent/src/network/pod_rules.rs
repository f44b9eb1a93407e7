//! The nftables table of the pod network: source translation for traffic that leaves the cluster,
//! and ports of the host that lead to pods. Pure: text out.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::api::HostPort;
use super::records::PodRecord;

/// One family's side of the rules.
struct Family {
    name: &'static str,
    address: &'static str,
    loopback: &'static str,
}

const V4: Family = Family { name: "ip", address: "ipv4_addr", loopback: "127.0.0.0/8" };
const V6: Family = Family { name: "ip6", address: "ipv6_addr", loopback: "::1" };

impl Family {
    fn of(ip: IpAddr) -> &'static Family {
        if ip.is_ipv4() { &V4 } else { &V6 }
    }

    fn owns(&self, range: &IpNet) -> bool {
        range.addr().is_ipv4() == (self.name == "ip")
    }
}

/// Makes the whole table anew, in one transaction.
pub(super) fn whole_table(
    table: &str,
    link_prefix: &str,
    pod_ranges: &[IpNet],
    cluster_ranges: &[IpNet],
    pods: &[PodRecord],
) -> String {
    let mut text = String::new();
    for family in [&V4, &V6] {
        let inside: BTreeSet<IpNet> =
            pod_ranges.iter().filter(|r| family.owns(r)).copied().collect();
        if inside.is_empty() {
            continue;
        }
        let mut kept: BTreeSet<IpNet> = inside.clone();
        kept.extend(cluster_ranges.iter().filter(|r| family.owns(r)));
        let kept = IpNet::aggregate(&kept.into_iter().collect());
        base(&mut text, family, table, link_prefix, &inside.into_iter().collect::<Vec<_>>(), &kept);
    }
    for pod in pods {
        text.push_str(&add_pod(table, pod));
    }
    text
}

/// Commands that open the pod's host ports; empty for a pod without any.
pub(super) fn add_pod(table: &str, pod: &PodRecord) -> String {
    elements("add", table, pod)
}

/// Commands that close the pod's host ports.
pub(super) fn remove_pod(table: &str, pod: &PodRecord) -> String {
    elements("delete", table, pod)
}

/// Removes the table of both families, whether it exists or not.
pub(crate) fn remove_table(table: &str) -> String {
    let mut text = String::new();
    for family in ["ip", "ip6"] {
        let _ = writeln!(text, "add table {family} {table}\ndelete table {family} {table}");
    }
    text
}

fn base(
    text: &mut String,
    family: &Family,
    table: &str,
    link_prefix: &str,
    inside: &[IpNet],
    kept: &[IpNet],
) {
    let Family { name, address, loopback } = family;
    let (inside, kept) = (list(inside), list(kept));
    let _ = write!(
        text,
        "add table {name} {table}
delete table {name} {table}
table {name} {table} {{
  map host-ports {{ type inet_proto . inet_service : {address} . inet_service; }}
  map host-ip-ports {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}
  set hairpin {{ type {address} . {address}; }}
  chain to-pods {{
    meta l4proto {{ tcp, udp, sctp }} dnat {name} to {name} daddr . meta l4proto . th dport map @host-ip-ports
    fib daddr type local meta l4proto {{ tcp, udp, sctp }} dnat {name} to meta l4proto . th dport map @host-ports
  }}
  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname \"{link_prefix}*\" {name} daddr {loopback} drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump to-pods
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump to-pods
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat {name} saddr {loopback} oifname \"{link_prefix}*\" masquerade fully-random
    ct status dnat {name} saddr . {name} daddr @hairpin masquerade fully-random
    {name} saddr {{ {inside} }} {name} daddr != {{ {kept} }} fib daddr type != multicast oifname != \"{link_prefix}*\" masquerade fully-random
  }}
}}
"
    );
}

fn elements(verb: &str, table: &str, pod: &PodRecord) -> String {
    let mut text = String::new();
    let mut keys = BTreeSet::new();
    for port in &pod.host_ports {
        for ip in &pod.ips {
            let family = Family::of(*ip).name;
            let Some(element) = element(port, *ip) else { continue };
            if keys.insert((family, element.clone())) {
                let _ = writeln!(text, "{verb} element {family} {table} {element}");
            }
            if keys.insert((family, String::from("hairpin"))) {
                let _ = writeln!(text, "{verb} element {family} {table} hairpin {{ {ip} . {ip} }}");
            }
        }
    }
    text
}

/// The map and the element for one port and one of the pod's addresses; `None` when the port's host
/// address is of the other family.
fn element(port: &HostPort, ip: IpAddr) -> Option<String> {
    let HostPort { host_port, container_port, protocol, host_ip } = port;
    match host_ip {
        Some(host) if host.is_ipv4() != ip.is_ipv4() => None,
        Some(host) if !host.is_unspecified() => Some(format!(
            "host-ip-ports {{ {host} . {protocol} . {host_port} : {ip} . {container_port} }}"
        )),
        _ => Some(format!("host-ports {{ {protocol} . {host_port} : {ip} . {container_port} }}")),
    }
}

fn list(ranges: &[IpNet]) -> String {
    ranges.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::api::Protocol;
    use super::*;

    fn pod(ips: &[&str], host_ports: Vec<HostPort>) -> PodRecord {
        PodRecord {
            version: PodRecord::VERSION,
            sandbox_id: "s".into(),
            namespace: "default".into(),
            name: "web".into(),
            uid: "u".into(),
            netns_path: "/x".into(),
            link: "kln1".into(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            host_ports,
        }
    }

    fn port(host_port: u16, host_ip: Option<&str>) -> HostPort {
        HostPort {
            host_port,
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        }
    }

    #[test]
    fn host_ports_become_elements_of_the_right_map_and_family() {
        let pod = pod(
            &["10.1.2.3", "fd00::3"],
            vec![port(8080, None), port(8081, Some("192.0.2.1")), port(8082, Some("0.0.0.0"))],
        );
        assert_eq!(
            add_pod("t", &pod),
            "add element ip t host-ports { tcp . 8080 : 10.1.2.3 . 80 }
add element ip t hairpin { 10.1.2.3 . 10.1.2.3 }
add element ip6 t host-ports { tcp . 8080 : fd00::3 . 80 }
add element ip6 t hairpin { fd00::3 . fd00::3 }
add element ip t host-ip-ports { 192.0.2.1 . tcp . 8081 : 10.1.2.3 . 80 }
add element ip t host-ports { tcp . 8082 : 10.1.2.3 . 80 }
"
        );
        assert_eq!(remove_pod("t", &self::pod(&["10.1.2.3"], Vec::new())), "");
    }

    #[test]
    fn only_families_with_a_range_have_a_table() {
        let text = whole_table(
            "t",
            "kln",
            &["10.1.2.0/24".parse().unwrap()],
            &["10.1.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()],
            &[],
        );
        assert!(text.contains("ip saddr { 10.1.2.0/24 } ip daddr != { 10.1.0.0/16 }"), "{text}");
        assert!(!text.contains("ip6"), "{text}");
    }
}
