//! One run: a cluster is started, clients ask while faults come and go, all is healed, and what
//! everybody was told is checked.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use keelson_check::{
    Finding, Header, Limits, Line, NAME, Promise, Recorded, VERSION, Verdict, check,
};
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use nix::unistd::geteuid;
use pb::maintenance_client::MaintenanceClient;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::clients::{Client, Shared, Watchers};
use super::cluster::{Cluster, Program, name};
use super::faults::{Faults, NOT_DONE};
use super::network::Network;
use super::options::{Net, Options, Workload, print_seed};
use super::plan::{Means, Plan, draw};
use super::record::Record;
use super::scenario::{Fault, Scenario, load};
use super::{failpoints, observe, report, room};
use crate::check;

/// How long clients ask where nobody says.
const DURATION: Duration = Duration::from_secs(30);
/// Members where nobody says.
const MEMBERS: usize = 3;
/// How long clients have to end.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How long members have to hold the same after everything is healed.
const EQUAL_MAX: Duration = Duration::from_secs(20);
/// Whether members that are of this binary have failpoints.
const FAILPOINTS: bool = cfg!(feature = "failpoints");
/// What some watchers watch; others watch everything.
const PREFIXES: [&str; 2] = ["register/", "/registry/pods/"];

/// Reads what there is to read, before anything is started; the plan but for what the seed draws.
pub fn prepare(options: &Options) -> Result<Scenario> {
    let scenario = match &options.scenario {
        Some(name) => load(name)?,
        None => Scenario {
            about: String::new(),
            members: None,
            duration: None,
            workload: Vec::new(),
            server_flags: Vec::new(),
            faults: Vec::new(),
        },
    };
    let members = options.members.or(scenario.members).unwrap_or(MEMBERS);
    ensure!((1..=9).contains(&members), "{members} members are not from 1 to 9");
    for binary in options.server.iter().chain(&options.upgrade_to) {
        program(binary)?;
    }
    if let Some(bug) = &options.bug {
        ensure!(FAILPOINTS, "this build has no planted bugs: `make failpoints` makes one that has");
        let known = keelson_failpoint::planted::ALL.iter().map(|(name, _)| *name);
        let known: Vec<&str> = known.collect();
        let names = known.join(", ");
        ensure!(known.contains(&bug.as_str()), "there is no bug {bug:?}; there are {names}");
    }
    let has = |fault: Fault| scenario.faults.iter().any(|step| step.fault == fault);
    ensure!(
        !has(Fault::Upgrade) || options.upgrade_to.is_some(),
        "the scenario has the fault upgrade, and --upgrade-to names no binary"
    );
    for fault in scenario.faults.iter().map(|step| step.fault) {
        ensure!(
            !failpoints::are_needed(fault) || options.server.is_some() || FAILPOINTS,
            "the fault {} needs the failpoint build: `make failpoints`",
            fault.name()
        );
    }
    ensure!(!has(Fault::DiskFull) || geteuid().is_root(), "the fault disk-full needs root");
    ensure!(
        !has(Fault::Delay) || options.network != Net::Namespaces,
        "the fault delay needs --network proxies"
    );
    room::ensure(members, has(Fault::DiskFull))?;
    for (what, file) in [("history", &options.history), ("report", &options.report)] {
        if let Some(file) = file {
            std::fs::File::create(file)
                .with_context(|| format!("the {what} {}", file.display()))?;
        }
    }
    Ok(scenario)
}

/// A binary as a path, or as a name to look for.
fn program(binary: &Path) -> Result<Program> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = match binary.components().count() {
        1 => std::env::split_paths(&search).map(|dir| dir.join(binary)).find(|path| path.is_file()),
        _ => Some(binary.to_owned()).filter(|path| path.is_file()),
    };
    let path = found.with_context(|| format!("there is no binary {}", binary.display()))?;
    Ok(Program { path })
}

