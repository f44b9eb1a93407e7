//! The pod network on the real kernel: two pods, the node, addresses after a restart, host ports.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use keelson_node_agent::network::{
    HostPort, NetworkConfig, PodNetwork, Protocol, RoutedVeth, tear_down,
};
use support::{Namespace, ask, command, is_root, request, serve};

const RANGE: &str = "10.199.7.0/24";

fn config(dir: &Path) -> NetworkConfig {
    let mut config = NetworkConfig::new(
        dir,
        vec![RANGE.parse().unwrap(), "fd00:199:7::/64".parse().unwrap()],
        vec!["10.199.0.0/16".parse().unwrap(), "fd00:199::/48".parse().unwrap()],
    );
    config.table = "kln-test".into();
    config.link_prefix = "klt".into();
    config
}

#[test]
fn pods_reach_each_other_and_the_node_under_their_own_addresses() {
    if !is_root() {
        return;
    }
    let (node, a, b) = (Namespace::new("node"), Namespace::new("a"), Namespace::new("b"));
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let requests = [request("a", &a, Vec::new()), request("b", &b, Vec::new())];
    let ips: Vec<Vec<IpAddr>> = node.run(move || async move {
        let network = RoutedVeth::start(config).await.unwrap();
        let mut ips = Vec::new();
        for request in requests {
            ips.push(network.add(request).await.unwrap().ips);
        }
        ips
    });
    assert_eq!(ips[0][0].to_string(), "10.199.7.2");
    assert_eq!(ips[1][1].to_string(), "fd00:199:7::3");
    serve(&b, 80);
    for family in [0, 1] {
        let (from, to) = (ips[0][family], SocketAddr::new(ips[1][family], 80));
        assert_eq!(a.run(move || ask(to)), Ok(from), "pod to pod");
        assert_eq!(b.run(move || ask(to)), Ok(to.ip()), "pod to itself");
        assert!(node.run(move || ask(to)).is_ok(), "node to pod");
    }
    serve(&node, 53);
    let to_node: SocketAddr = "10.199.7.1:53".parse().unwrap();
    assert_eq!(a.run(move || ask(to_node)), Ok(ips[0][0]), "pod to node");
    let nobody: SocketAddr = "10.199.7.99:80".parse().unwrap();
    let error = a.run(move || ask(nobody)).unwrap_err();
    assert!(error.contains("No route to host"), "{error}");
}

#[test]
fn a_restart_adopts_and_tear_down_leaves_nothing() {
    if !is_root() {
        return;
    }
    let (node, a, b) = (Namespace::new("node"), Namespace::new("a"), Namespace::new("b"));
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (first, mut second) = (config(dir.path()), config(dir.path()));
    second.pod_ranges.clear();
    let (ask_a, ask_b) = (request("a", &a, Vec::new()), request("b", &b, Vec::new()));
    let again = ask_a.clone();
    let before = node.run(move || async move {
        let network = RoutedVeth::start(first).await.unwrap();
        network.add(ask_b).await.unwrap();
        network.add(ask_a).await.unwrap().ips
    });
    node.run(move || async move {
        let network = RoutedVeth::start(second).await.unwrap();
        assert_eq!(network.status("a").await.unwrap().ips, before);
        assert_eq!(network.add(again).await.unwrap().ips, before, "the same addresses again");
        assert_eq!(network.node_addresses()[0].to_string(), "10.199.7.1", "the same range again");
        network.retain(&["a".into()]).await.unwrap();
        assert_eq!(network.status("b").await, None);
        assert_eq!(pod_links(), 1);
        network.del("a", Path::new("/gone")).await.unwrap();
        network.del("a", Path::new("/gone")).await.unwrap();
        assert_eq!(pod_links(), 0);
    });
    let state = dir.path().to_owned();
    node.run(move || async move {
        tear_down(&state, &["kln-test-services"]).await.unwrap();
        assert_eq!(command("nft", &["list", "tables"]), "");
        assert!(!command("ip", &["route"]).contains("10.199"));
        assert!(!command("ip", &["address"]).contains("10.199"));
        assert!(!state.exists());
        tear_down(&state, &[]).await.unwrap();
    });
}

#[test]
fn a_host_port_leads_to_its_pod_from_everywhere() {
    if !is_root() {
        return;
    }
    let (node, a, b) = (Namespace::new("node"), Namespace::new("a"), Namespace::new("b"));
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let port = |host_port, host_ip: Option<&str>| HostPort {
        host_port,
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
    };
    let ask_a = request("a", &a, vec![port(8080, None), port(8081, Some("127.0.0.1"))]);
    let ask_b = request("b", &b, Vec::new());
    serve(&a, 80);
    node.run(move || async move {
        let network = RoutedVeth::start(config).await.unwrap();
        network.add(ask_a).await.unwrap();
        network.add(ask_b).await.unwrap();
    });
    let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let (any, local) = (at("10.199.7.1:8080"), at("127.0.0.1:8081"));
    assert_eq!(b.run(move || ask(any)), Ok("10.199.7.3".parse().unwrap()));
    assert!(a.run(move || ask(any)).is_ok(), "hairpin");
    assert!(node.run(move || ask(any)).is_ok());
    assert!(node.run(move || ask(local)).is_ok());
    let other = at("10.199.7.1:8081");
    assert!(node.run(move || ask(other)).is_err());
}

fn pod_links() -> usize {
    command("ip", &["-o", "link"]).matches(": klt").count()
}
