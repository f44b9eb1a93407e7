//! Three members on loopback: write on one, read on all, lose the leader, lose nothing.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keelson_proto::etcdserverpb as pb;
use keelson_raft::peer::{PeerListener, PeerSocket};
use keelson_raft::{Member, MoveLeaderError, Node, NodeConfig};
use keelson_storage::command::{
    AuthChange, AuthOp, Authenticate, Command, LeaseRevoke, Op, Reply, command,
};
use keelson_storage::engine::{Engine, SortedMap, WriteBatch};
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::mvcc::{Revision, keys};

struct Cluster {
    dir: tempfile::TempDir,
    members: BTreeMap<u64, Member>,
    nodes: BTreeMap<u64, Node>,
    engines: BTreeMap<u64, Arc<SortedMap>>,
    /// Of the members that start from now on.
    election: Duration,
}

impl Cluster {
    async fn start() -> Self {
        let mut members = BTreeMap::new();
        let mut listeners = BTreeMap::new();
        for id in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            members.insert(
                id,
                Member { name: format!("m{id}"), peer_urls: vec![url], ..Member::default() },
            );
            listeners.insert(id, listener);
        }
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            dir,
            members,
            nodes: BTreeMap::new(),
            engines: BTreeMap::new(),
            election: Duration::from_millis(300),
        };
        for (id, listener) in listeners {
            cluster.start_member(id, listener).await;
        }
        cluster
    }

    fn data_dir(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    async fn start_member(&mut self, id: u64, listener: TcpListener) {
        let engine = Arc::new(SortedMap::new());
        let machine = StateMachine::open(engine.clone(), Options::default()).unwrap();
        self.engines.insert(id, engine);
        let mut config = NodeConfig::new(id, 7, self.data_dir(id));
        config.members = self.members.clone();
        config.heartbeat = Duration::from_millis(30);
        config.election = self.election;
        config.snapshot_entries = 300;
        config.entries_kept = 100;
        config.corrupt_check = Some(Duration::from_millis(50));
        config.peer_listeners =
            vec![PeerListener { socket: PeerSocket::Tcp(listener), secure: false }];
        self.nodes.insert(id, Node::start(config, machine).await.unwrap());
    }

    async fn restart(&mut self, id: u64) {
        let url = &self.members[&id].peer_urls[0];
        let address = url.trim_start_matches("http://").to_owned();
        let listener = loop {
            match TcpListener::bind(&address) {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        self.start_member(id, listener).await;
    }

    /// The leader that all running members agree on.
    async fn leader(&self) -> u64 {
        let mut agreed = None;
        for node in self.nodes.values() {
            let mut leadership = node.leadership();
            let nodes = &self.nodes;
            let now = leadership
                .wait_for(|now| now.leader.is_some_and(|leader| nodes.contains_key(&leader)))
                .await
                .unwrap();
            agreed = now.leader;
        }
        agreed.unwrap()
    }
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

/// Proposes until it is acknowledged, as a client does.
async fn put_until_done(node: &Node, key: &str, value: &str) {
    loop {
        if node.propose(put(key, value)).await.is_ok() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_on_one_is_read_on_all_and_survives_the_leader() {
    let mut cluster = Cluster::start().await;
    let first_leader = cluster.leader().await;
    for (id, node) in &cluster.nodes {
        node.propose(put(&format!("by/{id}"), "x")).await.unwrap();
        assert_eq!(get(node, &format!("by/{id}")).as_deref(), Some("x"), "own writes are read");
    }
    for node in cluster.nodes.values() {
        node.read_index().await.unwrap();
        for id in 1..=3 {
            assert_eq!(get(node, &format!("by/{id}")).as_deref(), Some("x"));
        }
    }

    // Writers go on while the leader is lost without a farewell.
    let survivor = cluster.nodes.iter().find(|(id, _)| **id != first_leader).unwrap().1.clone();
    let writer = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for number in 0..300 {
            let key = format!("k{number}");
            match survivor.propose(put(&key, &key)).await {
                Ok(_) => acknowledged.push(key),
                Err(_) => put_until_done(&survivor, "retry", &key).await,
            }
        }
        acknowledged
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(cluster.nodes.remove(&first_leader));
    let acknowledged = writer.await.unwrap();
    let second_leader = cluster.leader().await;
    assert_ne!(first_leader, second_leader);
    for node in cluster.nodes.values() {
        node.read_index().await.unwrap();
        for key in &acknowledged {
            assert_eq!(get(node, key).as_deref(), Some(key.as_str()), "acknowledged {key} is lost");
        }
    }

    // It comes back with an empty engine: its own WAL and the others fill it.
    cluster.restart(first_leader).await;
    let returned = &cluster.nodes[&first_leader];
    returned.read_index().await.unwrap();
    for key in &acknowledged {
        assert_eq!(get(returned, key).as_deref(), Some(key.as_str()));
    }
    let everywhere: Vec<i64> = cluster.nodes.values().map(|node| node.view().revision()).collect();
    let newest = everywhere.iter().max().unwrap();
    assert_eq!(returned.view().revision(), *newest);

    // Leadership is handed over at a shutdown: no election timeout passes.
    let leader = cluster.leader().await;
    let leaving = cluster.nodes.remove(&leader).unwrap();
    leaving.shutdown().await;
    let heir = cluster.leader().await;
    assert_ne!(heir, leader);
    for node in cluster.nodes.values() {
        node.propose(put("last", "one")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_leader_whose_process_is_gone_does_not_wait_for_a_timeout() {
    let mut cluster = Cluster::start().await;
    let first_leader = cluster.leader().await;
    cluster.election = Duration::from_secs(3600);
    for id in (1..=3).filter(|id| *id != first_leader) {
        cluster.nodes.remove(&id).unwrap().shutdown().await;
        cluster.restart(id).await;
        cluster.nodes[&id].read_index().await.unwrap();
    }
    assert_eq!(cluster.leader().await, first_leader);

    drop(cluster.nodes.remove(&first_leader));
    assert_ne!(cluster.leader().await, first_leader);
    let survivor = cluster.nodes.values().next().unwrap();
    put_until_done(survivor, "after", "x").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_everything_is_sent_a_snapshot() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let lost = *cluster.nodes.keys().find(|id| **id != leader).unwrap();
    drop(cluster.nodes.remove(&lost));
    let writer = &cluster.nodes[&leader];
    let puts: Vec<_> = (0..2000)
        .map(|number| {
            let node = writer.clone();
            tokio::spawn(async move { node.propose(put(&format!("k{number}"), "v")).await })
        })
        .collect();
    for put in puts {
        put.await.unwrap().unwrap();
    }
    std::fs::remove_dir_all(cluster.data_dir(lost)).unwrap();
    cluster.restart(lost).await;
    let returned = &cluster.nodes[&lost];
    returned.read_index().await.unwrap();
    for number in 0..2000 {
        assert_eq!(get(returned, &format!("k{number}")).as_deref(), Some("v"));
    }
    let hash = |node: &Node| node.view().hash_kv(node.view().revision()).unwrap().hash;
    assert_eq!(hash(returned), hash(&cluster.nodes[&leader]));
    returned.propose(put("own", "write")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_live_by_renewals_on_any_member_and_end_without_them() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes.iter().find(|(id, _)| **id != leader).unwrap().1;
    for (id, ttl) in [(11, 1), (12, 100)] {
        let grant = pb::LeaseGrantRequest { id, ttl };
        let reply = follower.propose(command(Op::LeaseGrant(grant))).await.unwrap();
        assert!(matches!(reply, Reply::LeaseGrant(_)), "{reply:?}");
    }
    assert_eq!(follower.renew_lease(12).await, Ok(100));
    assert!((98..=100).contains(&follower.lease_remaining(12).await.unwrap()));
    assert!(follower.renew_lease(13).await.is_err());
    let mut changed = follower.view().leases_changed();
    while follower.view().lease(11).is_some() {
        changed.changed().await.unwrap();
    }
    assert!(follower.renew_lease(11).await.is_err());
    let revoke = LeaseRevoke { ids: vec![12], ..Default::default() };
    follower.propose(command(Op::LeaseRevoke(revoke))).await.unwrap();
    cluster.nodes[&leader].read_index().await.unwrap();
    assert!(follower.renew_lease(12).await.is_err());
}

/// One question to the others proves for all of them at once that the leader leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_leases_are_renewed_at_once() {
    const LEASES: i64 = 10_000;
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes.iter().find(|(id, _)| **id != leader).unwrap().1;
    let grant = |id| command(Op::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 1000 }));
    let granted = (1..=LEASES).map(|id| follower.propose(grant(id)));
    for granted in futures::future::join_all(granted).await {
        granted.unwrap();
    }
    let renewed = (1..=LEASES).map(|id| follower.renew_lease(id));
    for renewed in futures::future::join_all(renewed).await {
        assert_eq!(renewed, Ok(1000));
    }
}

// upstream: etcd v3, "Data corruption"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_data_have_changed_is_named_and_writes_stop() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let node = &cluster.nodes[&leader];
    for number in 0..5 {
        node.propose(put(&format!("k{number}"), "v")).await.unwrap();
    }
    for other in cluster.nodes.values() {
        other.read_index().await.unwrap();
    }
    assert!(node.corrupt_members().await.is_empty());
    let odd = *cluster.nodes.keys().find(|id| **id != leader).unwrap();
    let engine = &cluster.engines[&odd];
    let key = keys::revision(Revision { main: 3, sub: 0 }, keys::IsTombstone::No);
    let mut value =
        keelson_storage::engine::Reader::get(&**engine, &key).unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    let mut flip = WriteBatch::default();
    flip.put(key, value.into());
    engine.write(&flip).unwrap();
    let corrupt = (pb::AlarmType::Corrupt as i32, odd);
    while !node.view().alarms().contains(&corrupt) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.view().alarms(), [corrupt]);
    let refused = node.propose(put("k", "v")).await.unwrap_err();
    assert_eq!(refused.to_string(), "etcdserver: corrupt cluster");
}

// upstream: etcd v3 API, "MoveLeader"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_sent() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let target = *cluster.nodes.keys().find(|id| **id != leader).unwrap();
    let asked_elsewhere = cluster.nodes[&target].move_leader(leader).await;
    assert_eq!(asked_elsewhere, Err(MoveLeaderError::NotLeader));
    let node = &cluster.nodes[&leader];
    assert_eq!(node.move_leader(99).await, Err(MoveLeaderError::BadTransferee));
    assert_eq!(node.move_leader(leader).await, Ok(()));
    node.propose(put("before", "v")).await.unwrap();
    node.move_leader(target).await.unwrap();
    assert_eq!(node.leadership().borrow().leader, Some(target));
    node.propose(put("after", "v")).await.unwrap();
}

// upstream: etcd v3 API, "Auth": a token is known on the member that gave it and on all others
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_tokens_are_known_on_every_member() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes.iter().find(|(id, _)| **id != leader).unwrap().1;
    let change = |op| command(Op::AuthChange(AuthChange { change: Some(op) }));
    let add = pb::AuthUserAddRequest { name: "root".into(), ..Default::default() };
    let grant = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    follower.propose(change(AuthOp::UserAdd(add))).await.unwrap();
    follower.propose(change(AuthOp::UserGrantRole(grant))).await.unwrap();
    follower.propose(change(AuthOp::Enable(pb::AuthEnableRequest {}))).await.unwrap();
    let auth_revision = follower.view().auth().revision();
    let token_prefix = "letters".to_owned();
    let login = Authenticate { name: "root".into(), token_prefix, auth_revision };
    let token = match follower.propose(command(Op::Authenticate(login))).await.unwrap() {
        Reply::Token(token) => token,
        other => panic!("{other:?}"),
    };
    for node in cluster.nodes.values() {
        node.read_index().await.unwrap();
        let (now, ttl) = (Duration::ZERO, Duration::from_secs(1));
        assert_eq!(node.view().tokens().user(&token, now, ttl).as_deref(), Some("root"));
        let refused = node.propose(put("k", "v")).await.unwrap_err();
        assert_eq!(refused.to_string(), "etcdserver: user name is empty");
        let by_root = Command { user: "root".into(), auth_revision, ..put("k", "v") };
        node.propose(by_root).await.unwrap();
    }
}