/// A run from its beginning to its end, its files below `dir`.
pub async fn run(options: Options, dir: &Path) -> Result<ExitCode> {
    let scenario = prepare(&options)?;
    let server = match &options.server {
        Some(binary) => program(binary)?,
        None => Program { path: std::env::current_exe()? },
    };
    let members = options.members.or(scenario.members).unwrap_or(MEMBERS);
    let network = network(&options, &scenario, members).await?;
    let means = Means {
        failpoints: options.server.is_none() && FAILPOINTS,
        delays: matches!(network, Network::Proxies(_)),
    };
    let plan = plan(&options, scenario, members, means);
    println!("seed {}, {members} members of {}", print_seed(plan.seed), server.path.display());
    let flags = [plan.server_flags.clone(), options.server_flag.clone()].concat();
    let mut cluster = Cluster::new(network, members, dir, server, flags);
    if let Some(bug) = &options.bug {
        cluster.set_variable("KEELSON_PLANTED_BUG", bug);
    }
    if plan.steps.iter().any(|step| step.fault == Fault::DiskFull) {
        cluster.give_small_disks(room::DISK_BYTES)?;
    }
    let cluster = Arc::new(cluster);
    let record = Record::new();
    let outcome = through(&options, &plan, &cluster, &record).await;
    let header = Header {
        history: NAME.to_owned(),
        version: VERSION,
        about: about(&options, &plan),
        members: (0..members).map(name).collect(),
    };
    let recorded = Recorded { header, lines: record.lines() };
    if let Some(keep) = &options.keep {
        keep_files(dir, keep)?;
    }
    for line in &recorded.lines {
        if let Line::Fault { fault, detail, .. } = line
            && detail.starts_with(NOT_DONE)
        {
            eprintln!("warning: {fault} was {detail}");
        }
    }
    let mut verdict = check(&recorded, Limits::default());
    match outcome {
        Ok(findings) => verdict.findings.extend(findings),
        Err(error) => {
            write(&options, &plan, &recorded, &verdict)?;
            return Err(error);
        }
    }
    write(&options, &plan, &recorded, &verdict)?;
    print!("{}", check::told(&verdict));
    Ok(check::exit_code(&verdict))
}

async fn network(options: &Options, scenario: &Scenario, members: usize) -> Result<Network> {
    let delays = scenario.faults.iter().any(|step| step.fault == Fault::Delay);
    match options.network {
        Net::Namespaces => Network::namespaces(members),
        Net::Auto if options.inside.is_some() && !delays => Network::namespaces(members),
        Net::Auto | Net::Proxies => Network::proxies(members).await,
    }
}

fn plan(options: &Options, scenario: Scenario, members: usize, means: Means) -> Plan {
    // As many digits as are easily typed again.
    let seed = options.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000_000));
    let duration = options.duration.or(scenario.duration).unwrap_or(DURATION);
    let mut steps = match &options.scenario {
        Some(_) => scenario.faults,
        None => draw(seed, members, duration, means),
    };
    steps.sort_by_key(|step| step.at);
    let workload = [&options.workload, &scenario.workload].into_iter().find(|one| !one.is_empty());
    let workload = workload.cloned().unwrap_or_else(|| Workload::value_variants().to_vec());
    let server_flags = scenario.server_flags;
    Plan { seed, members, duration, workload, server_flags, steps }
}

/// The run as somebody would ask for it again.
fn about(options: &Options, plan: &Plan) -> String {
    let mut about = format!("keelson chaos --seed {}", print_seed(plan.seed));
    let scenario = options.scenario.iter().map(|name| format!(" --scenario {name}"));
    let server = options.server.iter().map(|path| format!(" --server {}", path.display()));
    let bug = options.bug.iter().map(|name| format!(" --bug {name}"));
    about.extend(scenario.chain(server).chain(bug));
    about.push_str(&format!(" --members {} --duration {}s", plan.members, plan.duration.as_secs()));
    about
}

