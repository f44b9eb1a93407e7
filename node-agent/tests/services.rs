//! Services and cluster DNS on the real kernel: a node, two pods and a client outside.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use keelson_node_agent::dns::{DnsConfig, DnsServer};
use keelson_node_agent::network::services::Catalog;
use keelson_node_agent::network::{
    NetworkConfig, NodeServices, NodeServicesConfig, PodNetwork, RoutedVeth, dns_address,
};
use keelson_node_agent::proxy::{self, ProxyConfig};
use serde_json::{Value, json};
use support::api::FakeApi;
use support::{Namespace, ask, ask_both, command, is_root, request, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const A: &str = "10.199.7.2";
const B: &str = "10.199.7.3";
const NODE_OUTSIDE: &str = "10.199.200.1";
const OUTSIDE: &str = "10.199.200.2";

/// A node with proxy and DNS, pods `a` and `b` that serve port 80, and a client outside.
struct Cluster {
    node: Namespace,
    a: Namespace,
    b: Namespace,
    outside: Namespace,
    catalog: Arc<Catalog>,
    token: CancellationToken,
    agent: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let (node, a, b) = (Namespace::new("node"), Namespace::new("a"), Namespace::new("b"));
        let outside = Namespace::new("outside");
        let dir = tempfile::tempdir().unwrap();
        connect_outside(&node, &outside);
        serve(&a, 80);
        serve(&b, 80);
        let catalog = Catalog::new();
        let token = CancellationToken::new();
        let agent = start_agent(&node, [&a, &b], &dir, Arc::clone(&catalog), token.clone());
        Self { node, a, b, outside, catalog, token, agent: Some(agent), _dir: dir }
    }

    fn service(&self, name: &str, spec: Value) {
        let object = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
        self.catalog.apply_service(&serde_json::from_value(object).unwrap());
    }

    /// Endpoints as (address, node), at port 80.
    fn endpoints(&self, service: &str, endpoints: &[(&str, &str)]) {
        let list: Vec<Value> = endpoints
            .iter()
            .map(|(ip, node)| json!({"addresses": [ip], "nodeName": node}))
            .collect();
        let object = json!({
            "metadata": {"namespace": "default", "name": format!("{service}-1"),
                         "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": list, "ports": [{"port": 80}]
        });
        self.catalog.apply_slice(&serde_json::from_value(object).unwrap());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.token.cancel();
        if let Some(agent) = self.agent.take() {
            let _ = agent.join();
        }
    }
}

/// A link between the node and the world outside the cluster; the node's default route leads there.
fn connect_outside(node: &Namespace, outside: &Namespace) {
    let peer = outside.path.display().to_string();
    node.run(move || async move {
        for line in [
            "ip link set lo up".to_owned(),
            "ip link add out0 type veth peer name out1".to_owned(),
            format!("ip link set out1 netns {peer}"),
            format!("ip address add {NODE_OUTSIDE}/24 dev out0"),
            "ip link set out0 up".to_owned(),
            format!("ip route add default via {OUTSIDE}"),
        ] {
            run(&line);
        }
    });
    outside.run(|| async {
        run(&format!("ip address add {OUTSIDE}/24 dev out1"));
        run("ip link set out1 up");
        run("ip link set lo up");
    });
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let status = std::process::Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(status.success(), "{line}");
}

/// Runs network, proxy and DNS on a thread of their own until the token is cancelled.
fn start_agent(
    node: &Namespace,
    pods: [&Namespace; 2],
    dir: &tempfile::TempDir,
    catalog: Arc<Catalog>,
    token: CancellationToken,
) -> std::thread::JoinHandle<()> {
    let ranges = ["10.199.7.0/24", "fd00:199:7::/64"].map(|range| range.parse().unwrap());
    let cluster = ["10.199.0.0/17", "fd00:199::/49"].map(|range| range.parse().unwrap()).to_vec();
    let config = NetworkConfig::new(dir.path(), ranges.to_vec(), cluster.clone());
    let requests = [request("a", pods[0], Vec::new()), request("b", pods[1], Vec::new())];
    let resolv_conf = dir.path().join("resolv.conf");
    std::fs::write(&resolv_conf, "").unwrap();
    let node = Namespace { path: node.path.clone() };
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let node = std::mem::ManuallyDrop::new(node);
        node.run(move || async move {
            let network = RoutedVeth::start(config).await.unwrap();
            for request in requests {
                network.add(request).await.unwrap();
            }
            let mut dns =
                DnsConfig::new(network.node_addresses(), vec!["10.199.128.0/24".parse().unwrap()]);
            dns.resolv_conf = resolv_conf;
            let server = DnsServer::bind(dns, Arc::clone(&catalog)).await.unwrap();
            tokio::task::spawn_local(server.run(token.clone()));
            ready.send(()).unwrap();
            proxy::run(catalog, ProxyConfig::new("n1", cluster), token).await.unwrap();
        });
    });
    is_ready.recv().unwrap();
    thread
}

