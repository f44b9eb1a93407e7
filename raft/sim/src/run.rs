//! A run: from a seed to a verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keelson_check::{Violation, check_registers};
use keelson_proto::etcdserverpb as pb;
use keelson_raft::runtime::Runtime;
use keelson_storage::command::{Op, command};
use parking_lot::Mutex;
use thiserror::Error;

use crate::clients::{self, Recorder};
use crate::cluster::Cluster;
use crate::executor::{Group, Simulator};
use crate::faults;

const CLIENTS: Group = 2000;
const FAULTS: Group = 3000;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Decides everything that is random.
    pub seed: u64,
    /// Members.
    pub members: u64,
    /// Clients.
    pub clients: u64,
    /// For so long there are clients and faults.
    pub duration: Duration,
    /// After that, everything must be well within this time.
    pub recovery: Duration,
}

impl Scenario {
    /// Three members, five clients, ten seconds.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            members: 3,
            clients: 5,
            duration: Duration::from_secs(10),
            recovery: Duration::from_secs(30),
        }
    }
}

/// What a run was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// A digest of every step.
    pub trace: u64,
    /// How many steps there were.
    pub steps: u64,
    /// Operations whose answer clients got.
    pub answered: usize,
    /// Operations whose outcome they do not know.
    pub unknown: usize,
    /// What happened to the cluster.
    pub events: Vec<String>,
}

/// What went wrong; run the seed again to see it again.
#[derive(Debug, Error)]
pub enum Failure {
    /// Clients saw what cannot be.
    #[error("seed {seed}: {violation}\n{}", events.join("\n"))]
    NotLinearizable {
        /// The seed.
        seed: u64,
        /// What they saw.
        violation: Box<Violation>,
        /// What happened to the cluster.
        events: Vec<String>,
    },
    /// The cluster did not come back.
    #[error("seed {seed}: no recovery in time\n{}", events.join("\n"))]
    NoRecovery {
        /// The seed.
        seed: u64,
        /// What happened to the cluster.
        events: Vec<String>,
    },
    /// Members hold different content.
    #[error("seed {seed}: members differ (revision, hash): {members:?}\n{}", events.join("\n"))]
    Diverged {
        /// The seed.
        seed: u64,
        /// Revision and hash by member.
        members: Vec<(i64, u32)>,
        /// What happened to the cluster.
        events: Vec<String>,
    },
}

/// Revision and hash by member.
type Contents = Vec<(i64, u32)>;

/// Runs a scenario; the same scenario gives the same report.
pub fn run(scenario: Scenario) -> Result<Report, Failure> {
    let Scenario { seed, .. } = scenario;
    let simulator = Simulator::new(seed);
    let control = simulator.control();
    let cluster = Cluster::new(control.clone(), scenario.members);
    let recorder = Recorder::default();
    let over = Arc::new(AtomicBool::new(false));

    control.spawn(FAULTS, {
        let (cluster, over) = (cluster.clone(), over.clone());
        async move {
            for id in cluster.ids() {
                cluster.start(id);
            }
            faults::run(cluster, move || over.load(Ordering::Relaxed)).await;
        }
    });
    let busy = Arc::new(AtomicU64::new(scenario.clients));
    for client in 0..scenario.clients {
        let (cluster, recorder, over) = (cluster.clone(), recorder.clone(), over.clone());
        let busy = busy.clone();
        control.spawn(CLIENTS, async move {
            clients::run(client, cluster, recorder, move || over.load(Ordering::Relaxed)).await;
            busy.fetch_sub(1, Ordering::Relaxed);
        });
    }
    simulator.run_until(scenario.duration, || false);
    over.store(true, Ordering::Relaxed);

    let contents: Arc<Mutex<Option<Contents>>> = Arc::default();
    control.spawn(CLIENTS, {
        let (cluster, contents, busy) = (cluster.clone(), contents.clone(), busy.clone());
        async move {
            // The history is whole once every client has its answer, or has given up.
            while busy.load(Ordering::Relaxed) > 0 {
                Runtime::sleep(Duration::from_millis(100)).await;
            }
            let found = compare(&cluster).await;
            *contents.lock() = Some(found);
        }
    });
    let recovered =
        simulator.run_until(scenario.duration + scenario.recovery, || contents.lock().is_some());
    let (trace, steps) = simulator.trace();
    simulator.end();

    let events = cluster.events();
    let history = recorder.history();
    if let Err(violation) = check_registers(&history) {
        return Err(Failure::NotLinearizable { seed, violation, events });
    }
    if !recovered {
        return Err(Failure::NoRecovery { seed, events });
    }
    let members = contents.lock().clone().unwrap_or_default();
    if members.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(Failure::Diverged { seed, members, events });
    }
    let answered = history.operations.iter().filter(|one| one.returned.is_some()).count();
    let unknown = history.operations.len() - answered;
    Ok(Report { trace, steps, answered, unknown, events })
}

/// Waits until all members are well and have applied one last write; revision and hash of each.
async fn compare(cluster: &Cluster) -> Contents {
    let last = pb::PutRequest { key: "last".into(), value: "one".into(), ..Default::default() };
    'again: loop {
        Runtime::sleep(Duration::from_millis(100)).await;
        let ids = cluster.ids();
        let nodes: Vec<_> = ids.iter().filter_map(|id| cluster.node(*id)).collect();
        if nodes.len() < ids.len() {
            for id in ids {
                if cluster.is_down(id) {
                    cluster.start(id);
                }
            }
            continue;
        }
        if let Err(error) = nodes[0].1.propose(command(Op::Put(last.clone()))).await {
            for (_, node) in &nodes {
                let status = node.status();
                cluster.note(format!(
                    "{} not well yet ({error}): leader {:?}, term {}, log {}, committed {}, applied {}",
                    status.member_id,
                    status.leader,
                    status.term,
                    status.last_index,
                    status.committed,
                    status.applied
                ));
            }
            continue;
        }
        let mut contents = Vec::new();
        for (_, node) in &nodes {
            if let Err(error) = node.read_index().await {
                cluster.note(format!("{} cannot read yet: {error}", node.node_id()));
                continue 'again;
            }
            let view = node.view();
            let hash = match view.hash_kv(view.revision()) {
                Ok(hash) => hash,
                Err(error) => {
                    cluster.note(format!("{} has no hash: {error}", node.node_id()));
                    continue 'again;
                }
            };
            contents.push((hash.revision, hash.hash));
        }
        // What was still on its way from clients may come between: then once more.
        if contents.iter().all(|(revision, _)| *revision == contents[0].0) {
            return contents;
        }
    }
}
