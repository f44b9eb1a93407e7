//! The kill run: two hundred clients and many watchers at three members that are killed, one or
//! all, that are stopped for a while, and whose clocks jump; then everything that anybody was told
//! is checked against the store's history.

pub(crate) mod clients;
mod killer;
pub(crate) mod load;
pub(crate) mod watchers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keelson_check::{Request, Told};
use keelson_proto::etcdserverpb as pb;
use keelson_tests::members::Own;
use keelson_tests::wall_clock::WallClocks;
use keelson_tests::{Members, scratch};
use pb::maintenance_client::MaintenanceClient;
use rand::SeedableRng as _;

use killer::{Blow, Killer};
use load::Load;

/// Clients at once.
const CLIENTS: u64 = 200;
/// Keys they share.
pub(crate) const KEYS: u64 = 300;
/// Blows, where nothing else is asked for by [`KILLS`].
const ROUNDS_DEFAULT: usize = 20;
/// Acknowledged writes for each of them, at least.
const WRITES_A_ROUND: u64 = 500;
/// How many blows.
const KILLS: &str = "KEELSON_KILLS";
/// Milliseconds between heartbeats, and without a leader until an election: etcd's, where nothing
/// else is asked for.
const HEARTBEAT: &str = "KEELSON_HEARTBEAT_MS";
const ELECTION: &str = "KEELSON_ELECTION_MS";
/// The seed of what clients do, and of who is struck when and how.
const SEED: &str = "KEELSON_KILL_SEED";

/// What all tasks of a run share.
pub(crate) struct Run {
    started: Instant,
    pub(crate) stop: AtomicBool,
    /// Acknowledged writes so far.
    pub(crate) acknowledged: AtomicU64,
    /// The last value given out.
    values: AtomicU64,
    /// Zeros are put before a value up to this size.
    value_bytes: usize,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self::with_values(0)
    }

    pub(crate) fn with_values(value_bytes: usize) -> Self {
        Self {
            started: Instant::now(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            values: AtomicU64::new(0),
            value_bytes,
        }
    }

    /// The run's clock, in microseconds.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

pub(crate) fn key(number: u64) -> String {
    format!("k{number:06}")
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_killed_and_stopped_under_load_and_every_promise_is_kept() -> Result<()> {
    let rounds = number(KILLS, ROUNDS_DEFAULT);
    let seed = number(SEED, rand::random());
    println!("{KILLS}={rounds} {SEED}={seed}");
    run(rounds, seed).await.with_context(|| format!("{KILLS}={rounds} {SEED}={seed}"))
}

async fn run(rounds: usize, seed: u64) -> Result<()> {
    // Small snapshots, so that some members come back by one.
    let (heartbeat, election) = (number(HEARTBEAT, 100), number(ELECTION, 1000));
    let flags = [
        "--snapshot-count=2000".to_owned(),
        "--snapshot-catchup-entries=500".to_owned(),
        format!("--heartbeat-interval={heartbeat}"),
        format!("--election-timeout={election}"),
    ];
    let dir = scratch::dir("members")?;
    let clocks = WallClocks::new(dir.path(), 3)?;
    let own = |index| Own { variables: clocks.variables(index), ..Own::default() };
    let mut members = Members::start_in(dir, "http", &flags, (0..3).map(own).collect()).await?;
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    let mut load = Load::start(&members, CLIENTS, 0, &mut random)?;
    let (run, started) = (Arc::clone(&load.run), Instant::now());

    let blows = Killer { members: &mut members, clocks: &clocks, random: &mut random };
    let struck = blows.strike(rounds, &mut load).await?;
    let wanted = WRITES_A_ROUND * rounds as u64;
    wait_until(|| run.acknowledged.load(Ordering::Relaxed) >= wanted, "enough writes").await?;
    let took = started.elapsed();
    let kept = load.check(&members).await?;
    ensure!(kept.counts.acknowledged as u64 >= wanted, "{:?} of {wanted}", kept.counts);
    ensure!(logged_at_other_hours(&members)? || rounds < Blow::ALL.len(), "no clock has jumped");
    println!(
        "{} blows in {} s: {:?}, {} events to each of {} watchers of all or a part",
        struck.len(),
        took.as_secs(),
        kept.counts,
        kept.events,
        kept.watchers,
    );
    for blow in Blow::ALL {
        let times: Vec<u64> =
            struck.iter().filter(|(kind, _)| *kind == blow).map(|(_, at)| *at).collect();
        let mut pauses = pauses(&times, &kept.requests);
        pauses.sort_unstable();
        let Some(longest) = pauses.last() else { continue };
        println!(
            "{blow:?}: {} times; to the next acknowledged write: median {} ms, most {} ms",
            times.len(),
            pauses[pauses.len() / 2] / 1000,
            longest / 1000
        );
    }
    Ok(())
}

/// Whether members have logged at a time that is not that of this machine.
fn logged_at_other_hours(members: &Members) -> Result<bool> {
    let now = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H"]).output()?;
    let now = String::from_utf8(now.stdout)?;
    let mut hours = std::collections::BTreeSet::new();
    for index in 0..members.endpoints().len() {
        let log = std::fs::read_to_string(members.log(index))?;
        let times = log.lines().filter_map(|line| line.split_once("\"ts\":\"")?.1.get(..13));
        hours.extend(times.map(str::to_owned));
    }
    // The run may have begun in the hour before.
    Ok(hours.len() > 2 && hours.contains(now.trim()))
}

pub(crate) async fn wait_until(condition: impl Fn() -> bool, what: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(300);
    while !condition() {
        ensure!(Instant::now() < end, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub(crate) async fn equal_hashes(endpoints: &[String], revision: i64) -> Result<()> {
    let mut hashes = Vec::new();
    for endpoint in endpoints {
        let mut client = MaintenanceClient::connect(endpoint.clone()).await?;
        let answer = client.hash_kv(pb::HashKvRequest { revision }).await?.into_inner();
        hashes.push((answer.hash, answer.compact_revision));
    }
    ensure!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "members hash to {hashes:?}");
    Ok(())
}

/// For each blow: microseconds until a write was answered that had been asked for after it.
fn pauses(struck: &[u64], requests: &[Request]) -> Vec<u64> {
    let writes = requests.iter().filter(|request| matches!(request.told, Told::Done(_)));
    let writes: Vec<(u64, u64)> = writes.map(|write| (write.called, write.returned)).collect();
    let pause = |blow: &u64| {
        let after = writes.iter().filter(|(called, _)| called > blow);
        after.map(|(_, returned)| returned - blow).min()
    };
    struck.iter().filter_map(pause).collect()
}