/// Tries until the outcome is as wanted; the last one when it never is.
async fn eventually<T, F: Future<Output = T>>(
    mut attempt: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T {
    for _ in 0..200 {
        let outcome = attempt().await;
        if wanted(&outcome) {
            return outcome;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    attempt().await
}

fn to(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn reach(from: &Namespace, target: &str) -> Result<(IpAddr, IpAddr), String> {
    let target = to(target);
    from.run(move || eventually(move || ask_both(target), Result::is_ok))
}

/// Tries until the connection is refused at once.
fn refused(from: &Namespace, target: &str) -> bool {
    let target = to(target);
    let outcome = from.run(move || {
        eventually(move || ask(target), |o| o.as_ref().is_err_and(|e| e.contains("refused")))
    });
    outcome.is_err_and(|error| error.contains("refused"))
}

#[test]
fn cluster_addresses_lead_to_endpoints() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::new();
    cluster.service("web", json!({"clusterIP": "10.199.128.5", "ports": [{"port": 8080}]}));
    cluster.endpoints("web", &[(A, "n1"), (B, "n1")]);
    cluster.service("self", json!({"clusterIP": "10.199.128.6", "ports": [{"port": 80}]}));
    cluster.endpoints("self", &[(A, "n1")]);
    cluster.service(
        "none",
        json!({"clusterIP": "10.199.128.7",
        "ports": [{"port": 80}, {"name": "u", "port": 53, "protocol": "UDP"}]}),
    );
    cluster.service("api", json!({"clusterIP": "10.199.128.1", "ports": [{"port": 443}]}));
    cluster.endpoints("api", &[(NODE_OUTSIDE, "")]);
    serve(&cluster.node, 80);
    cluster.catalog.set_synced();

    for from in [&cluster.a, &cluster.b, &cluster.node] {
        reach(from, "10.199.128.5:8080").unwrap();
        let servers: BTreeSet<IpAddr> = from.run(|| async {
            let mut servers = BTreeSet::new();
            for _ in 0..40 {
                servers.insert(ask_both(to("10.199.128.5:8080")).await.unwrap().1);
            }
            servers
        });
        assert_eq!(servers, BTreeSet::from([ip(A), ip(B)]));
    }
    let (client, server) = reach(&cluster.b, "10.199.128.6:80").unwrap();
    assert_eq!((client, server), (ip(B), ip(A)), "a pod's address is kept");
    let (client, server) = reach(&cluster.a, "10.199.128.6:80").unwrap();
    assert!(server == ip(A) && client != ip(A), "hairpin: {client} {server}");
    let (client, server) = reach(&cluster.a, "10.199.128.1:443").unwrap();
    assert_eq!((client, server), (ip(A), ip(NODE_OUTSIDE)), "the API server from a pod");

    for from in [&cluster.a, &cluster.node] {
        assert!(refused(from, "10.199.128.7:80"), "no endpoints");
        assert!(refused(from, "10.199.128.5:81"), "no such port");
        let error = from.run(|| async {
            let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
            socket.connect("10.199.128.7:53").await.unwrap();
            // On the node itself the kernel refuses the sending already.
            if let Err(error) = socket.send(b"x").await {
                return error;
            }
            let mut buffer = [0; 1];
            let answer = tokio::time::timeout(Duration::from_secs(3), socket.recv(&mut buffer));
            answer.await.expect("an answer").expect_err("a refusal")
        });
        let refusals = [ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied];
        assert!(refusals.contains(&error.kind()), "{error}");
    }

    cluster.endpoints("none", &[(B, "n1")]);
    assert_eq!(reach(&cluster.a, "10.199.128.7:80").unwrap().1, ip(B), "endpoints came");
    cluster.endpoints("none", &[]);
    assert!(refused(&cluster.a, "10.199.128.7:80"), "endpoints went");
    cluster
        .catalog
        .delete_service(&keelson_node_agent::network::services::ServiceKey::new("default", "none"));
    let gone = cluster.node.run(|| {
        eventually(
            || async { command("nft", &["list", "ruleset"]) },
            |r| !r.contains("10.199.128.7"),
        )
    });
    assert!(!gone.contains("10.199.128.7") && !gone.contains("default/none"), "{gone}");
}

#[test]
fn both_families_are_served() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::new();
    cluster.service("web", json!({"clusterIP": "10.199.128.5", "sessionAffinity": "ClientIP",
        "clusterIPs": ["10.199.128.5", "fd00:199:128::5"], "ports": [{"port": 80, "nodePort": 30080}]}));
    let object = json!({
        "metadata": {"namespace": "default", "name": "web-6",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv6", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["fd00:199:7::2"], "nodeName": "n1"},
                      {"addresses": ["fd00:199:7::3"], "nodeName": "n1"}]
    });
    cluster.catalog.apply_slice(&serde_json::from_value(object).unwrap());
    cluster.service(
        "plain",
        json!({"clusterIP": "10.199.128.6",
        "clusterIPs": ["10.199.128.6", "fd00:199:128::6"], "ports": [{"port": 80}]}),
    );
    let object = json!({
        "metadata": {"namespace": "default", "name": "plain-6",
                     "labels": {"kubernetes.io/service-name": "plain"}},
        "addressType": "IPv6", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["fd00:199:7::2"]}, {"addresses": ["fd00:199:7::3"]}]
    });
    cluster.catalog.apply_slice(&serde_json::from_value(object).unwrap());
    cluster.catalog.set_synced();
    let (client, server) = reach(&cluster.a, "[fd00:199:128::5]:80").unwrap();
    assert!(server.is_ipv6() && client.is_ipv6());
    for _ in 0..10 {
        // Both endpoints in turn, so the pod reaches itself too.
        assert!(reach(&cluster.a, "[fd00:199:128::6]:80").unwrap().1.is_ipv6());
    }
    assert!(reach(&cluster.node, "[fd00:199:7::1]:30080").unwrap().1.is_ipv6());
    assert!(refused(&cluster.a, "10.199.128.5:80"), "no endpoints of this family");
}

