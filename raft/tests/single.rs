//! A cluster of one: what it acknowledges is there after a restart.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keelson_proto::etcdserverpb as pb;
use keelson_raft::{Node, NodeConfig};
use keelson_storage::command::{Command, Op, Reply, command};
use keelson_storage::engine::SortedMap;
use keelson_storage::machine::{Options, StateMachine};

async fn start(dir: &Path) -> Node {
    let machine = StateMachine::open(Arc::new(SortedMap::new()), Options::default()).unwrap();
    let mut config = NodeConfig::new(1, 7, dir.to_owned());
    config.heartbeat = Duration::from_millis(20);
    config.election = Duration::from_millis(100);
    Node::start(config, machine).await.unwrap()
}

fn put(key: &str, value: &str) -> Command {
    let put = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    command(Op::Put(put))
}

fn get(node: &Node, key: &str) -> Option<String> {
    let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let response = node.view().range(&request).unwrap();
    let value = response.kvs.first()?.value.clone();
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_restart_without_a_farewell() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let mut revision = 0;
    for number in 0..200 {
        let reply = node.propose(put(&format!("k{number}"), &format!("v{number}"))).await.unwrap();
        let Reply::Put(reply) = reply else { panic!("{reply:?}") };
        let now = reply.header.unwrap().revision;
        assert!(now > revision);
        revision = now;
    }
    node.read_index().await.unwrap();
    assert_eq!(get(&node, "k7").as_deref(), Some("v7"));
    let status = node.status();
    assert_eq!(status.leader, Some(1));
    assert!(status.applied >= 200);
    drop(node);

    // The engine is a fresh one: everything comes from the WAL.
    let node = start(dir.path()).await;
    assert_eq!(node.view().revision(), revision, "ready means replayed");
    for number in 0..200 {
        assert_eq!(get(&node, &format!("k{number}")), Some(format!("v{number}")));
    }
    node.propose(put("after", "restart")).await.unwrap();
    node.shutdown().await;
    assert_eq!(node.stopped().await.to_string(), "consensus has stopped");
    assert!(node.propose(put("too", "late")).await.is_err());
}

#[tokio::test]
async fn many_callers_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let callers = (0..100).map(|caller| {
        let node = node.clone();
        tokio::spawn(async move {
            for number in 0..20 {
                let key = format!("{caller}/{number}");
                node.propose(put(&key, &key)).await.unwrap();
                node.read_index().await.unwrap();
                assert_eq!(get(&node, &key), Some(key));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(node.view().revision(), 2001);
    node.shutdown().await;
}
