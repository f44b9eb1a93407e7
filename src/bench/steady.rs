//! `keelson bench steady`: whether puts stay as fast while the store does something large.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use keelson_client::{GrpcStore, Store as _};
use serde_json::{Value, json};

use super::background::{Background, Under};
use super::crew::{self, Plan, Took};
use super::load;
use super::members::{Members, Side};
use super::pace::Pace;
use super::process::Usage;
use super::requests::{Requests, Shape};
use super::spread::Spread;
use super::tally::Tally;
use super::target::Target;
use super::wire::{Dialer, Either};
use super::workload::{Object, Workload};

/// Bytes of the values that are put.
const VALUE: usize = 256;
/// Keys that are put: few, so that what is put makes revisions and not data.
const KEYS: u64 = 10_000;
/// Clients, and how long at a time, when revisions are written beforehand.
const WRITERS: usize = 500;
const WRITE_STEP: Duration = Duration::from_secs(2);

/// `keelson bench steady`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What is to go on beside the puts.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "full-range,snapshot,lagging-watcher,compaction"
    )]
    pub under: Vec<Under>,
    /// Measure this etcd binary instead of our own store.
    #[arg(long)]
    pub rival: Option<PathBuf>,
    /// Members of the store.
    #[arg(long, default_value_t = 1)]
    pub members: usize,
    /// MiB of data that the store has, in values of 2,100 bytes.
    #[arg(long, default_value_t = 200)]
    pub data_mib: u64,
    /// Revisions that a compaction removes and that a lagging watcher is behind.
    #[arg(long, default_value_t = 500_000)]
    pub revisions: i64,
    /// Clients that put.
    #[arg(long, default_value_t = 100)]
    pub clients: usize,
    /// Connections that they share; one each up to 100 if not given.
    #[arg(long)]
    pub connections: Option<usize>,
    /// Puts a second, whatever the answers (open loop); without it, a client puts when answered.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seconds that each measurement lasts.
    #[arg(long, default_value_t = 10.0, value_parser = crew::seconds)]
    pub seconds: f64,
    /// Pairs of measurements, quiet and not.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Where the members keep their data while it runs.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub work_dir: PathBuf,
    /// Print JSON lines instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl Options {
    fn check(&self) -> Result<()> {
        let counts = [
            ("--clients", self.clients),
            ("--connections", self.connections.unwrap_or(1)),
            ("--members", self.members),
            ("--rounds", self.rounds),
        ];
        if let Some((flag, _)) = counts.iter().find(|(_, count)| *count == 0) {
            bail!("{flag} must be at least 1");
        }
        if self.revisions < 1 {
            bail!("--revisions must be at least 1");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            bail!("--rate must be more than 0 puts a second");
        }
        Ok(())
    }

    fn connections(&self) -> usize {
        self.connections.unwrap_or(load::CONNECTIONS_MAX).min(self.clients)
    }
}

/// A measurement.
struct Figures {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

impl Figures {
    fn of(tally: &Tally, took: &Took) -> Self {
        let millis = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
        let cpu = took.server_cpu.unwrap_or_default().as_secs_f64() * 1e6;
        Self {
            rate: tally.latency.len() as f64 / took.elapsed.as_secs_f64(),
            p50: millis(0.5),
            p99: millis(0.99),
            cpu: cpu / tally.latency.len().max(1) as f64,
        }
    }
}

/// All measurements beside one kind of work.
struct Pairs {
    under: Under,
    pairs: Vec<(Figures, Figures)>,
    rounds: u64,
    bytes: u64,
    /// How long the measurements beside it lasted, in seconds.
    seconds: Vec<f64>,
    peak: u64,
}

/// The store under measurement.
struct Bench<'a> {
    options: &'a Options,
    dialers: Vec<Dialer>,
    target: Target,
    store: GrpcStore,
    pids: Vec<u32>,
    /// The oldest revision that is still there.
    oldest: i64,
}