#[test]
fn clients_stay_with_their_endpoint() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::new();
    cluster.service(
        "sticky",
        json!({"clusterIP": "10.199.128.5", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]}),
    );
    cluster.endpoints("sticky", &[(A, "n1"), (B, "n1")]);
    cluster.catalog.set_synced();
    let (_, first) = reach(&cluster.b, "10.199.128.5:80").unwrap();
    let ask_often = || {
        cluster.b.run(|| async {
            let mut servers = BTreeSet::new();
            for _ in 0..20 {
                servers.insert(ask_both(to("10.199.128.5:80")).await.unwrap().1);
            }
            servers
        })
    };
    assert_eq!(ask_often(), BTreeSet::from([first]));
    let other = if first == ip(A) { B } else { A };
    cluster.endpoints("sticky", &[(other, "n1")]);
    let other = ip(other);
    let moved = cluster.b.run(move || {
        eventually(
            || ask_both(to("10.199.128.5:80")),
            move |o| matches!(o, Ok((_, s)) if *s == other),
        )
    });
    assert_eq!(moved.unwrap().1, other);
    assert_eq!(ask_often(), BTreeSet::from([other]));
    // Switched off on the live service.
    cluster.service("sticky", json!({"clusterIP": "10.199.128.5", "ports": [{"port": 80}]}));
    cluster.endpoints("sticky", &[(A, "n1"), (B, "n1")]);
    let first = ip(if other == ip(A) { B } else { A });
    let moved = cluster.b.run(move || {
        eventually(
            || ask_both(to("10.199.128.5:80")),
            move |o| matches!(o, Ok((_, s)) if *s == first),
        )
    });
    assert_eq!(moved.unwrap().1, first);
}

