//! The pod network on the real kernel: two pods, the node, addresses after a restart, host ports.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keelson_node_agent::network::{
    HostPort, NetworkConfig, PodNetwork, PodNetworkRequest, Protocol, RoutedVeth, tear_down,
};
use support::{Namespace, is_root};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

fn request(id: &str, pod: &Namespace, host_ports: Vec<HostPort>) -> PodNetworkRequest {
    PodNetworkRequest {
        sandbox_id: id.into(),
        namespace: "default".into(),
        name: id.into(),
        uid: id.into(),
        netns_path: pod.path.clone(),
        host_ports,
    }
}

/// Serves, in the pod, the caller's address to whoever connects, until the test process ends.
fn serve(pod: &Namespace, port: u16) {
    let path = pod.path.clone();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        nix::sched::setns(std::fs::File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind(("::", port)).await.unwrap();
            ready.send(()).unwrap();
            loop {
                let (mut stream, peer) = listener.accept().await.unwrap();
                let _ = stream.write_all(peer.ip().to_canonical().to_string().as_bytes()).await;
            }
        });
    });
    is_ready.recv().unwrap();
}

/// Who the server at `to` says we are.
async fn ask(to: SocketAddr) -> Result<IpAddr, String> {
    let connect = TcpStream::connect(to);
    let mut stream = tokio::time::timeout(Duration::from_secs(3), connect)
        .await
        .map_err(|_| String::from("timed out"))?
        .map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map_err(|e| e.to_string())?;
    text.parse().map_err(|_| text)
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
    let (first, second) = (config(dir.path()), config(dir.path()));
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
    let network = node.run(move || async move {
        let network = RoutedVeth::start(config).await.unwrap();
        network.add(ask_a).await.unwrap();
        network.add(ask_b).await.unwrap();
        drop(network);
    });
    let () = network;
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

fn command(name: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(name).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
