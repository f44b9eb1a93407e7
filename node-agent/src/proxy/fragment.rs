//! What one Service needs in the table. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::base::{
    CLUSTER_ADDRESSES, HAIRPIN, MARK, NODE_PORTS, REFUSE, SERVICE_IPS, UNSERVED_IPS,
    UNSERVED_NODE_PORTS,
};
use super::choice::{Choice, Target, choose};
use super::config::{Family, ProxyConfig};
use super::conntrack::Flows;
use crate::network::Protocol;
use crate::network::services::{Service, ServiceKey, ServiceKind, ServicePort, Slice};

/// Name of a map or set, and the key of an element of it.
pub(super) type ElementKey = (&'static str, String);

/// Chains, sets and elements of one Service in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Chains by name, with their rules.
    pub(super) chains: BTreeMap<String, Vec<String>>,
    /// Sets by name, with their declarations.
    pub(super) sets: BTreeMap<String, String>,
    /// Elements, with their values; none in a set.
    pub(super) elements: BTreeMap<ElementKey, Option<String>>,
    /// UDP ports: flows that fit them no longer have to be forgotten.
    pub(super) flows: Vec<Flows>,
}

/// What a Service needs; nothing for one that is headless, an alias, or somebody else's to serve.
pub(super) fn fragment(
    config: &ProxyConfig,
    family: Family,
    key: &ServiceKey,
    service: &Service,
    slices: &[Arc<Slice>],
) -> Fragment {
    let mut fragment = Fragment::default();
    if service.kind != ServiceKind::Addressed || service.proxied_elsewhere || !is_plain(key) {
        return fragment;
    }
    let cluster_ips: Vec<IpAddr> =
        service.cluster_ips.iter().copied().filter(|ip| family.owns(*ip)).collect();
    let external_ips: Vec<IpAddr> =
        service.external_ips.iter().copied().filter(|ip| family.owns(*ip)).collect();
    if cluster_ips.is_empty() {
        return fragment;
    }
    for ip in &cluster_ips {
        fragment.elements.insert((CLUSTER_ADDRESSES, ip.to_string()), None);
    }
    for port in &service.ports {
        let choice = choose(slices, port, family, &config.node_name);
        let base = format!("{key}/{}/{}", port.protocol, port.port);
        let port = PortRules { config, family, service, port, choice: &choice, base: &base };
        port.add_inside(&mut fragment, &cluster_ips);
        port.add_outside(&mut fragment, &external_ips);
        if port.port.protocol == Protocol::Udp {
            fragment.flows.push(port.flows(cluster_ips.iter().chain(&external_ips)));
        }
        for ip in &choice.near {
            fragment.elements.insert((HAIRPIN, format!("{ip} . {ip}")), None);
        }
    }
    fragment
}

/// Whether names can stand in a chain's name. The API server sees to it; this file does not rely on it.
fn is_plain(key: &ServiceKey) -> bool {
    let plain = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    plain(&key.namespace) && plain(&key.name)
}

struct PortRules<'a> {
    config: &'a ProxyConfig,
    family: Family,
    service: &'a Service,
    port: &'a ServicePort,
    choice: &'a Choice,
    base: &'a str,
}

