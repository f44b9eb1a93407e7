//! `keelson bench store`: loads on a store that runs, one after the other.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::Args;
use keelson_client::{GrpcStore, Store as _};
use keelson_proto::etcdserverpb as pb;

use super::crew::{self, Plan, Took};
use super::report;
use super::requests::{PREFIX, Pace, Requests, Shape};
use super::tally::Tally;
use super::target::Target;
use super::wire::digits;
use super::workload::Workload;

/// Most connections one load opens of itself, whatever the number of clients.
const CONNECTIONS_MAX: usize = 100;
/// Keys that one transaction writes when keys are made beforehand; etcd takes 128.
const FILL_BATCH: u64 = 100;

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
    /// Seconds that each load lasts.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Requests a second, whatever the answers (open loop); without it, a client asks when answered.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    pub value_size: usize,
    /// Number of different keys.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Threads of the load tool.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

impl Load {
    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> Result<()> {
        if self.clients.contains(&0) {
            bail!("--clients must be at least 1");
        }
        if self.connections == Some(0) {
            bail!("--connections must be at least 1");
        }
        if self.seconds == 0 || self.keys == 0 || self.threads == 0 {
            bail!("--seconds, --keys and --threads must be at least 1");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            bail!("--rate must be more than 0 requests a second");
        }
        Ok(())
    }
}

/// What one load came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Kind of request.
    pub(crate) workload: Workload,
    /// Clients at once.
    pub(crate) clients: usize,
    /// Connections that they shared.
    pub(crate) connections: usize,
    /// Requests a second asked for, in an open loop.
    pub(crate) asked_rate: Option<f64>,
    /// What came of the requests.
    pub(crate) tally: Tally,
    /// What it took.
    pub(crate) took: Took,
}

impl Outcome {
    /// Requests answered.
    pub(crate) fn requests(&self) -> u64 {
        self.tally.latency.len()
    }

    /// Answered requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests() as f64 / self.took.elapsed.as_secs_f64()
    }

    /// Server CPU microseconds a request.
    pub(crate) fn server_micros(&self) -> Option<f64> {
        self.took.server_cpu.map(|cpu| self.micros(cpu))
    }

    /// The load tool's own CPU microseconds a request.
    pub(crate) fn client_micros(&self) -> f64 {
        self.micros(self.took.client_cpu)
    }

    /// Latency in milliseconds.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        self.tally.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn micros(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.requests().max(1) as f64
    }
}

/// Runs every combination and prints the outcomes.
pub async fn run(options: Options) -> Result<()> {
    options.load.check()?;
    let mut outcomes = Vec::new();
    for workload in &options.load.workload {
        for clients in &options.load.clients {
            let load = &options.load;
            outcomes.push(one(&options.target, load, &options.pids, *workload, *clients).await?);
        }
    }
    if options.json {
        report::json(&outcomes);
    } else {
        report::table(&outcomes);
    }
    Ok(())
}

/// One load.
pub(crate) async fn one(
    target: &Target,
    load: &Load,
    pids: &[u32],
    workload: Workload,
    clients: usize,
) -> Result<Outcome> {
    let dialers = target.dialers()?;
    let connections = load.connections.unwrap_or(CONNECTIONS_MAX).min(clients);
    let store = target.store()?;
    store
        .revision()
        .await
        .with_context(|| format!("reach the store at {}", target.endpoints.join(",")))?;
    fill(&store, workload.needs(load.keys), load.value_size).await?;
    drop(store);
    let shape = Shape { workload, value_size: load.value_size, keys: load.keys };
    let scripts = (0..connections)
        .map(|index| {
            let share = clients / connections + usize::from(index < clients % connections);
            let pace = load.rate.map(|rate| Pace {
                first: Duration::from_secs_f64(index as f64 / rate),
                interval: Duration::from_secs_f64(connections as f64 / rate),
            });
            Requests::new(shape, share, index as u64, pace)
        })
        .collect();
    let plan = Plan {
        dialers: &dialers,
        duration: Duration::from_secs(load.seconds),
        threads: load.threads,
        rate: load.rate,
        pids,
        title: format!("{} × {clients}", workload.name()),
    };
    let (scripts, took): (Vec<Requests>, Took) = crew::run(&plan, scripts).await?;
    let mut tally = Tally::default();
    for script in &scripts {
        tally.add(&script.tally);
    }
    Ok(Outcome { workload, clients, connections, asked_rate: load.rate, tally, took })
}

/// Makes the first `count` keys.
async fn fill(store: &GrpcStore, count: u64, value_size: usize) -> Result<()> {
    let value = Bytes::from(vec![b'x'; value_size]);
    for first in (0..count).step_by(FILL_BATCH as usize) {
        let puts = (first..count.min(first + FILL_BATCH)).map(|number| {
            let key = [PREFIX.as_bytes(), &digits(number)].concat().into();
            let put = pb::PutRequest { key, value: value.clone(), ..Default::default() };
            pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
        });
        let txn = pb::TxnRequest { success: puts.collect(), ..Default::default() };
        store.txn(txn).await.context("make the keys that are read")?;
    }
    Ok(())
}
