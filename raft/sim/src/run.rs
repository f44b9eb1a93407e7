//! A run: from a seed to a verdict.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keelson_check::check_registers;
use keelson_proto::etcdserverpb as pb;
use keelson_raft::runtime::Runtime;
use keelson_storage::command::{Op, command};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thiserror::Error;

use crate::cluster::{Cluster, OPERATOR, Sizes};
use crate::executor::Simulator;
use crate::faults;
use crate::monitor::{Monitor, Violation};
use crate::plan::plan;
use crate::profile::Profile;
use crate::story::Story;
use crate::workload::{self, Part, Shared};

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Decides everything that is random.
    pub seed: u64,
    /// Members; `None`: the seed decides.
    pub members: Option<u64>,
    /// For so long there are clients and faults.
    pub length: Duration,
    /// After that, everything must be well within this time.
    pub recovery: Duration,
    /// Kinds of faults.
    pub profile: Profile,
    /// Of the planned faults only those of these numbers; `None`: all.
    pub faults: Option<BTreeSet<usize>>,
    /// Kinds of clients that there are not.
    pub without: BTreeSet<Part>,
    /// Clients ask for so much and then no more.
    pub operations: Option<u64>,
    /// Whether everything is told, not only what matters.
    pub trace: bool,
}

impl Scenario {
    /// A seed with everything that there is.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            members: None,
            length: Duration::from_secs(20),
            recovery: Duration::from_secs(60),
            profile: Profile::default(),
            faults: None,
            without: BTreeSet::new(),
            operations: None,
            trace: false,
        }
    }

    /// How many members there are at first.
    pub fn founders(&self) -> u64 {
        self.members.unwrap_or(if self.seed.is_multiple_of(4) { 5 } else { 3 })
    }
}

/// What a run was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// A digest of every step.
    pub trace: u64,
    /// How many steps there were.
    pub steps: u64,
    /// What clients asked for.
    pub operations: u64,
    /// What they were answered.
    pub answered: u64,
    /// Entries that were committed.
    pub entries: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Simulated time, recovery included.
    pub time: Duration,
    /// What happened.
    pub lines: Vec<String>,
}

/// A run that broke an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("seed {seed}: {} at {:.3} s: {}", violation.invariant, violation.at.as_secs_f64(), violation.what)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
    /// What was until then.
    pub report: Report,
}

fn sizes(seed: u64) -> Sizes {
    let mut random = StdRng::seed_from_u64(seed ^ 0x517e_5000_0000_0000);
    let election = random.random_range(350..650);
    Sizes {
        // The least of what a store's flags allow.
        heartbeat: Duration::from_millis(election / 6),
        election: Duration::from_millis(election),
        snapshot_entries: random.random_range(20..200),
        entries_kept: random.random_range(10..80),
        segment_bytes: random.random_range(16..128) * 1024,
    }
}

