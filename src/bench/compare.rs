//! Ours and a rival etcd on the same machine, in alternating runs, as ratios.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};

use super::load::{self, Load};
use super::target::Target;
use super::workload::Workload;
use super::{ports, report};

/// How long a cluster may take to answer its first linearizable read.
const START_MAX: Duration = Duration::from_secs(60);

/// `keelson bench compare`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The rival's binary; it is started with etcd's flags.
    #[arg(long, default_value = "etcd")]
    pub rival: PathBuf,
    /// Numbers of members to try.
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    pub members: Vec<usize>,
    /// What to load them with.
    #[command(flatten)]
    pub load: Load,
    /// Runs of each side.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Where the members keep their data while it runs.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub work_dir: PathBuf,
}

/// Figures of one side at one setting, one entry a round.
#[derive(Default)]
struct Side {
    rate: Vec<f64>,
    cpu: Vec<f64>,
    client_cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    memory: Vec<f64>,
}

/// Runs all rounds and prints medians, their spread, and the ratios.
pub async fn run(options: Options) -> Result<()> {
    let ours = std::env::current_exe().context("find the own binary")?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "MEMBERS",
        "WORKLOAD",
        "CLIENTS",
        "",
        "PER SECOND",
        "P50 MS",
        "P99 MS",
        "CPU µS A REQUEST",
        "MIB",
        "CLIENT CPU µS",
    ]);
    options.load.check()?;
    for members in &options.members {
        for workload in &options.load.workload {
            for clients in &options.load.clients {
                let mut sides = [Side::default(), Side::default()];
                for _ in 0..options.rounds.max(1) {
                    round(&options, &ours, *members, *workload, *clients, &mut sides).await?;
                }
                rows(&mut table, *members, *workload, *clients, &sides);
            }
        }
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}

/// Each side once, ours first.
async fn round(
    options: &Options,
    ours: &Path,
    members: usize,
    workload: Workload,
    clients: usize,
    sides: &mut [Side; 2],
) -> Result<()> {
    for (side, result) in sides.iter_mut().enumerate() {
        let cluster = match side {
            0 => Cluster::start(ours, &["store"], members, &options.work_dir).await?,
            _ => Cluster::start(&options.rival, &[], members, &options.work_dir).await?,
        };
        let target = Target { endpoints: cluster.endpoints.clone(), ..Target::default() };
        let pids: Vec<u32> = cluster.children.iter().map(Child::id).collect();
        let outcome = load::one(&target, &options.load, &pids, workload, clients).await?;
        report::warn(&outcome);
        result.rate.push(outcome.rate());
        result.cpu.push(outcome.server_micros().unwrap_or(0.0));
        result.client_cpu.push(outcome.client_micros());
        result.p50.push(outcome.millis(0.5));
        result.p99.push(outcome.millis(0.99));
        result.memory.push(outcome.took.server_memory.unwrap_or(0) as f64 / f64::from(1 << 20));
    }
    Ok(())
}

fn rows(table: &mut Table, members: usize, workload: Workload, clients: usize, sides: &[Side; 2]) {
    let head = || [members.to_string(), workload.name(), clients.to_string()];
    for (name, side) in ["keelson", "rival"].iter().zip(sides) {
        let mut row = head().to_vec();
        row.push((*name).to_owned());
        let figures = [&side.rate, &side.p50, &side.p99, &side.cpu, &side.memory, &side.client_cpu];
        row.extend(figures.map(|figures| spread(figures)));
        table.add_row(row);
    }
    let ratio = |of: fn(&Side) -> &Vec<f64>| {
        format!("{:.2} ×", median(of(&sides[0])) / median(of(&sides[1])))
    };
    let mut row = head().to_vec();
    row.push("ratio".to_owned());
    row.extend([
        ratio(|side| &side.rate),
        ratio(|side| &side.p50),
        ratio(|side| &side.p99),
        ratio(|side| &side.cpu),
        ratio(|side| &side.memory),
        ratio(|side| &side.client_cpu),
    ]);
    table.add_row(row);
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median, and behind it how far the rounds lay apart.
fn spread(figures: &[f64]) -> String {
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let digits = if high >= 1000.0 { 0 } else { 2 };
    format!("{:.digits$} ({low:.digits$}-{high:.digits$})", median(figures))
}

/// Members on loopback; ended and removed when dropped.
struct Cluster {
    children: Vec<Child>,
    endpoints: Vec<String>,
    dir: PathBuf,
}

impl Cluster {
    async fn start(
        binary: &Path,
        before: &[&str],
        members: usize,
        work_dir: &Path,
    ) -> Result<Self> {
        let dir = work_dir.join(format!("keelson-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let ports = ports::free(members * 2)?;
        let peer = |index: usize| format!("http://127.0.0.1:{}", ports[index * 2 + 1]);
        let initial: Vec<String> =
            (0..members).map(|index| format!("m{index}={}", peer(index))).collect();
        let mut cluster = Self { children: Vec::new(), endpoints: Vec::new(), dir };
        for index in 0..members {
            let client = format!("http://127.0.0.1:{}", ports[index * 2]);
            let name = format!("m{index}");
            let log = File::create(cluster.dir.join(format!("{name}.log")))?;
            let child = Command::new(binary)
                .args(before)
                .args(["--name", &name])
                .arg("--data-dir")
                .arg(cluster.dir.join(&name))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer(index)])
                .args(["--initial-advertise-peer-urls", &peer(index)])
                .args(["--initial-cluster", &initial.join(",")])
                .args(["--initial-cluster-state", "new"])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("start {}", binary.display()))?;
            cluster.children.push(child);
            cluster.endpoints.push(client);
        }
        cluster.wait().await?;
        Ok(cluster)
    }

    /// Until every member answers a linearizable read.
    async fn wait(&mut self) -> Result<()> {
        let end = Instant::now() + START_MAX;
        for endpoint in self.endpoints.clone() {
            loop {
                let config =
                    GrpcStoreConfig { endpoints: vec![endpoint.clone()], ..Default::default() };
                if GrpcStore::new(&config)?.revision().await.is_ok() {
                    break;
                }
                for child in &mut self.children {
                    if let Some(status) = child.try_wait()? {
                        bail!("a member ended early ({status}); see {}", self.dir.display());
                    }
                }
                if Instant::now() > end {
                    bail!("{endpoint} did not answer within {} s", START_MAX.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _already_gone = child.kill();
            let _status = child.wait();
        }
        let _left_for_the_reader = std::fs::remove_dir_all(&self.dir);
    }
}
