//! `keelson bench store`: loads on a store that runs, one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::Args;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;

use super::crew::{self, Plan};
use super::echo::Echo;
use super::fan::{Fan, Part, Speed, Watchers, Writer};
use super::outcome::Outcome;
use super::pace::Pace;
use super::requests::{Requests, Shape};
use super::tally::Tally;
use super::target::Target;
use super::workload::{Object, Workload};
use super::{ask, flame, plot, report};

/// Most connections one load opens of itself, whatever the number of clients.
pub(crate) const CONNECTIONS_MAX: usize = 100;
/// Keys that one transaction writes when keys are made beforehand; etcd takes 128 of them.
const FILL_BATCH: u64 = 100;
/// Bytes of their values, as etcd takes 1.5 MiB in one request.
const FILL_BYTES: u64 = 1 << 20;
/// Such requests on their way at once.
const FILL_AT_ONCE: usize = 32;
/// Seconds that leases live without a keep-alive: longer than any load.
const LEASE_TTL: i64 = 3600;

/// `keelson bench store`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The store.
    #[command(flatten)]
    pub target: Target,
    /// What to load it with.
    #[command(flatten)]
    pub load: Load,
    /// Process ids of the servers, to measure their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Print JSON lines instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Write charts of rates, latencies and CPU to this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// A load, wherever it goes.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Numbers of clients to try, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
    pub clients: Vec<usize>,
    /// Connections that the clients share; one each up to 100 if not given.
    #[arg(long)]
    pub connections: Option<usize>,
    /// Kinds of request to try.
    #[arg(long, value_delimiter = ',', default_value = "put")]
    pub workload: Vec<Workload>,
    /// Seconds that each load lasts; may be a part of one.
    #[arg(long, default_value_t = 5.0, value_parser = crew::seconds)]
    pub seconds: f64,
    /// Requests a second, whatever the answers (open loop); without it, a client asks when answered.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    pub value_size: usize,
    /// Number of different keys.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Leases of the keep-alive loads.
    #[arg(long, default_value_t = 10_000)]
    pub leases: usize,
    /// Numbers of watchers of a watch load to try (instead of --clients).
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    pub watchers: Vec<usize>,
    /// Streams that the watchers share.
    #[arg(long, default_value_t = 10)]
    pub streams: usize,
    /// Streams beside those, of one watcher each, that are read at 64 KiB a second.
    #[arg(long, default_value_t = 0)]
    pub slow_streams: usize,
    /// Puts on their way at once in a watch load without --rate: one ends when all have its event.
    #[arg(long, default_value_t = 10)]
    pub writers: usize,
    /// Record a profile of the servers during each load and write a flame graph SVG there.
    #[arg(long, value_name = "DIR")]
    pub profile: Option<PathBuf>,
    /// Threads of the load tool.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

impl Default for Load {
    /// As if no flag was given.
    fn default() -> Self {
        Self {
            clients: vec![1, 100, 1000],
            connections: None,
            workload: vec![Workload::Put],
            seconds: 5.0,
            rate: None,
            value_size: 256,
            keys: 100_000,
            leases: 10_000,
            watchers: vec![1000],
            streams: 10,
            slow_streams: 0,
            writers: 10,
            profile: None,
            threads: 1,
        }
    }
}