#[test]
fn node_ports_and_policies() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::new();
    cluster.service(
        "any",
        json!({"type": "NodePort", "clusterIP": "10.199.128.5",
        "ports": [{"port": 80, "nodePort": 30080}]}),
    );
    cluster.endpoints("any", &[(A, "n1")]);
    cluster.service(
        "local",
        json!({"type": "NodePort", "clusterIP": "10.199.128.6",
        "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30081}]}),
    );
    cluster.endpoints("local", &[(A, "n1")]);
    cluster.service(
        "far",
        json!({"type": "NodePort", "clusterIP": "10.199.128.7",
        "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local",
        "ports": [{"port": 80, "nodePort": 30082}]}),
    );
    cluster.endpoints("far", &[(A, "n2")]);
    cluster.service(
        "empty",
        json!({"type": "NodePort", "clusterIP": "10.199.128.8",
        "ports": [{"port": 80, "nodePort": 30083}]}),
    );
    cluster.catalog.set_synced();

    let (client, server) = reach(&cluster.outside, "10.199.200.1:30080").unwrap();
    assert!(server == ip(A) && client != ip(OUTSIDE), "masqueraded: {client}");
    assert_eq!(reach(&cluster.outside, "10.199.200.1:30081"), Ok((ip(OUTSIDE), ip(A))));
    assert!(reach(&cluster.b, "10.199.200.1:30080").is_ok(), "from a pod");
    assert!(reach(&cluster.a, "10.199.200.1:30081").is_ok(), "from the pod itself");
    assert!(reach(&cluster.node, "10.199.200.1:30080").is_ok(), "from the node");
    assert!(refused(&cluster.outside, "10.199.200.1:30083"));
    // Only other nodes have endpoints: dropped for the outside and for cluster addresses, while a
    // pod that comes by the node port is inside and reaches them.
    let dropped = |from: &Namespace, target: &str| {
        let target = to(target);
        from.run(move || async move {
            tokio::time::timeout(Duration::from_millis(400), ask(target)).await.is_err()
        })
    };
    assert!(dropped(&cluster.outside, "10.199.200.1:30082"));
    assert!(dropped(&cluster.b, "10.199.128.7:80"));
    assert_eq!(reach(&cluster.b, "10.199.200.1:30082").unwrap().1, ip(A));
}

#[test]
fn udp_flows_follow_the_endpoints() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::new();
    cluster.service(
        "u",
        json!({"clusterIP": "10.199.128.5",
        "ports": [{"port": 80, "protocol": "UDP"}]}),
    );
    let endpoints = |ip: &str| {
        let object = json!({
            "metadata": {"namespace": "default", "name": "u-1",
                         "labels": {"kubernetes.io/service-name": "u"}},
            "addressType": "IPv4", "endpoints": [{"addresses": [ip], "nodeName": "n1"}],
            "ports": [{"port": 80, "protocol": "UDP"}]
        });
        cluster.catalog.apply_slice(&serde_json::from_value(object).unwrap());
    };
    serve_udp(&cluster.a, A);
    serve_udp(&cluster.b, B);
    // One socket, so one flow. It begins before there is a rule for it, and so past the proxy.
    let socket = cluster.node.run(|| async {
        let socket = std::net::UdpSocket::bind("10.199.200.1:0").unwrap();
        socket.connect("10.199.128.5:80").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        socket.send(b"x").unwrap();
        socket
    });
    let answered_by = |want: &str| {
        (0..100).any(|_| {
            let mut buffer = [0; 64];
            let _ = socket.send(b"x");
            let heard = socket.recv(&mut buffer);
            if heard.is_ok_and(|size| &buffer[..size] == want.as_bytes()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(25));
            false
        })
    };
    endpoints(A);
    cluster.catalog.set_synced();
    assert!(answered_by(A), "a flow from before");
    endpoints(B);
    assert!(answered_by(B), "a flow whose endpoint went");
}

