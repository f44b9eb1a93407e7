//! One load on one store: so many clients, so long, one kind of request, closed loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store};
use keelson_proto::etcdserverpb as pb;
use rand::{Rng as _, SeedableRng as _};

use super::process::Usage;
use super::report;

/// Most connections one load opens, whatever the number of clients.
const CONNECTIONS_MAX: usize = 100;
/// Longest latency that is told apart, in microseconds.
const LATENCY_MAX: u64 = 60_000_000;

/// The request that every client repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Put of a random key.
    Put,
    /// Kubernetes-shaped create: a transaction that puts if the key does not exist.
    Create,
    /// Linearizable get of one key.
    Get,
    /// Serializable get of one key.
    SerializableGet,
}

/// `keelson bench store`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Client URLs of the store, comma-separated.
    #[arg(long, value_delimiter = ',', required = true)]
    pub endpoints: Vec<String>,
    /// Numbers of clients to try, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
    pub clients: Vec<usize>,
    /// Kinds of request to try.
    #[arg(long, value_delimiter = ',', default_value = "put")]
    pub workload: Vec<Workload>,
    /// Seconds that each load lasts.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    pub value_size: usize,
    /// Number of different keys.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Process ids of the servers, to measure their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// PEM file of the certificate authority, for https endpoints.
    #[arg(long)]
    pub cacert: Option<std::path::PathBuf>,
    /// PEM file of the client certificate.
    #[arg(long, requires = "key")]
    pub cert: Option<std::path::PathBuf>,
    /// PEM file of the client's key.
    #[arg(long, requires = "cert")]
    pub key: Option<std::path::PathBuf>,
    /// Print JSON lines instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What one load came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Kind of request.
    pub workload: Workload,
    /// Clients at once.
    pub clients: usize,
    /// Requests answered.
    pub requests: u64,
    /// Requests refused or lost.
    pub errors: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Latencies in microseconds.
    pub latency: Histogram<u64>,
    /// CPU time of the servers, if their process ids were given.
    pub server_cpu: Option<Duration>,
    /// Resident memory of the servers at the end, in bytes.
    pub server_memory: Option<u64>,
}

impl Outcome {
    /// Answered requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// Server CPU microseconds a request.
    pub fn cpu_micros(&self) -> Option<f64> {
        let cpu = self.server_cpu?;
        Some(cpu.as_secs_f64() * 1e6 / self.requests.max(1) as f64)
    }
}