impl Load {
    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> Result<()> {
        let counts = [
            ("--clients", self.clients.iter().copied().min()),
            ("--watchers", self.watchers.iter().copied().min()),
            ("--connections", self.connections),
            ("--keys", Some(self.keys as usize)),
            ("--leases", Some(self.leases)),
            ("--streams", Some(self.streams)),
            ("--writers", Some(self.writers)),
            ("--threads", Some(self.threads)),
        ];
        if let Some((flag, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            bail!("{flag} must be at least 1");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            bail!("--rate must be more than 0 requests a second");
        }
        if let Some(dir) = &self.profile {
            flame::check(dir)?;
        }
        Ok(())
    }

    /// Every load that is asked for: what, and how many clients or watchers.
    pub(crate) fn each(&self) -> Vec<(Workload, usize)> {
        let counts = |workload| match workload {
            Workload::Watch => &self.watchers,
            _ => &self.clients,
        };
        let each = |workload: &Workload| {
            let workload = *workload;
            counts(workload).iter().map(move |count| (workload, *count)).collect::<Vec<_>>()
        };
        self.workload.iter().flat_map(each).collect()
    }

    fn connections_for(&self, workload: Workload, clients: usize) -> usize {
        let users = if workload == Workload::Watch { self.streams.min(clients) } else { clients };
        self.connections.unwrap_or(CONNECTIONS_MAX).min(users)
    }
}

/// Runs every combination and prints the outcomes.
pub async fn run(options: Options) -> Result<()> {
    if options.load.profile.is_some() && options.pids.is_empty() {
        bail!("--profile needs --pids, the processes to record");
    }
    options.load.check()?;
    if let Some(svg) = &options.svg {
        plot::check(svg)?;
    }
    let mut outcomes = Vec::new();
    for (workload, clients) in options.load.each() {
        let (target, load) = (&options.target, &options.load);
        outcomes.push(one(target, load, &options.pids, workload, clients).await?);
    }
    if options.json {
        report::json(&outcomes);
    } else {
        report::table(&outcomes);
    }
    if let Some(svg) = &options.svg {
        let heading = format!("load on {}", options.target.endpoints.join(", "));
        plot::write(svg, &heading, &report::plots(&outcomes))?;
    }
    Ok(())
}

/// One load. `clients` are watchers where the load is one of watchers.
pub(crate) async fn one(
    target: &Target,
    load: &Load,
    pids: &[u32],
    workload: Workload,
    clients: usize,
) -> Result<Outcome> {
    let dialers = target.dialers()?;
    let store = target.store()?;
    store
        .revision()
        .await
        .with_context(|| format!("reach the store at {}", target.endpoints.join(",")))?;
    if let Some((object, count)) = workload.needs(load.keys) {
        fill(&store, object, count, object.size(load.value_size)).await?;
    }
    let leases: Arc<[i64]> = match workload.needs_leases() {
        true => grant(&store, load.leases).await?.into(),
        false => Arc::new([]),
    };
    let connections = load.connections_for(workload, clients);
    let plan = Plan {
        dialers: &dialers,
        duration: Duration::from_secs_f64(load.seconds),
        threads: load.threads,
        rate: load.rate,
        paced_from: 0,
        pids,
        title: format!("{} × {clients}", workload.name()),
        profile: load.profile.as_deref(),
    };
    let pace = |index| load.rate.map(|rate| Pace::new(rate, index, connections));
    let shares = || shares(clients, connections).into_iter().enumerate();
    let mut outcome = Outcome {
        name: workload.name(),
        clients,
        connections,
        asked_rate: load.rate,
        ..Outcome::default()
    };
    match workload {
        Workload::Watch => watch(&mut outcome, plan, load).await?,
        Workload::WatchLatency => {
            let scripts = shares().map(|(index, (first, share))| {
                Echo::new(share, first as u64, load.value_size, pace(index))
            });
            let (scripts, took) = crew::run(&plan, scripts.collect()).await?;
            scripts.iter().for_each(|script: &Echo| outcome.tally.add(&script.tally));
            outcome.took = took;
        }
        _ => {
            let (value_size, keys, held) = (load.value_size, load.keys, Arc::clone(&leases));
            let shape = Shape { workload, value_size, keys, leases: held };
            let scripts = shares().map(|(index, (first, share))| {
                Requests::new(shape.clone(), share, first as u64, pace(index))
            });
            let (scripts, took) = crew::run(&plan, scripts.collect()).await?;
            scripts.iter().for_each(|script: &Requests| outcome.tally.add(&script.tally));
            outcome.took = took;
        }
    }
    many(&store, &leases, |store, id| async move { store.lease_revoke(id).await }).await?;
    Ok(outcome)
}

/// Each connection's first client and how many it has.
pub(crate) fn shares(clients: usize, connections: usize) -> Vec<(usize, usize)> {
    let mut first = 0;
    let share = |index| {
        let share = clients / connections + usize::from(index < clients % connections);
        first += share;
        (first - share, share)
    };
    (0..connections).map(share).collect()
}

async fn watch(outcome: &mut Outcome, plan: Plan<'_>, load: &Load) -> Result<()> {
    let streams = load.streams.min(outcome.clients);
    let fan = Fan::new(outcome.clients as u64);
    let mut scripts = Vec::new();
    let part = |connections: usize, speed, streams: &[usize], scripts: &mut Vec<_>| {
        for (first, share) in shares(streams.len(), connections) {
            let watchers = Watchers::new(&fan, speed, &streams[first..first + share]);
            scripts.push(Part::Left(watchers));
        }
    };
    let sizes: Vec<usize> =
        shares(outcome.clients, streams).into_iter().map(|(_, share)| share).collect();
    part(outcome.connections, Speed::Full, &sizes, &mut scripts);
    if load.slow_streams > 0 {
        let connections = load.slow_streams.min(CONNECTIONS_MAX);
        part(connections, Speed::Slow, &vec![1; load.slow_streams], &mut scripts);
    }
    let pace = load.rate.map(|rate| Pace::new(rate, 0, 1));
    let depth = load.writers as u64;
    let plan = Plan { paced_from: scripts.len(), ..plan };
    scripts.push(Part::Right(Writer::new(&fan, depth, load.value_size, pace)));
    let (scripts, took) = crew::run(&plan, scripts).await?;
    let (mut events, mut slow) = (Tally::default(), Tally::default());
    for script in &scripts {
        match script {
            Part::Left(watchers) if watchers.full_speed() => events.add(&watchers.tally),
            Part::Left(watchers) => slow.add(&watchers.tally),
            Part::Right(writer) => outcome.tally.add(&writer.tally),
        }
    }
    outcome.streams = Some(streams);
    outcome.took = took;
    outcome.events = Some(events);
    outcome.slow = (load.slow_streams > 0).then_some(slow);
    Ok(())
}

/// Makes the first `count` keys of a kind.
pub(crate) async fn fill(
    store: &GrpcStore,
    object: Object,
    count: u64,
    value_size: usize,
) -> Result<()> {
    let batch = (FILL_BYTES / value_size.max(1) as u64).clamp(1, FILL_BATCH);
    let value = Bytes::from(vec![b'x'; value_size]);
    let firsts: Vec<u64> = (0..count).step_by(batch as usize).collect();
    let txn = |store: GrpcStore, first: u64| {
        let puts = (first..count.min(first + batch)).map(|number| {
            let key = ask::key(object, number);
            let put = pb::PutRequest { key, value: value.clone(), ..Default::default() };
            pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
        });
        let txn = pb::TxnRequest { success: puts.collect(), ..Default::default() };
        async move { store.txn(txn).await.map(drop) }
    };
    many(store, &firsts, txn).await.context("make the keys that are read")
}

async fn grant(store: &GrpcStore, count: usize) -> Result<Vec<i64>> {
    let first = i64::from(rand::random::<u32>()) << 24;
    let ids: Vec<i64> = (1..=count as i64).map(|number| first + number).collect();
    let grant = |store: GrpcStore, id| async move { store.lease_grant(id, LEASE_TTL).await };
    many(store, &ids, |store, id| {
        let granted = grant(store, id);
        async move { granted.await.map(drop) }
    })
    .await
    .context("grant leases")?;
    Ok(ids)
}

/// Does something with each item, a few at once.
async fn many<T: Copy, E: std::error::Error + Send + Sync + 'static, F>(
    store: &GrpcStore,
    items: &[T],
    mut each: impl FnMut(GrpcStore, T) -> F,
) -> Result<()>
where
    F: Future<Output = Result<(), E>>,
{
    let mut waiting = FuturesUnordered::new();
    for item in items {
        waiting.push(each(store.clone(), *item));
        if waiting.len() >= FILL_AT_ONCE {
            waiting.next().await.transpose()?;
        }
    }
    while waiting.next().await.transpose()?.is_some() {}
    Ok(())
}
