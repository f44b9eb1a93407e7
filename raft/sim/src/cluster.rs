//! The cluster: members that can be crashed and started again, each on its own disk and engine, and
//! replaced by others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use keelson_raft::runtime::Runtime;
use keelson_raft::{Member, Node, NodeConfig, Stop};
use keelson_storage::compactor::Compactor;
use keelson_storage::disk::{Random, SimulatedDisk};
use keelson_storage::engine::SortedMap;
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::wal::WalOptions;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::executor::{Control, Group};
use crate::monitor::Monitor;
use crate::network::Network;
use crate::story::Story;

/// Whoever looks after the members from outside: starts and replaces them.
pub(crate) const OPERATOR: Group = 3000;

/// Timings and sizes of a cluster, drawn from the seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) heartbeat: Duration,
    pub(crate) election: Duration,
    pub(crate) snapshot_entries: usize,
    pub(crate) entries_kept: u64,
    pub(crate) segment_bytes: u64,
}

/// All members; clones share them.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) control: Control,
    pub(crate) network: Network,
    pub(crate) monitor: Monitor,
    pub(crate) story: Story,
    sizes: Sizes,
    founders: u64,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Those that belong to the cluster, as its operator knows.
    members: BTreeMap<u64, Computer>,
    /// Those that were removed and may not know yet.
    gone: BTreeMap<u64, Computer>,
    running: BTreeMap<u64, Running>,
    next_id: u64,
    next_life: u64,
    /// Members that refuse to start on what their disk holds, rightly.
    damaged: BTreeSet<u64>,
    /// Members whose disk has changed what was synced.
    rotten: BTreeSet<u64>,
    /// Whether members are being changed: one change at a time.
    changing: bool,
}

/// What stays when a member crashes.
#[derive(Clone)]
struct Computer {
    disk: SimulatedDisk,
    engine: Arc<SortedMap>,
    founder: bool,
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

impl Computer {
    fn new(founder: bool) -> Self {
        let (disk, engine) = (SimulatedDisk::new(), Arc::new(SortedMap::remembering()));
        Self { disk, engine, founder }
    }
}

impl Cluster {
    pub(crate) fn new(
        control: Control,
        monitor: Monitor,
        story: Story,
        sizes: Sizes,
        members: u64,
    ) -> Self {
        let network = Network::new(control.clone());
        let state = State {
            members: (1..=members).map(|id| (id, Computer::new(true))).collect(),
            gone: BTreeMap::new(),
            running: BTreeMap::new(),
            next_id: members + 1,
            next_life: 1,
            damaged: BTreeSet::new(),
            rotten: BTreeSet::new(),
            changing: false,
        };
        let state = Arc::new(Mutex::new(state));
        Self { control, network, monitor, story, sizes, founders: members, state }
    }

    /// Members by id.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.state.lock().members.keys().copied().collect()
    }

    /// Members and those that were removed and still run.
    pub(crate) fn all_ids(&self) -> Vec<u64> {
        let state = self.state.lock();
        state.members.keys().chain(state.gone.keys()).copied().collect()
    }

    /// A member that is up, with the number of its life.
    pub(crate) fn node(&self, id: u64) -> Option<(u64, Node)> {
        let state = self.state.lock();
        let running = state.running.get(&id)?;
        Some((running.life, running.node.clone()?))
    }

    /// Some member that leads, as it believes.
    pub(crate) fn leader(&self) -> Option<u64> {
        let state = self.state.lock();
        let leads = |running: &Running| {
            running.node.as_ref().is_some_and(|node| node.leadership().borrow().is_own)
        };
        state.running.iter().rev().find(|(_, running)| leads(running)).map(|(id, _)| *id)
    }

    /// Has a member do something on its own threads, by its own clock; `None` where it is down, or
    /// dies before it has done it.
    pub(crate) async fn call<T, F>(
        &self,
        id: u64,
        work: impl FnOnce(Node) -> F + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let (_, node) = self.node(id)?;
        let (sender, receiver) = oneshot::channel();
        self.control.spawn(id, async move {
            let _ = sender.send(work(node).await);
        });
        receiver.await.ok()
    }

    /// Whether a member is down and nobody is starting it.
    pub(crate) fn is_down(&self, id: u64) -> bool {
        !self.state.lock().running.contains_key(&id)
    }

