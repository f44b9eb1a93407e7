//! `keelson bench start`: memory with little data, and how long a start takes with much of it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use nix::sys::signal::Signal;
use serde_json::json;

use super::crew;
use super::load::{self, Load};
use super::members::{Members, Side};
use super::process::Usage;
use super::spread::Spread;
use super::workload::{Object, Workload};

/// Keys, bytes of their values and clients of the measurement of a small store's memory.
const SMALL_KEYS: u64 = 10_000;
const SMALL_VALUE: usize = 64;
const CLIENTS: usize = 100;

/// `keelson bench start`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// An etcd binary to measure as well.
    #[arg(long)]
    pub rival: Option<PathBuf>,
    /// Members of the store.
    #[arg(long, default_value_t = 1)]
    pub members: usize,
    /// MiB of data that the store has when it is started again, in values of 2,100 bytes.
    #[arg(long, default_value_t = 1024)]
    pub data_mib: u64,
    /// Seconds that 100 clients read and write the small store.
    #[arg(long, default_value_t = 5.0, value_parser = crew::seconds)]
    pub seconds: f64,
    /// Starts after an orderly end, and as many after `kill -9`.
    #[arg(long, default_value_t = 3)]
    pub starts: usize,
    /// Where the members keep their data while it runs.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub work_dir: PathBuf,
    /// Print JSON lines instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What is measured, in the table's order: title and key in JSON.
const LINES: [(&str, &str); 7] = [
    ("10,000 small keys, 100 clients: resident, MiB a member", "smallResidentMib"),
    ("the most of it, MiB a member", "smallPeakMib"),
    ("all data written: resident, MiB a member", "fullResidentMib"),
    ("on disk, MiB a member", "diskMib"),
    ("orderly end, start to first linearizable read of all, s", "startSeconds"),
    ("kill -9, start to first linearizable read of all, s", "startAfterKillSeconds"),
    ("after a start: resident, MiB a member", "startedResidentMib"),
];

/// Measures each side and prints one table.
pub async fn run(options: Options) -> Result<()> {
    if options.members == 0 || options.starts == 0 {
        bail!("--members and --starts must be at least 1");
    }
    let mut sides = vec![Side::Ours(None)];
    sides.extend(options.rival.clone().map(Side::Rival));
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut columns = Vec::new();
    for side in &sides {
        let figures = measure(&options, side).await?;
        if options.json {
            let figures: serde_json::Map<String, _> = LINES
                .iter()
                .zip(&figures)
                .map(|((_, key), figures)| ((*key).to_owned(), Spread::of(figures).json()))
                .collect();
            let (members, data) = (options.members, options.data_mib);
            let side = side.name();
            println!(
                "{}",
                json!({"side": side, "members": members, "dataMib": data, "figures": figures})
            );
        }
        columns.push(figures);
    }
    if options.json {
        return Ok(());
    }
    let head = std::iter::once(String::new());
    table.set_header(head.chain(sides.iter().map(|side| side.name().to_owned())));
    for (line, (title, _)) in LINES.iter().enumerate() {
        let figures = columns.iter().map(|figures| Spread::of(&figures[line]).text());
        table.add_row(std::iter::once((*title).to_owned()).chain(figures));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!("{} members, {} MiB of data", options.members, options.data_mib);
    Ok(())
}

/// The figures of each line.
async fn measure(options: &Options, side: &Side) -> Result<Vec<Vec<f64>>> {
    let mut members = Members::start(side, options.members, &options.work_dir).await?;
    let each = |bytes: u64| bytes as f64 / f64::from(1 << 20) / options.members as f64;
    let load = Load {
        seconds: options.seconds,
        keys: SMALL_KEYS,
        value_size: SMALL_VALUE,
        ..Load::default()
    };
    let target = members.target();
    let store = target.store()?;
    load::fill(&store, Object::Plain, SMALL_KEYS, SMALL_VALUE).await?;
    for workload in [Workload::Put, Workload::Get] {
        load::one(&target, &load, &members.pids(), workload, CLIENTS).await?;
    }
    let small = Usage::of(&members.pids())?;
    let size = Object::Pod.size(0);
    let count = (options.data_mib << 20) / size as u64;
    load::fill(&store, Object::Pod, count, size).await?;
    let full = Usage::of(&members.pids())?;
    let disk = members.disk_bytes();
    drop(store);
    let (mut starts, mut started) = ([Vec::new(), Vec::new()], Vec::new());
    for (kind, signal) in [Signal::SIGTERM, Signal::SIGKILL].into_iter().enumerate() {
        for _ in 0..options.starts {
            members.end(signal).await?;
            let begin = Instant::now();
            members.begin()?;
            members.ready().await?;
            starts[kind].push(begin.elapsed().as_secs_f64());
            started.push(each(Usage::of(&members.pids())?.memory));
        }
    }
    let [ended, killed] = starts;
    Ok(vec![
        vec![each(small.memory)],
        vec![each(small.peak)],
        vec![each(full.memory)],
        vec![each(disk)],
        ended,
        killed,
        started,
    ])
}
