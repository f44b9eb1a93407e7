//! Which endpoints serve a port of a Service. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::config::Family;
use crate::network::services::{Endpoint, ServicePort, Slice};

/// An endpoint's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
}

/// The endpoints of one port of a Service, each list without duplicates and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Wherever they are.
    pub(super) cluster: Vec<Target>,
    /// On this node only.
    pub(super) local: Vec<Target>,
    /// Those of `cluster` that can be on this node, and so can call themselves.
    pub(super) near: Vec<IpAddr>,
}

/// Picks the endpoints of `port`. Where none is ready, those that still serve while they go away do.
pub(super) fn choose(
    slices: &[Arc<Slice>],
    port: &ServicePort,
    family: Family,
    node_name: &str,
) -> Choice {
    let here = |endpoint: &Endpoint| endpoint.node.as_deref() == Some(node_name);
    let near = |endpoint: &Endpoint| endpoint.node.is_none() || here(endpoint);
    let cluster = usable(slices, port, family, |_| true);
    let cluster_ips: BTreeSet<IpAddr> = cluster.iter().map(|target| target.ip).collect();
    let all = slices.iter().flat_map(|slice| &slice.endpoints);
    let near: BTreeSet<IpAddr> =
        all.filter(|e| near(e) && cluster_ips.contains(&e.ip)).map(|e| e.ip).collect();
    Choice {
        local: usable(slices, port, family, here).into_iter().collect(),
        cluster: cluster.into_iter().collect(),
        near: near.into_iter().collect(),
    }
}

fn usable(
    slices: &[Arc<Slice>],
    port: &ServicePort,
    family: Family,
    wanted: impl Fn(&Endpoint) -> bool,
) -> BTreeSet<Target> {
    let pick = |fit: &dyn Fn(&Endpoint) -> bool| -> BTreeSet<Target> {
        slices
            .iter()
            .flat_map(|slice| targets(slice, port, |e| family.owns(e.ip) && wanted(e) && fit(e)))
            .collect()
    };
    let ready = pick(&|endpoint| endpoint.ready);
    if ready.is_empty() {
        pick(&|endpoint| endpoint.serving && endpoint.terminating)
    } else {
        ready
    }
}

fn targets(slice: &Slice, port: &ServicePort, fit: impl Fn(&Endpoint) -> bool) -> Vec<Target> {
    let number = slice.ports.iter().find(|p| p.name == port.name && p.protocol == port.protocol);
    let Some(number) = number else { return Vec::new() };
    let fitting = slice.endpoints.iter().filter(|endpoint| fit(endpoint));
    fitting.map(|endpoint| Target { ip: endpoint.ip, port: number.port }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Protocol;
    use crate::network::services::SlicePort;

    fn endpoint(ip: &str, node: &str, state: &str) -> Endpoint {
        Endpoint {
            ip: ip.parse().unwrap(),
            hostname: None,
            node: (!node.is_empty()).then(|| node.to_owned()),
            ready: state == "ready",
            serving: state != "down",
            terminating: state == "leaving",
        }
    }

    fn check(endpoints: &[(&str, &str, &str)], cluster: &[&str], local: &[&str], near: &[&str]) {
        let slice = Slice {
            ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80 }],
            endpoints: endpoints
                .iter()
                .map(|(ip, node, state)| endpoint(ip, node, state))
                .collect(),
        };
        let port = ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 8080,
            node_port: None,
        };
        let choice = choose(&[Arc::new(slice)], &port, Family::V4, "n1");
        let ips = |list: &[Target]| list.iter().map(|t| t.ip.to_string()).collect::<Vec<_>>();
        assert_eq!(ips(&choice.cluster), cluster);
        assert_eq!(ips(&choice.local), local);
        assert_eq!(choice.near.iter().map(IpAddr::to_string).collect::<Vec<_>>(), near);
    }

    #[test]
    fn ready_endpoints_serve() {
        check(
            &[("10.0.0.2", "n1", "ready"), ("10.0.0.1", "n2", "ready"), ("10.0.0.3", "n1", "down")],
            &["10.0.0.1", "10.0.0.2"],
            &["10.0.0.2"],
            &["10.0.0.2"],
        );
    }

    #[test]
    fn endpoints_that_go_away_serve_when_no_other_can() {
        check(
            &[("10.0.0.1", "n2", "ready"), ("10.0.0.2", "n1", "leaving"), ("10.0.0.3", "", "down")],
            &["10.0.0.1"],
            &["10.0.0.2"],
            &[],
        );
        check(&[("10.0.0.2", "", "leaving")], &["10.0.0.2"], &[], &["10.0.0.2"]);
    }

    #[test]
    fn ports_meet_by_name_and_families_do_not_mix() {
        check(&[("fd00::1", "n1", "ready")], &[], &[], &[]);
    }
}