    fn computer(&self, id: u64) -> Option<Computer> {
        let state = self.state.lock();
        state.members.get(&id).or_else(|| state.gone.get(&id)).cloned()
    }

    /// Cuts a member's power.
    pub(crate) fn crash(&self, id: u64) {
        let Some(computer) = self.computer(id) else { return };
        self.story.tell(format!("member {id} loses its power"));
        self.control.kill(id);
        let gone = self.state.lock().running.remove(&id);
        computer.disk.crash(&RuntimeRandom);
        // RocksDB writes its tables when it wants to, so some of what nobody flushed may be there.
        let unflushed = computer.engine.unflushed() as u64;
        let kept = match Runtime::random() % 3 {
            0 => Runtime::random() % (unflushed + 1),
            _ => 0,
        };
        computer.engine.crash_keeping(usize::try_from(kept).unwrap_or(0));
        drop(gone);
    }

    /// Lets every sync of a member fail: it must stop by itself.
    pub(crate) fn fail_syncs(&self, id: u64) {
        if let Some(computer) = self.computer(id) {
            computer.disk.fail_syncs(true);
        }
    }

    /// A member's disk is full, or not any more.
    pub(crate) fn fill_disk(&self, id: u64, full: bool) {
        if let Some(computer) = self.computer(id) {
            computer.disk.fill(full);
        }
    }

    /// Changes what a member has synced, unless another member's was already: most must be whole. One
    /// of two that vote is not to be spared, and a third that was asked for does not vote at once.
    pub(crate) fn rot(&self, id: u64) -> bool {
        let Some(computer) = self.computer(id) else { return false };
        {
            let state = self.state.lock();
            let is_rotten = |id: &u64| state.members.contains_key(id);
            let nodes = state.running.values().filter_map(|running| running.node.as_ref());
            let mut quorums = nodes.flat_map(Node::quorums).peekable();
            if state.rotten.iter().any(is_rotten)
                || quorums.peek().is_none()
                || quorums.any(|voters| voters.len() < 3)
            {
                return false;
            }
        }
        let Some((file, offset)) = computer.disk.rot(&RuntimeRandom) else { return false };
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.story.tell(format!("member {id}'s disk changes byte {offset} of {name}"));
        self.state.lock().rotten.insert(id);
        true
    }

    /// Whether a member refuses to start, and rightly.
    pub(crate) fn damaged(&self) -> Option<u64> {
        let state = self.state.lock();
        state.damaged.iter().find(|id| state.members.contains_key(id)).copied()
    }