impl PortRules<'_> {
    /// Cluster addresses: traffic from pods and from the node.
    fn add_inside(&self, fragment: &mut Fragment, ips: &[IpAddr]) {
        let local_only = self.service.internal_local;
        let served = if local_only { &self.choice.local } else { &self.choice.cluster };
        let verdict = if served.is_empty() {
            None
        } else if local_only {
            Some(self.local_chain(fragment))
        } else {
            Some(self.cluster_chain(fragment))
        };
        for ip in ips {
            self.lead(
                fragment,
                self.address_key(*ip),
                [SERVICE_IPS, UNSERVED_IPS],
                verdict.as_deref(),
            );
        }
    }

    /// Node port and external addresses: traffic from anywhere.
    fn add_outside(&self, fragment: &mut Fragment, ips: &[IpAddr]) {
        if self.port.node_port.is_none() && ips.is_empty() {
            return;
        }
        let chain = (!self.choice.cluster.is_empty()).then(|| self.outside_chain(fragment));
        // The chain lets inside traffic through; what it leaves over came from outside and finds no
        // endpoint on this node.
        let left_over = self.service.external_local && self.choice.local.is_empty();
        let mut add = |key: String, [served, unserved]: [&'static str; 2]| {
            self.lead(fragment, key.clone(), [served, unserved], chain.as_deref());
            if chain.is_some() && left_over {
                fragment.elements.insert((unserved, key), Some("drop".to_owned()));
            }
        };
        for ip in ips {
            add(self.address_key(*ip), [SERVICE_IPS, UNSERVED_IPS]);
        }
        if let Some(number) = self.port.node_port {
            let key = format!("{} . {number}", self.port.protocol);
            add(key, [NODE_PORTS, UNSERVED_NODE_PORTS]);
        }
    }

    /// Adds the element for a destination: to its chain, or refused, or dropped where this node may
    /// not serve although others could.
    fn lead(
        &self,
        fragment: &mut Fragment,
        key: String,
        [served, unserved]: [&'static str; 2],
        chain: Option<&str>,
    ) {
        let (map, verdict) = match chain {
            Some(chain) => (served, format!("goto {chain}")),
            None if self.choice.cluster.is_empty() => (unserved, format!("goto {REFUSE}")),
            None => (unserved, "drop".to_owned()),
        };
        fragment.elements.insert((map, key), Some(verdict));
    }

    fn flows<'b>(&self, ips: impl Iterator<Item = &'b IpAddr>) -> Flows {
        Flows {
            destinations: ips.map(|ip| SocketAddr::new(*ip, self.port.port)).collect(),
            node_port: self.port.node_port,
            targets: self.choice.cluster.iter().chain(&self.choice.local).map(socket).collect(),
        }
    }

    fn address_key(&self, ip: IpAddr) -> String {
        format!("{ip} . {} . {}", self.port.protocol, self.port.port)
    }

    fn cluster_chain(&self, fragment: &mut Fragment) -> String {
        self.spread(fragment, format!("svc-{}", self.base), &self.choice.cluster)
    }

    fn local_chain(&self, fragment: &mut Fragment) -> String {
        self.spread(fragment, format!("loc-{}", self.base), &self.choice.local)
    }

    fn outside_chain(&self, fragment: &mut Fragment) -> String {
        let name = format!("ext-{}", self.base);
        let everywhere = self.cluster_chain(fragment);
        let family = self.family.name();
        let mut rules = Vec::new();
        if self.service.external_local {
            let inside: Vec<String> = self
                .config
                .cluster_ranges
                .iter()
                .filter(|range| self.family.owns(range.addr()))
                .map(ToString::to_string)
                .collect();
            if !inside.is_empty() {
                rules.push(format!("{family} saddr {{ {} }} goto {everywhere}", inside.join(", ")));
            }
            rules.push(format!("fib saddr type local jump {MARK}"));
            rules.push(format!("fib saddr type local goto {everywhere}"));
            if !self.choice.local.is_empty() {
                rules.push(format!("goto {}", self.local_chain(fragment)));
            }
        } else {
            rules.push(format!("jump {MARK}"));
            rules.push(format!("goto {everywhere}"));
        }
        fragment.chains.insert(name.clone(), rules);
        name
    }

    /// A chain that sends each new connection to one of the targets.
    fn spread(&self, fragment: &mut Fragment, name: String, targets: &[Target]) -> String {
        let rules = match self.service.affinity_seconds {
            Some(seconds) => self.sticky(fragment, targets, seconds),
            None => vec![self.random(targets)],
        };
        fragment.chains.insert(name.clone(), rules);
        name
    }

    fn random(&self, targets: &[Target]) -> String {
        let (protocol, family) = (self.port.protocol, self.family.name());
        if let [only] = targets {
            return format!("meta l4proto {protocol} dnat to {}", socket(only));
        }
        let mut rule = format!(
            "meta l4proto {protocol} dnat {family} to numgen random mod {} map {{ ",
            targets.len()
        );
        for (index, Target { ip, port }) in targets.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(rule, "{comma}{index} : {ip} . {port}");
        }
        rule.push_str(" }");
        rule
    }

    /// Rules that keep a client with its endpoint: one set of clients an endpoint, so that the
    /// clients of an endpoint that goes are forgotten with it.
    fn sticky(&self, fragment: &mut Fragment, targets: &[Target], seconds: u32) -> Vec<String> {
        let (protocol, family) = (self.port.protocol, self.family.name());
        let address = self.family.address_type();
        let mut rules = Vec::new();
        let mut spread = String::new();
        for (index, target) in targets.iter().enumerate() {
            let name = format!("{}/{}/{}", self.base, target.ip, target.port).replace(':', ".");
            // The time is part of the name: a set is never changed, only replaced.
            let (clients, chain) = (format!("aff-{name}/{seconds}"), format!("ep-{name}"));
            fragment.sets.insert(
                clients.clone(),
                format!("type {address}; flags dynamic,timeout; timeout {seconds}s;"),
            );
            fragment.chains.insert(
                chain.clone(),
                vec![
                    format!("update @{clients} {{ {family} saddr }}"),
                    format!("meta l4proto {protocol} dnat to {}", socket(target)),
                ],
            );
            rules.push(format!("{family} saddr @{clients} goto {chain}"));
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(spread, "{comma}{index} : goto {chain}");
        }
        rules.push(format!("numgen random mod {} vmap {{ {spread} }}", targets.len()));
        rules
    }
}