/// Runs a scenario; the same scenario gives the same report.
pub fn run(scenario: &Scenario) -> Result<Report, Box<Failure>> {
    let seed = scenario.seed;
    let simulator = Simulator::new(seed);
    let control = simulator.control();
    let story = Story::new(control.clone(), scenario.trace);
    let monitor = Monitor::new(control.clone(), story.clone());
    let founders = scenario.founders();
    let sizes = sizes(seed);
    story.tell(format!("seed {seed}: {founders} members, {sizes:?}"));
    let cluster = Cluster::new(control.clone(), monitor.clone(), story.clone(), sizes, founders);
    let shared = Shared::new(cluster.clone(), scenario.operations.unwrap_or(u64::MAX));

    let mut planned = plan(seed, scenario.length, &scenario.profile);
    planned.retain(|one| scenario.faults.as_ref().is_none_or(|only| only.contains(&one.number)));
    let faults_done = Arc::new(AtomicU64::new(0));
    control.spawn(OPERATOR, {
        let (cluster, done) = (cluster.clone(), faults_done.clone());
        async move {
            for id in cluster.ids() {
                cluster.start(id);
            }
            cluster.control.spawn(OPERATOR, faults::replace_damaged(cluster.clone()));
            faults::run(cluster, planned, done).await;
        }
    });
    workload::start(&shared, seed, &scenario.without);
    let broken = || monitor.is_broken() || simulator.has_panicked();
    simulator.run_until(scenario.length, broken);
    shared.over.store(true, Ordering::Relaxed);

    let well = Arc::new(AtomicBool::new(false));
    control.spawn(OPERATOR, {
        let (shared, well) = (shared.clone(), well.clone());
        async move {
            faults::mend(&shared.cluster);
            recover(&shared).await;
            well.store(true, Ordering::Relaxed);
        }
    });
    let end = || broken() || well.load(Ordering::Relaxed);
    if !broken() {
        simulator.run_until(scenario.length + scenario.recovery, end);
    }
    for (member, message) in simulator.panicked() {
        monitor.fail("nobody panics", format!("member {member}: {message}"));
    }
    if !well.load(Ordering::Relaxed) && !monitor.is_broken() {
        let late = monitor.late(monitor.revision()).unwrap_or_default();
        monitor
            .fail("everything recovers", format!("not well after {:?} {late}", scenario.recovery));
    }
    if !monitor.is_broken()
        && let Err(violation) = check_registers(&shared.history())
    {
        monitor.fail("linearizable", violation.to_string());
    }
    let (trace, steps) = simulator.trace();
    let time = control.now();
    simulator.end();
    let report = Report {
        trace,
        steps,
        operations: shared.asked.load(Ordering::Relaxed),
        answered: shared.answered.load(Ordering::Relaxed),
        entries: monitor.entries(),
        faults: faults_done.load(Ordering::Relaxed),
        time,
        lines: story.lines(),
    };
    match monitor.violation() {
        Some(violation) => Err(Box::new(Failure { seed, violation, report })),
        None => Ok(report),
    }
}

/// Waits until all members are up and hold the same, clients have their answers, and watchers have
/// been told everything.
async fn recover(shared: &Shared) {
    let cluster = &shared.cluster;
    loop {
        Runtime::sleep(Duration::from_millis(100)).await;
        // The history is whole once every client has its answer, or has given up.
        if shared.busy.load(Ordering::Relaxed) > 0 || cluster.damaged().is_some() {
            continue;
        }
        let ids = cluster.ids();
        for id in &ids {
            if cluster.is_down(*id) {
                cluster.start(*id);
            }
        }
        if let Err(reason) = compare(cluster, &ids).await {
            cluster.story.trace(|| reason);
            continue;
        }
        let until = cluster.monitor.revision();
        while let Some(late) = cluster.monitor.late(until) {
            cluster.story.trace(|| late);
            Runtime::sleep(Duration::from_millis(100)).await;
        }
        cluster.story.tell("all is well");
        return;
    }
}

/// Has every member apply one last write, and compares what they hold.
async fn compare(cluster: &Cluster, ids: &[u64]) -> Result<(), String> {
    let last = pb::PutRequest { key: "last".into(), value: "one".into(), ..Default::default() };
    let patience = Duration::from_secs(3);
    let put = cluster.call(ids[0], move |node| async move {
        node.propose(command(Op::Put(last))).await.map(|_| ())
    });
    let put = Runtime::timeout(patience, put).await;
    let Ok(Some(Ok(()))) = put else { return Err(format!("member {}: {put:?}", ids[0])) };
    let mut revisions = BTreeSet::new();
    for id in ids {
        let read = cluster.call(*id, |node| async move {
            node.read_index().await.map_err(|error| error.to_string())?;
            node.view().hash_kv(0).map_err(|error| error.to_string())
        });
        match Runtime::timeout(patience, read).await {
            Ok(Some(Ok(hash))) => {
                cluster.monitor.hashed(*id, hash.revision, hash.compacted, hash.hash);
                revisions.insert(hash.revision);
            }
            other => return Err(format!("member {id}: {other:?}")),
        }
    }
    // What was still on its way from clients may come between: then once more.
    match revisions.len() {
        1 => Ok(()),
        _ => Err(format!("members are at revisions {revisions:?}")),
    }
}
