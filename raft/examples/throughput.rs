//! Puts a second and CPU a put of one or three members in this process, without any face:
//! `throughput MEMBERS CALLERS SECONDS`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keelson_proto::etcdserverpb as pb;
use keelson_raft::peer::{PeerListener, PeerSocket};
use keelson_raft::{Member, Node, NodeConfig};
use keelson_storage::command::{Op, command};
use keelson_storage::engine::{RocksDb, RocksOptions};
use keelson_storage::machine::{Options, StateMachine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (members, callers, seconds) = (next(1)?, next(100)?, next(3)?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(members, callers, Duration::from_secs(seconds)))
}

async fn measure(
    members: u64,
    callers: u64,
    time: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let mut listeners = BTreeMap::new();
    let mut known = BTreeMap::new();
    for id in 1..=members {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let peer_urls = vec![format!("http://{}", listener.local_addr()?)];
        known.insert(id, Member { peer_urls, ..Member::default() });
        listeners.insert(id, listener);
    }
    let mut nodes = Vec::new();
    for (id, listener) in listeners {
        let dir = dir.path().join(id.to_string());
        std::fs::create_dir_all(&dir)?;
        let engine = RocksDb::open(&dir.join("db"), RocksOptions::default())?;
        let machine = StateMachine::open(Arc::new(engine), Options::default())?;
        let mut config = NodeConfig::new(id, 7, dir);
        config.members = known.clone();
        config.peer_listeners =
            vec![PeerListener { socket: PeerSocket::Tcp(listener), secure: false }];
        nodes.push(Node::start(config, machine).await?);
    }
    let leader = nodes[0].leadership().wait_for(|now| now.leader.is_some()).await?.leader;
    let Some(leader) = nodes.iter().find(|node| Some(node.node_id()) == leader).cloned() else {
        return Err("no leader".into());
    };
    let done = Arc::new(AtomicU64::new(0));
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (node, done) = (leader.clone(), done.clone());
            tokio::spawn(async move {
                let value = bytes::Bytes::from(vec![b'v'; 256]);
                for number in 0_u64.. {
                    if begun.elapsed() > time {
                        return;
                    }
                    let put = pb::PutRequest {
                        key: format!("{caller:04}/{:06}", number % 1000).into(),
                        value: value.clone(),
                        ..Default::default()
                    };
                    if node.propose(command(Op::Put(put))).await.is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    let (elapsed, used) = (begun.elapsed(), cpu_time()? - cpu);
    let done = done.load(Ordering::Relaxed);
    let each = used.as_micros() as f64 / done as f64;
    let rate = done as f64 / elapsed.as_secs_f64();
    println!("{members} members, {callers} callers: {rate:.0} puts/s, {each:.1} us of CPU each");
    let idle = cpu_time()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("idle: {:.2} % of a core", (cpu_time()? - idle).as_secs_f64() / 2.0 * 100.0);
    Ok(())
}

/// User and system time of this process.
fn cpu_time() -> Result<Duration, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