    /// Takes the operator's turn to change members; `false`: somebody else has it.
    pub(crate) fn begin_change(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().changing, true)
    }

    /// Ends the turn.
    pub(crate) fn end_change(&self) {
        self.state.lock().changing = false;
    }

    /// Puts up a new computer for a member to come.
    pub(crate) fn new_member(&self) -> u64 {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        id
    }

    /// It belongs to the cluster now.
    pub(crate) fn joined(&self, id: u64) {
        self.state.lock().members.insert(id, Computer::new(false));
    }

    /// It does not any more.
    pub(crate) fn removed(&self, id: u64) {
        let mut state = self.state.lock();
        state.damaged.remove(&id);
        if let Some(computer) = state.members.remove(&id) {
            state.gone.insert(id, computer);
        }
    }

    /// A removed member's computer is taken away.
    pub(crate) fn bury(&self, id: u64) {
        if self.state.lock().gone.contains_key(&id) {
            self.crash(id);
            self.state.lock().gone.remove(&id);
        }
    }

    /// Starts a member on what its disk holds.
    pub(crate) fn start(&self, id: u64) {
        let Some(computer) = self.computer(id) else { return };
        let life = {
            let mut state = self.state.lock();
            // Somebody else was quicker: two of one id on one disk would break every promise.
            if state.running.contains_key(&id) || state.damaged.contains(&id) {
                return;
            }
            state.next_life += 1;
            let life = state.next_life;
            state.running.insert(id, Running { life, node: None });
            life
        };
        self.story.tell(format!("member {id} starts"));
        let cluster = self.clone();
        self.control.spawn(id, async move {
            match cluster.open(id, life, &computer).await {
                Ok((node, compactor)) => cluster.live(id, life, node, compactor).await,
                Err(error) => cluster.refused(id, &error),
            }
        });
    }

    fn refused(&self, id: u64, error: &str) {
        self.story.tell(format!("member {id} does not start: {error}"));
        let damage = error.contains("damaged") || error.contains("missing");
        let mut state = self.state.lock();
        if !damage {
            drop(state);
            self.restart_later(id);
            return;
        }
        if state.rotten.contains(&id) {
            state.damaged.insert(id);
            state.running.remove(&id);
            return;
        }
        drop(state);
        let what = format!("member {id} refuses a log that only a crash has touched: {error}");
        self.monitor.fail("what is synced stays", what);
    }

    async fn live(&self, id: u64, life: u64, node: Node, compactor: Compactor) {
        self.story.tell(format!("member {id} is up at entry {}", node.status().applied));
        {
            let running = Running { life, node: Some(node.clone()) };
            self.state.lock().running.insert(id, running);
        }
        self.control.spawn(id, follow(self.monitor.clone(), id, node.clone()));
        self.control.spawn(id, compact(compactor));
        self.control.spawn(id, look(self.monitor.clone(), id, node.clone()));
        let reason = node.stopped().await;
        self.story.tell(format!("member {id} stops: {reason}"));
        if reason != Stop::Removed {
            self.restart_later(id);
        } else if self.ids().contains(&id) {
            // The operator may not have heard yet that the removal it asked for was made.
            self.restart_later(id);
        }
    }

    /// A process that ended is started again, as by an init system.
    fn restart_later(&self, id: u64) {
        let cluster = self.clone();
        self.control.spawn(OPERATOR, async move {
            Runtime::sleep(Duration::from_millis(20 + Runtime::random() % 500)).await;
            cluster.crash(id);
            Runtime::sleep(Duration::from_millis(Runtime::random() % 200)).await;
            cluster.start(id);
        });
    }

    fn open<'a>(
        &'a self,
        id: u64,
        life: u64,
        computer: &'a Computer,
    ) -> BoxFuture<'a, Result<(Node, Compactor), String>> {
        Box::pin(async move {
            let options = Options { compaction_thread: false, ..Options::default() };
            let machine = StateMachine::open(computer.engine.clone(), options)
                .map_err(|error| error.to_string())?;
            self.monitor.stands(id, life, &machine);
            let compactor = machine.compactor();
            let mut config = NodeConfig::new(id, 7, PathBuf::from("/data"));
            config.members.clear();
            if computer.founder {
                config.members = (1..=self.founders).map(|id| (id, member(id))).collect();
            }
            config.heartbeat = self.sizes.heartbeat;
            config.election = self.sizes.election;
            config.snapshot_entries = self.sizes.snapshot_entries;
            config.entries_kept = self.sizes.entries_kept;
            config.wal =
                WalOptions { segment_bytes: self.sizes.segment_bytes, zero_bytes: 8 * 1024 };
            config.disk = Arc::new(computer.disk.clone());
            config.transport = Some(self.network.transport(id));
            config.observer = Some(self.monitor.eyes(id, life));
            let node = Node::start(config, machine).await.map_err(|error| error.to_string())?;
            Ok((node, compactor))
        })
    }
}

/// What the cluster knows of a member.
pub(crate) fn member(id: u64) -> Member {
    Member { peer_urls: vec![format!("http://member-{id}:2380")], ..Member::default() }
}

/// Tells the monitor who leads.
async fn follow(monitor: Monitor, id: u64, node: Node) {
    let mut leadership = node.leadership();
    loop {
        let now = *leadership.borrow_and_update();
        monitor.leads(id, now, &node);
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Carries out compactions, a step now and then.
async fn compact(compactor: Compactor) {
    loop {
        Runtime::sleep(Duration::from_millis(50 + Runtime::random() % 400)).await;
        while matches!(compactor.step(), Ok(true)) {
            Runtime::sleep(Duration::from_millis(Runtime::random() % 20)).await;
        }
    }
}

/// Compares the whole history now and then.
async fn look(monitor: Monitor, id: u64, node: Node) {
    loop {
        Runtime::sleep(Duration::from_millis(4000 + Runtime::random() % 12_000)).await;
        let view = node.view();
        if let Ok(hash) = view.hash_kv(0) {
            monitor.hashed(id, hash.revision, hash.compacted, hash.hash);
        }
    }
}