/// From the start of the members until everybody has been told everything; what is wrong beyond what
/// the history shows.
async fn through(
    options: &Options,
    plan: &Plan,
    cluster: &Arc<Cluster>,
    record: &Record,
) -> Result<Vec<Finding>> {
    for at in 0..cluster.size() {
        cluster.start(at)?;
    }
    for at in 0..cluster.size() {
        cluster.ready(at).await?;
    }
    let upgrade_to = options.upgrade_to.clone();
    let faults = Arc::new(Faults::new(Arc::clone(cluster), record.clone(), upgrade_to));
    faults.are_possible(&plan.steps).await?;
    let observers = observe::start(cluster, record);
    let watchers = Watchers::open(&cluster.stores()?, &PREFIXES, record);
    let shared = Arc::new(Shared::new(record.clone()));
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let mut clients = JoinSet::new();
    for (number, workload) in
        plan.workload.iter().cycle().take(plan.workload.len() * options.clients).enumerate()
    {
        let random = SmallRng::seed_from_u64(random.random());
        let number = (number, number / plan.workload.len());
        let client = Client::new(number, cluster.stores()?, Arc::clone(&shared), random);
        clients.spawn(client.run(*workload));
    }
    let begin = tokio::time::Instant::now();
    let mut happening = JoinSet::new();
    for step in plan.steps.clone() {
        let (faults, seed) = (Arc::clone(&faults), random.random());
        happening.spawn(async move {
            tokio::time::sleep_until(begin + step.at).await;
            faults.happen(&step, seed).await;
        });
    }
    tokio::time::sleep_until(begin + plan.duration).await;
    // What takes longer than the run is waited for.
    while happening.join_next().await.is_some() {}
    faults.heal().await?;
    shared.stop.store(true, Ordering::Relaxed);
    let all = async { while clients.join_next().await.is_some() {} };
    let _those_that_hang_end_here = tokio::time::timeout(STOP_MAX, all).await;
    drop(clients);
    let mut findings = settle(cluster, record, watchers).await?;
    let wrong = faults.wrong_ends().into_iter();
    findings.extend(wrong.map(|text| finding(record, text)));
    drop(observers);
    Ok(findings)
}

/// What is wrong beyond what the history shows.
fn finding(record: &Record, text: String) -> Finding {
    let (promise, at, part) = (Promise::Members, record.now(), Vec::new());
    Finding { promise, text, at, part }
}

/// Waits until all members and watchers are where the last write is.
async fn settle(
    cluster: &Arc<Cluster>,
    record: &Record,
    watchers: Watchers,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut finding = |text: String| findings.push(finding(record, text));
    for at in 0..cluster.size() {
        if let Err(error) = cluster.ready(at).await {
            finding(format!("{} does not come back: {error:#}", name(at)));
            return Ok(findings);
        }
    }
    let last = cluster.store(0)?.revision().await?;
    let behind = watchers.settle(last).await;
    record.write(Line::Settled { at: record.now(), revision: last });
    if behind > 0 {
        finding(format!("{behind} watchers were not told of everything up to revision {last}"));
    }
    let end = Instant::now() + EQUAL_MAX;
    loop {
        let hashes = hashes(cluster, last).await;
        match hashes {
            Ok(hashes) if hashes.windows(2).all(|pair| pair[0] == pair[1]) => break,
            outcome if Instant::now() > end => {
                finding(format!("members do not hold the same at revision {last}: {outcome:?}"));
                break;
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    Ok(findings)
}

/// What each member's content hashes to.
async fn hashes(cluster: &Cluster, revision: i64) -> Result<Vec<(u32, i64)>> {
    let mut hashes = Vec::new();
    for at in 0..cluster.size() {
        let mut client = MaintenanceClient::new(cluster.store(at)?.channel());
        let answer = client.hash_kv(pb::HashKvRequest { revision }).await?.into_inner();
        hashes.push((answer.hash, answer.compact_revision));
    }
    Ok(hashes)
}

fn keep_files(from: &Path, to: &PathBuf) -> Result<()> {
    std::fs::create_dir_all(to)?;
    let mut copy = Command::new("cp");
    copy.arg("-a").arg("--sparse=always").arg("--").arg(from.join(".")).arg(to);
    ensure!(copy.status()?.success(), "copy the members' files to {}", to.display());
    Ok(())
}

fn write(options: &Options, plan: &Plan, recorded: &Recorded, verdict: &Verdict) -> Result<()> {
    let broken = !verdict.findings.is_empty();
    let usual = PathBuf::from(format!("keelson-chaos-{}.jsonl", print_seed(plan.seed)));
    if let Some(file) = options.history.as_ref().or(broken.then_some(&usual)) {
        let mut text = serde_json::to_string(&recorded.header)?;
        for line in &recorded.lines {
            text.push('\n');
            text.push_str(&serde_json::to_string(line)?);
        }
        text.push('\n');
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        println!("the history is in {}", file.display());
    }
    if let Some(file) = &options.report {
        let page = report::page(recorded, verdict)?;
        std::fs::write(file, page).with_context(|| format!("write {}", file.display()))?;
        println!("the report is in {}", file.display());
    }
    Ok(())
}