/// Fills a store, measures, and prints quiet figures, the others, and their ratios.
pub async fn run(options: Options) -> Result<()> {
    options.check()?;
    let side = options.rival.clone().map_or(Side::Ours(None), Side::Rival);
    let members = Members::start(&side, options.members, &options.work_dir).await?;
    let target = members.target();
    let mut bench = Bench {
        options: &options,
        dialers: target.dialers()?,
        store: target.store()?,
        target,
        pids: members.pids(),
        oldest: 1,
    };
    let size = Object::Pod.size(0);
    let count = (options.data_mib << 20) / size as u64;
    load::fill(&bench.store, Object::Pod, count, size).await?;
    let mut all = Vec::new();
    for under in &options.under {
        let pairs = bench.measure(*under).await?;
        if options.json {
            println!("{}", json(&options, &side, &pairs));
        }
        all.push(pairs);
    }
    if !options.json {
        table(&options, &side, &all);
    }
    Ok(())
}

impl Bench<'_> {
    async fn measure(&mut self, under: Under) -> Result<Pairs> {
        let mut pairs =
            Pairs { under, pairs: Vec::new(), rounds: 0, bytes: 0, seconds: Vec::new(), peak: 0 };
        for _ in 0..self.options.rounds {
            if matches!(under, Under::Compaction | Under::LaggingWatcher) {
                self.age().await?;
            }
            let title = format!("quiet, before {}", under.name());
            let (quiet, took, _) = self.puts(title, None).await?;
            let quiet = Figures::of(&quiet, &took);
            let head = self.store.revision().await?;
            let work = Background::new(under, self.oldest, head);
            let (tally, took, work) = self.puts(under.name(), Some(work)).await?;
            if let Some(work) = work {
                if let Some(reason) = work.failed {
                    bail!("{} failed: {reason}", under.name());
                }
                pairs.rounds += work.rounds;
                pairs.bytes += work.bytes;
            }
            if under == Under::Compaction {
                self.oldest = head;
            }
            pairs.seconds.push(took.elapsed.as_secs_f64());
            pairs.pairs.push((quiet, Figures::of(&tally, &took)));
        }
        pairs.peak = Usage::of(&self.pids)?.peak;
        Ok(pairs)
    }

    /// Puts until as many revisions as are wanted lie behind the head.
    async fn age(&mut self) -> Result<()> {
        while self.store.revision().await? - self.oldest < self.options.revisions {
            let target = self.target.dialers()?;
            let plan = Plan {
                dialers: &target,
                duration: WRITE_STEP,
                threads: 1,
                rate: None,
                paced_from: 0,
                pids: &self.pids,
                title: "writing revisions".to_owned(),
                profile: None,
            };
            let clients = WRITERS / load::CONNECTIONS_MAX;
            let scripts = (0..load::CONNECTIONS_MAX)
                .map(|index| Requests::new(shape(), clients, index as u64, None))
                .collect();
            let (scripts, _): (Vec<Requests>, Took) = crew::run(&plan, scripts).await?;
            if scripts.iter().all(|script| script.tally.latency.is_empty()) {
                bail!("the store takes no puts");
            }
        }
        Ok(())
    }

    async fn puts(
        &self,
        title: String,
        work: Option<Background>,
    ) -> Result<(Tally, Took, Option<Background>)> {
        let connections = self.options.connections();
        let (rate, clients) = (self.options.rate, self.options.clients);
        let mut scripts: Vec<Either<Background, Requests>> =
            work.into_iter().map(Either::Left).collect();
        let paced_from = scripts.len();
        scripts.extend(load::shares(clients, connections).into_iter().enumerate().map(
            |(index, (first, share))| {
                let pace = rate.map(|rate| Pace::new(rate, index, connections));
                Either::Right(Requests::new(shape(), share, first as u64, pace))
            },
        ));
        let plan = Plan {
            dialers: &self.dialers,
            duration: Duration::from_secs_f64(self.options.seconds),
            threads: 1,
            rate,
            paced_from,
            pids: &self.pids,
            title,
            profile: None,
        };
        let (scripts, took) = crew::run(&plan, scripts).await?;
        let (mut tally, mut work) = (Tally::default(), None);
        for script in scripts {
            match script {
                Either::Left(background) => work = Some(background),
                Either::Right(requests) => tally.add(&requests.tally),
            }
        }
        if let Some(first) = &tally.first_error {
            bail!("{} puts failed; the first: {first}", tally.errors);
        }
        if tally.unsent > 0 {
            eprintln!("warning: the store did not keep up; {} puts never sent", tally.unsent);
        }
        Ok((tally, took, work))
    }
}