fn socket(target: &Target) -> SocketAddr {
    SocketAddr::new(target.ip, target.port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: serde_json::Value, endpoints: &[(&str, &str)], want: &str) {
        let service = serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": "web"}, "spec": spec
        }))
        .unwrap();
        let slice = serde_json::from_value(json!({
            "addressType": "IPv4", "metadata": {},
            "endpoints": endpoints.iter().map(|(ip, node)| json!({"addresses": [ip], "nodeName": node}))
                .collect::<Vec<_>>(),
            "ports": [{"port": 8080, "protocol": "TCP"}]
        }))
        .unwrap();
        let mut config = ProxyConfig::new("n1", vec!["10.1.0.0/16".parse().unwrap()]);
        config.table = "t".into();
        let fragment = fragment(
            &config,
            Family::V4,
            &ServiceKey::new("ns", "web"),
            &Service::from_object(&service),
            &[Arc::new(Slice::from_object(&slice).unwrap())],
        );
        let mut text = String::new();
        for (name, declaration) in &fragment.sets {
            let _ = writeln!(text, "set {name} {declaration}");
        }
        for (name, rules) in &fragment.chains {
            let _ = writeln!(text, "chain {name}: {}", rules.join("; "));
        }
        for ((set, key), value) in &fragment.elements {
            let value = value.as_ref().map(|v| format!(" : {v}")).unwrap_or_default();
            let _ = writeln!(text, "{set} {key}{value}");
        }
        assert_eq!(text.trim(), want.trim(), "\n{text}");
    }

    #[test]
    fn a_cluster_address_leads_to_any_endpoint() {
        check(
            json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}),
            &[("10.1.0.2", "n1"), ("10.1.1.2", "n2")],
            "
chain svc-ns/web/tcp/80: meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.1.0.2 . 8080, 1 : 10.1.1.2 . 8080 }
cluster-addresses 10.96.0.5
hairpin 10.1.0.2 . 10.1.0.2
service-ips 10.96.0.5 . tcp . 80 : goto svc-ns/web/tcp/80",
        );
    }

    #[test]
    fn without_endpoints_connections_are_refused() {
        check(
            json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30080}]}),
            &[],
            "
cluster-addresses 10.96.0.5
unserved-ips 10.96.0.5 . tcp . 80 : goto refuse
unserved-node-ports tcp . 30080 : goto refuse",
        );
    }

    #[test]
    fn a_local_policy_drops_where_only_other_nodes_could_serve() {
        check(
            json!({"clusterIP": "10.96.0.5", "internalTrafficPolicy": "Local",
                   "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30080}]}),
            &[("10.1.1.2", "n2")],
            "
chain ext-ns/web/tcp/80: ip saddr { 10.1.0.0/16 } goto svc-ns/web/tcp/80; fib saddr type local jump mark-for-masquerade; fib saddr type local goto svc-ns/web/tcp/80
chain svc-ns/web/tcp/80: meta l4proto tcp dnat to 10.1.1.2:8080
cluster-addresses 10.96.0.5
node-ports tcp . 30080 : goto ext-ns/web/tcp/80
unserved-ips 10.96.0.5 . tcp . 80 : drop
unserved-node-ports tcp . 30080 : drop",
        );
    }

    #[test]
    fn affinity_keeps_one_set_of_clients_an_endpoint() {
        check(
            json!({"clusterIP": "10.96.0.5", "sessionAffinity": "ClientIP",
                   "ports": [{"port": 80, "nodePort": 30080}]}),
            &[("10.1.1.2", "n2")],
            "
set aff-ns/web/tcp/80/10.1.1.2/8080/10800 type ipv4_addr; flags dynamic,timeout; timeout 10800s;
chain ep-ns/web/tcp/80/10.1.1.2/8080: update @aff-ns/web/tcp/80/10.1.1.2/8080/10800 { ip saddr }; meta l4proto tcp dnat to 10.1.1.2:8080
chain ext-ns/web/tcp/80: jump mark-for-masquerade; goto svc-ns/web/tcp/80
chain svc-ns/web/tcp/80: ip saddr @aff-ns/web/tcp/80/10.1.1.2/8080/10800 goto ep-ns/web/tcp/80/10.1.1.2/8080; numgen random mod 1 vmap { 0 : goto ep-ns/web/tcp/80/10.1.1.2/8080 }
cluster-addresses 10.96.0.5
node-ports tcp . 30080 : goto ext-ns/web/tcp/80
service-ips 10.96.0.5 . tcp . 80 : goto svc-ns/web/tcp/80",
        );
    }

    #[test]
    fn headless_services_and_aliases_need_nothing() {
        check(json!({"clusterIP": "None", "ports": [{"port": 80}]}), &[("10.1.1.2", "n2")], "");
        check(json!({"type": "ExternalName", "externalName": "x.org"}), &[], "");
    }
}
