//! One member with its client port on loopback.

use std::path::Path;
use std::sync::Arc;

use keelson_etcd_api::{EtcdConfig, EtcdServer, FaceConfig, HttpConfig, Port, serve};
use keelson_raft::{Node, NodeConfig};
use keelson_storage::engine::{RocksDb, RocksOptions};
use keelson_storage::machine::{Options, StateMachine};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

pub(crate) struct Member {
    pub(crate) address: String,
    pub(crate) server: EtcdServer,
    pub(crate) node: Node,
    folder: tempfile::TempDir,
}

async fn start_node(folder: &Path) -> Node {
    let engine = RocksDb::open(&folder.join("engine"), RocksOptions::default()).unwrap();
    let machine = StateMachine::open(Arc::new(engine), Options::default()).unwrap();
    let node = Node::start(NodeConfig::new(11, 7, folder.join("raft")), machine).await.unwrap();
    let mut leadership = node.leadership();
    leadership.wait_for(|leadership| leadership.is_own).await.unwrap();
    node
}

pub(crate) async fn start(face: FaceConfig) -> Member {
    start_with(face, None).await
}

pub(crate) async fn start_with(face: FaceConfig, tls: Option<Arc<rustls::ServerConfig>>) -> Member {
    start_in(&std::env::temp_dir(), face, tls).await
}

/// Where a disk that is late for reasons of its own would look like a fault of the store.
pub(crate) async fn start_in_memory(face: FaceConfig) -> Member {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    start_in(&place, face, None).await
}

async fn start_in(
    place: &Path,
    face: FaceConfig,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Member {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let http = HttpConfig { client_cert_auth: tls.is_some(), ..HttpConfig::default() };
    let config = EtcdConfig { ports: vec![Port::new(listener, tls)], face, http };
    let folder = tempfile::tempdir_in(place).unwrap();
    let node = start_node(folder.path()).await;
    let server = serve(config, node.clone());
    Member { address, server, node, folder }
}

impl Member {
    pub(crate) async fn stop(self) {
        let Self { server, node, folder, .. } = self;
        server.shutdown().await;
        node.shutdown().await;
        drop(node);
        // The engine closes on a thread of its own, and writes once more while files go.
        while folder.path().exists() {
            let _tried_again = std::fs::remove_dir_all(folder.path());
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }
}