fn shape() -> Shape {
    Shape { workload: Workload::Put, value_size: VALUE, keys: KEYS, leases: Arc::new([]) }
}

type Of = fn(&Figures) -> f64;

const COLUMNS: [(&str, &str, Of); 4] = [
    ("PER SECOND", "perSecond", |figures| figures.rate),
    ("P50 MS", "p50Millis", |figures| figures.p50),
    ("P99 MS", "p99Millis", |figures| figures.p99),
    ("SERVER CPU µS", "serverCpuMicrosPerPut", |figures| figures.cpu),
];

impl Pairs {
    fn quiet(&self, of: Of) -> Spread {
        Spread::of(&self.pairs.iter().map(|(quiet, _)| of(quiet)).collect::<Vec<_>>())
    }

    fn under(&self, of: Of) -> Spread {
        Spread::of(&self.pairs.iter().map(|(_, under)| of(under)).collect::<Vec<_>>())
    }

    fn ratio(&self, of: Of) -> Spread {
        let ratio = |(quiet, under): &(Figures, Figures)| of(under) / of(quiet);
        Spread::of(&self.pairs.iter().map(ratio).collect::<Vec<_>>())
    }
}

fn table(options: &Options, side: &Side, all: &[Pairs]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut head = vec![side.name().to_owned(), String::new()];
    head.extend(COLUMNS.iter().map(|(title, ..)| (*title).to_owned()));
    table.set_header(head);
    for pairs in all {
        let mut row = |what: &str, spread: &dyn Fn(Of) -> Spread| {
            let mut cells = vec![pairs.under.name(), what.to_owned()];
            cells.extend(COLUMNS.iter().map(|(.., of)| spread(*of).text()));
            table.add_row(cells);
        };
        row("quiet", &|of| pairs.quiet(of));
        row("under it", &|of| pairs.under(of));
        row("ratio", &|of| pairs.ratio(of));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    let (members, data) = (options.members, options.data_mib);
    println!("{members} members, {data} MiB of data, {} revisions", options.revisions);
    for pairs in all {
        let (seconds, mib) = (Spread::of(&pairs.seconds), pairs.bytes >> 20);
        println!(
            "{}: done {} times, {mib} MiB sent, measured {:.1} s at a time; peak memory {} MiB",
            pairs.under.name(),
            pairs.rounds,
            seconds.median,
            pairs.peak >> 20,
        );
    }
}

fn json(options: &Options, side: &Side, pairs: &Pairs) -> Value {
    let figures = |spread: &dyn Fn(Of) -> Spread| -> serde_json::Map<String, Value> {
        COLUMNS.iter().map(|(_, key, of)| ((*key).to_owned(), spread(*of).json())).collect()
    };
    json!({
        "side": side.name(),
        "under": pairs.under.name(),
        "members": options.members,
        "dataMib": options.data_mib,
        "revisions": options.revisions,
        "clients": options.clients,
        "connections": options.connections(),
        "askedPerSecond": options.rate,
        "quiet": figures(&|of| pairs.quiet(of)),
        "underIt": figures(&|of| pairs.under(of)),
        "ratios": figures(&|of| pairs.ratio(of)),
        "timesDone": pairs.rounds,
        "bytesSent": pairs.bytes,
        "seconds": Spread::of(&pairs.seconds).json(),
        "serverPeakResidentBytes": pairs.peak,
    })
}
