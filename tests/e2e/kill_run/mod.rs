//! The kill run: two hundred clients and many watchers at three members whose leader is killed
//! again and again; then everything that anybody was told is checked against the store's history.

pub(crate) mod clients;
mod killer;
pub(crate) mod watchers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keelson_check::{Event, Log, Request, Told, check_registers, check_requests, check_watcher};
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;
use keelson_tests::Members;
use pb::maintenance_client::MaintenanceClient;
use rand::{Rng as _, SeedableRng as _};

/// Clients at once.
const CLIENTS: u64 = 200;
/// Keys they share.
pub(crate) const KEYS: u64 = 300;
/// Kills, where nothing else is asked for by [`KILLS`].
const KILLS_DEFAULT: usize = 10;
/// Acknowledged writes for each kill, at least.
const WRITES_A_KILL: u64 = 1000;
/// How many kills.
const KILLS: &str = "KEELSON_KILLS";
/// Milliseconds between heartbeats, and without a leader until an election: etcd's, where nothing
/// else is asked for.
const HEARTBEAT: &str = "KEELSON_HEARTBEAT_MS";
const ELECTION: &str = "KEELSON_ELECTION_MS";
/// The seed of what clients do and of when the leader is killed.
const SEED: &str = "KEELSON_KILL_SEED";

/// What all tasks of a run share.
pub(crate) struct Run {
    started: Instant,
    pub(crate) stop: AtomicBool,
    /// Acknowledged writes so far.
    pub(crate) acknowledged: AtomicU64,
    /// The last value given out.
    values: AtomicU64,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            values: AtomicU64::new(0),
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
async fn leaders_are_killed_under_load_and_every_promise_is_kept() -> Result<()> {
    let kills = number(KILLS, KILLS_DEFAULT);
    let seed = number(SEED, rand::random());
    println!("{KILLS}={kills} {SEED}={seed}");
    run(kills, seed).await.with_context(|| format!("{KILLS}={kills} {SEED}={seed}"))
}

async fn run(kills: usize, seed: u64) -> Result<()> {
    // Small snapshots, so that some members come back by one.
    let (heartbeat, election) = (number(HEARTBEAT, 100), number(ELECTION, 1000));
    let flags = [
        "--snapshot-count=2000".to_owned(),
        "--snapshot-catchup-entries=500".to_owned(),
        format!("--heartbeat-interval={heartbeat}"),
        format!("--election-timeout={election}"),
    ];
    let mut members = Members::start_with(3, "http", &flags).await?;
    let run = Arc::new(Run::new());
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let random = rand::rngs::SmallRng::seed_from_u64(random.random());
        let client = clients::Client::new(client, stores(&members)?, Arc::clone(&run), random);
        clients.push(tokio::spawn(client.run()));
    }
    let mut watchers = watchers::Watchers::new(stores(&members)?);
    watchers.open_early();

    let killed = killer::kill(&mut members, kills, &run, &mut watchers, &mut random).await?;
    let wanted = WRITES_A_KILL * kills as u64;
    wait_until(|| run.acknowledged.load(Ordering::Relaxed) >= wanted, "enough writes").await?;
    run.stop.store(true, Ordering::Relaxed);
    let took = run.started.elapsed();
    let mut requests = Vec::new();
    for client in clients {
        requests.extend(client.await?);
    }

    let log = common_log(&members).await?;
    equal_hashes(members.endpoints(), log.last()).await?;
    let counts = check_requests(&log, &requests)?;
    check_registers(&keelson_check::registers(&log, &requests))?;
    let watched = watchers.end(&log).await?;
    for watcher in &watched {
        check_watcher(&log, watcher)?;
    }
    ensure!(counts.acknowledged as u64 >= wanted, "{counts:?} of {wanted}");
    println!(
        "{} kills in {} s: {counts:?}, {} events to each of {} watchers of all or a part",
        killed.len(),
        took.as_secs(),
        log.events().len(),
        watched.len(),
    );
    let mut pauses = pauses(&killed, &requests);
    pauses.sort_unstable();
    println!(
        "from a kill to the next acknowledged write: median {} ms, most {} ms",
        pauses[pauses.len() / 2] / 1000,
        pauses[pauses.len() - 1] / 1000
    );
    Ok(())
}

fn stores(members: &Members) -> Result<Vec<GrpcStore>> {
    (0..members.endpoints().len()).map(|index| members.client(index)).collect()
}

pub(crate) async fn wait_until(condition: impl Fn() -> bool, what: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(300);
    while !condition() {
        ensure!(Instant::now() < end, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The whole history up to now, which must be the same at every member.
async fn common_log(members: &Members) -> Result<Log> {
    let mut first: Option<Vec<Event>> = None;
    let last = members.client(0)?.revision().await?;
    for index in 0..members.endpoints().len() {
        members.ready(index).await?;
        let events = watchers::history(&members.client(index)?, last).await?;
        match &first {
            None => first = Some(events),
            Some(first) => ensure!(*first == events, "member {index} has another history"),
        }
    }
    Ok(Log::new(first.context("a member")?)?)
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

/// For each kill: microseconds until a write was answered that had been asked for after it.
fn pauses(killed: &[u64], requests: &[Request]) -> Vec<u64> {
    let writes = requests.iter().filter(|request| matches!(request.told, Told::Done(_)));
    let writes: Vec<(u64, u64)> = writes.map(|write| (write.called, write.returned)).collect();
    let pause = |kill: &u64| {
        let after = writes.iter().filter(|(called, _)| called > kill);
        after.map(|(_, returned)| returned - kill).min()
    };
    killed.iter().filter_map(pause).collect()
}
