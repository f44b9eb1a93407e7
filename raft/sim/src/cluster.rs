//! The cluster: members that can be crashed and started again, each on its own disk and engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keelson_raft::runtime::Runtime;
use keelson_raft::{Member, Node, NodeConfig};
use keelson_storage::disk::{Random, SimulatedDisk};
use keelson_storage::engine::SortedMap;
use keelson_storage::machine::{Options, StateMachine};
use parking_lot::Mutex;

use crate::executor::Control;
use crate::network::Network;

const HEARTBEAT: Duration = Duration::from_millis(20);
const ELECTION: Duration = Duration::from_millis(150);

/// All members; clones share them.
#[derive(Clone)]
pub(crate) struct Cluster {
    control: Control,
    pub(crate) network: Network,
    machines: Arc<BTreeMap<u64, Computer>>,
    running: Arc<Mutex<BTreeMap<u64, Running>>>,
    events: Arc<Mutex<Vec<String>>>,
}

/// What stays when a member crashes.
#[derive(Default)]
struct Computer {
    disk: SimulatedDisk,
    engine: Arc<SortedMap>,
}

#[derive(Clone)]
struct Running {
    /// Changes with every start.
    life: u64,
    node: Option<Node>,
}

#[derive(Debug)]
struct RuntimeRandom;

impl Random for RuntimeRandom {
    fn next_u64(&self) -> u64 {
        Runtime::random()
    }
}

impl Cluster {
    pub(crate) fn new(control: Control, members: u64) -> Self {
        let network = Network::new(control.clone());
        let machines = (1..=members).map(|id| (id, Computer::default())).collect();
        Self {
            control,
            network,
            machines: Arc::new(machines),
            running: Arc::default(),
            events: Arc::default(),
        }
    }

    /// Members by id.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.machines.keys().copied().collect()
    }

    /// Notes what happened.
    pub(crate) fn note(&self, event: String) {
        let now = keelson_raft::runtime::simulated_now().unwrap_or_default();
        self.events.lock().push(format!("{:>9.3} {event}", now.as_secs_f64()));
    }

    /// Everything that happened.
    pub(crate) fn events(&self) -> Vec<String> {
        self.events.lock().clone()
    }

    /// A member that is up, with the number of its life.
    pub(crate) fn node(&self, id: u64) -> Option<(u64, Node)> {
        let running = self.running.lock();
        let running = running.get(&id)?;
        Some((running.life, running.node.clone()?))
    }

    /// Whether a member still lives the life it lived.
    pub(crate) fn lives(&self, id: u64, life: u64) -> bool {
        self.running.lock().get(&id).is_some_and(|running| running.life == life)
    }

    /// Whether a member is down and nobody is starting it.
    pub(crate) fn is_down(&self, id: u64) -> bool {
        !self.running.lock().contains_key(&id)
    }

    /// Cuts a member's power.
    pub(crate) fn crash(&self, id: u64) {
        self.note(format!("crash {id}"));
        self.control.kill(id);
        let gone = self.running.lock().remove(&id);
        let computer = &self.machines[&id];
        computer.disk.crash(&RuntimeRandom);
        computer.engine.crash();
        drop(gone);
    }

    /// Lets every sync of a member fail: it must stop by itself.
    pub(crate) fn fail_disk(&self, id: u64) {
        self.note(format!("disk fails {id}"));
        self.machines[&id].disk.fail_syncs(true);
    }

    /// Starts a member on what its disk holds.
    pub(crate) fn start(&self, id: u64) {
        // Somebody else was quicker: two of one id on one disk would break every promise.
        if !self.is_down(id) {
            return;
        }
        let life = Runtime::random();
        self.note(format!("start {id}"));
        self.running.lock().insert(id, Running { life, node: None });
        let cluster = self.clone();
        self.control.spawn(id, async move {
            let started = cluster.open(id).await;
            match started {
                Ok(node) => {
                    cluster.note(format!("up {id} at {}", node.status().applied));
                    let running = Running { life, node: Some(node.clone()) };
                    cluster.running.lock().insert(id, running);
                    let reason = node.stopped().await;
                    cluster.note(format!("stopped {id}: {reason}"));
                }
                Err(error) => {
                    // A fault while it started; a refusal of the log is a defect.
                    cluster.note(format!("no start {id}: {error}"));
                    assert!(!error.contains("damaged"), "member {id}: {error}");
                    cluster.running.lock().remove(&id);
                }
            }
        });
    }

    async fn open(&self, id: u64) -> Result<Node, String> {
        let computer = &self.machines[&id];
        let options = Options { compaction_thread: false, ..Options::default() };
        let machine = StateMachine::open(computer.engine.clone(), options)
            .map_err(|error| error.to_string())?;
        let mut config = NodeConfig::new(id, 7, PathBuf::from("/data"));
        config.members = self.machines.keys().map(|id| (*id, Member::default())).collect();
        config.heartbeat = HEARTBEAT;
        config.election = ELECTION;
        // Small, so that members fall behind the log and are sent snapshots.
        config.snapshot_entries = 100;
        config.entries_kept = 30;
        config.disk = Arc::new(computer.disk.clone());
        config.transport = Some(self.network.transport(id));
        Node::start(config, machine).await.map_err(|error| error.to_string())
    }
}