#[test]
fn pods_resolve_names_through_the_dns_service() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::new();
    cluster.service("web", json!({"clusterIP": "10.199.128.5", "ports": [{"port": 80}]}));
    let object = json!({"metadata": {"namespace": "kube-system", "name": "kube-dns"},
        "spec": {"clusterIP": "10.199.128.10", "internalTrafficPolicy": "Local",
                 "ports": [{"name": "dns", "port": 53, "protocol": "UDP"},
                           {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}});
    cluster.catalog.apply_service(&serde_json::from_value(object).unwrap());
    let object = json!({
        "metadata": {"namespace": "kube-system", "name": "kube-dns-n1",
                     "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.199.7.1"], "nodeName": "n1"}],
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP"},
                  {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    });
    cluster.catalog.apply_slice(&serde_json::from_value(object).unwrap());
    let many: Vec<Value> = (0..500)
        .map(|n| json!({"addresses": [format!("10.199.{}.{}", n / 250 + 20, n % 250)]}))
        .collect();
    cluster.service("many", json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    let object = json!({
        "metadata": {"namespace": "default", "name": "many-1",
                     "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4", "endpoints": many, "ports": [{"port": 80}]
    });
    cluster.catalog.apply_slice(&serde_json::from_value(object).unwrap());
    cluster.catalog.set_synced();

    for from in [&cluster.a, &cluster.node] {
        let reply = from
            .run(|| eventually(|| by_udp("web.default.svc.cluster.local."), |reply| reply.is_ok()));
        let reply = reply.unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert_eq!(reply.answers.len(), 1);
        assert_eq!(reply.answers[0].data.to_string(), "10.199.128.5");
        assert_eq!(reply.answers[0].ttl, 30);
    }
    let short = cluster.a.run(|| by_udp("many.default.svc.cluster.local.")).unwrap();
    assert!(short.metadata.truncation);
    let whole = cluster.a.run(|| by_tcp("many.default.svc.cluster.local.")).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 500);
    let missing = cluster.a.run(|| by_udp("nope.default.svc.cluster.local.")).unwrap();
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(missing.authorities.len(), 1);
    let elsewhere = cluster.a.run(|| by_udp("www.example.org.")).unwrap();
    assert_eq!(elsewhere.metadata.response_code, ResponseCode::ServFail, "no resolver configured");
}

/// Answers every datagram at port 80 with `name`, until the test process ends.
fn serve_udp(namespace: &Namespace, name: &'static str) {
    let socket = namespace.run(|| async { std::net::UdpSocket::bind("0.0.0.0:80").unwrap() });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), from);
        }
    });
}

const SERVICES: &str = "/api/v1/namespaces/kube-system/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices";