/// Runs every combination and prints the outcomes.
pub async fn run(options: Options) -> Result<()> {
    let mut outcomes = Vec::new();
    for workload in &options.workload {
        for clients in &options.clients {
            outcomes.push(one(&options, *workload, *clients).await?);
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
pub async fn one(options: &Options, workload: Workload, clients: usize) -> Result<Outcome> {
    if clients == 0 {
        bail!("--clients must be at least 1");
    }
    let stores = connect(options, clients.min(CONNECTIONS_MAX)).await?;
    if workload != Workload::Put && workload != Workload::Create {
        fill(&stores[0], options).await?;
    }
    let bar = progress(workload, clients, options.seconds);
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let before = Usage::of(&options.pids)?;
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(clients);
    for client in 0..clients {
        let store = stores[client % stores.len()].clone();
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        let (size, keys) = (options.value_size, options.keys.max(1));
        tasks.push(tokio::spawn(async move {
            repeat(store, workload, client as u64, size, keys, &stop, &done).await
        }));
    }
    let end = start + Duration::from_secs(options.seconds);
    while Instant::now() < end {
        tokio::time::sleep((end - Instant::now()).min(Duration::from_millis(200))).await;
        bar.set_position(start.elapsed().as_millis() as u64);
        bar.set_message(format!("{} requests", done.load(Ordering::Relaxed)));
    }
    stop.store(true, Ordering::Relaxed);
    let mut latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).context("histogram")?;
    let (mut requests, mut errors) = (0, 0);
    for task in tasks {
        let (own, failed) = task.await?;
        requests += own.len();
        errors += failed;
        latency.add(own).context("histogram")?;
    }
    let elapsed = start.elapsed();
    let after = Usage::of(&options.pids)?;
    bar.finish_and_clear();
    let measured = !options.pids.is_empty();
    Ok(Outcome {
        workload,
        clients,
        requests,
        errors,
        elapsed,
        latency,
        server_cpu: measured.then(|| after.cpu.saturating_sub(before.cpu)),
        server_memory: measured.then_some(after.memory),
    })
}

async fn connect(options: &Options, connections: usize) -> Result<Vec<GrpcStore>> {
    let read = |path: &Option<std::path::PathBuf>| -> Result<Option<Vec<u8>>> {
        path.as_ref()
            .map(|path| std::fs::read(path).with_context(|| format!("read {}", path.display())))
            .transpose()
    };
    let ca_pem = read(&options.cacert)?;
    let identity_pem = read(&options.cert)?.zip(read(&options.key)?);
    let mut stores = Vec::with_capacity(connections);
    for index in 0..connections {
        let endpoint = options.endpoints[index % options.endpoints.len()].clone();
        let endpoint =
            if endpoint.contains("://") { endpoint } else { format!("http://{endpoint}") };
        let config = GrpcStoreConfig {
            endpoints: vec![endpoint.clone()],
            ca_pem: ca_pem.clone(),
            identity_pem: identity_pem.clone(),
            connections: 1,
        };
        let store = GrpcStore::new(&config)?;
        store.revision().await.with_context(|| format!("reach the store at {endpoint}"))?;
        stores.push(store);
    }
    Ok(stores)
}

/// Makes the keys that gets will ask for.
async fn fill(store: &GrpcStore, options: &Options) -> Result<()> {
    let value = Bytes::from(vec![b'x'; options.value_size]);
    let mut waiting = futures::stream::FuturesUnordered::new();
    for index in 0..options.keys.min(10_000) {
        let request =
            pb::PutRequest { key: key(index), value: value.clone(), ..Default::default() };
        waiting.push(store.put(request));
        if waiting.len() >= 64 {
            futures::StreamExt::next(&mut waiting).await.transpose()?;
        }
    }
    while futures::StreamExt::next(&mut waiting).await.transpose()?.is_some() {}
    Ok(())
}

/// One client until `stop`: latencies of what was answered, and how much was not.
async fn repeat(
    store: GrpcStore,
    workload: Workload,
    seed: u64,
    size: usize,
    keys: u64,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> (Histogram<u64>, u64) {
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    let mut latency =
        Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("the bounds are constants in order");
    let mut value = vec![0; size];
    random.fill(value.as_mut_slice());
    let value = Bytes::from(value);
    let mut errors = 0;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let answered = match workload {
            Workload::Put => {
                let key = key(random.random_range(0..keys));
                let request = pb::PutRequest { key, value: value.clone(), ..Default::default() };
                store.put(request).await.map(drop)
            }
            Workload::Create => store.txn(create(random.random(), &value)).await.map(drop),
            Workload::Get | Workload::SerializableGet => {
                let request = pb::RangeRequest {
                    key: key(random.random_range(0..keys.min(10_000))),
                    serializable: workload == Workload::SerializableGet,
                    ..Default::default()
                };
                store.range(request).await.map(drop)
            }
        };
        let micros = start.elapsed().as_micros().clamp(1, u128::from(LATENCY_MAX)) as u64;
        match answered {
            Ok(()) => {
                latency.saturating_record(micros);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                errors += 1;
                // A store that is down answers at once: do not spin on it.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    (latency, errors)
}

fn create(id: u64, value: &Bytes) -> pb::TxnRequest {
    let key = key(id);
    let compare = pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: pb::compare::CompareTarget::Mod as i32,
        key: key.clone(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(0)),
        ..Default::default()
    };
    let put = pb::PutRequest { key, value: value.clone(), ..Default::default() };
    pb::TxnRequest {
        compare: vec![compare],
        success: vec![pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }],
        failure: Vec::new(),
    }
}

fn key(index: u64) -> Bytes {
    Bytes::from(format!("/keelson/bench/{index:020}"))
}

fn progress(workload: Workload, clients: usize, seconds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seconds * 1000);
    let style = ProgressStyle::with_template("{prefix:>28} {bar:30} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_prefix(format!("{} × {clients}", report::name(workload)));
    bar
}