#[test]
fn the_agent_publishes_dns_and_follows_the_api_server() {
    if !is_root() {
        return;
    }
    let (node, outside, a) =
        (Namespace::new("node"), Namespace::new("outside"), Namespace::new("a"));
    connect_outside(&node, &outside);
    let dir = tempfile::tempdir().unwrap();
    let range = "10.199.7.0/24".parse().unwrap();
    let cluster: ipnet::IpNet = "10.199.0.0/17".parse().unwrap();
    let config = NetworkConfig::new(dir.path(), vec![range], vec![cluster]);
    let add = request("a", &a, Vec::new());
    let api = FakeApi::new();
    let server = api.clone();
    node.run(move || async move {
        let network = RoutedVeth::start(config).await.unwrap();
        network.add(add).await.unwrap();
        let service_range = "10.199.128.0/24".parse().unwrap();
        let config = NodeServicesConfig {
            proxy: ProxyConfig::new("n1", vec![cluster]),
            dns: Some(DnsConfig::new(network.node_addresses(), vec![service_range])),
            dns_cluster_ip: dns_address(&service_range),
        };
        let client = api.client();
        let services = NodeServices::start(config, client, CancellationToken::new()).await.unwrap();
        let in_pod = |name: &'static str, wanted: fn(&Message) -> bool| {
            let a = Namespace { path: a.path.clone() };
            tokio::task::spawn_blocking(move || {
                let a = std::mem::ManuallyDrop::new(a);
                a.run(move || {
                    eventually(move || by_udp(name), move |r| r.as_ref().is_ok_and(wanted))
                })
            })
        };
        let first = in_pod("kube-dns.kube-system.svc.cluster.local.", |r| !r.answers.is_empty());
        assert_eq!(first.await.unwrap().unwrap().answers[0].data.to_string(), "10.199.128.10");
        let slice = server.get(SLICES, "kube-dns-n1").unwrap();
        assert_eq!(slice["endpoints"][0]["addresses"][0], "10.199.7.1");

        server.put("/api/v1/namespaces/default/services", json!({
            "metadata": {"namespace": "default", "name": "late"}, "spec": {"clusterIP": "10.199.128.77"}
        }));
        let late = in_pod("late.default.svc.cluster.local.", |r| !r.answers.is_empty());
        assert_eq!(late.await.unwrap().unwrap().answers[0].data.to_string(), "10.199.128.77");
        server.delete("/api/v1/namespaces/default/services", "late");
        let gone = in_pod("late.default.svc.cluster.local.", |r| r.answers.is_empty());
        assert_eq!(gone.await.unwrap().unwrap().metadata.response_code, ResponseCode::NXDomain);

        server.delete(SLICES, "kube-dns-n1");
        server.delete(SERVICES, "kube-dns");
        eventually(|| async { server.get(SLICES, "kube-dns-n1") }, Option::is_some).await.unwrap();
        eventually(|| async { server.get(SERVICES, "kube-dns") }, Option::is_some).await.unwrap();
        services.stop().await;
    });
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

async fn by_udp(name: &str) -> Result<Message, String> {
    let text = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind("0.0.0.0:0").await.map_err(text)?;
    socket.connect("10.199.128.10:53").await.map_err(text)?;
    socket.send(&question(name)).await.map_err(text)?;
    let mut buffer = vec![0; 4096];
    let received = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await;
    let size = received.map_err(|_| String::from("timed out"))?.map_err(text)?;
    Message::from_vec(&buffer[..size]).map_err(|error| error.to_string())
}

async fn by_tcp(name: &str) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect("10.199.128.10:53").await?;
    let bytes = question(name);
    stream.write_all(&(bytes.len() as u16).to_be_bytes()).await?;
    stream.write_all(&bytes).await?;
    let size = stream.read_u16().await?;
    let mut buffer = vec![0; size.into()];
    stream.read_exact(&mut buffer).await?;
    Message::from_vec(&buffer).map_err(std::io::Error::other)
}
