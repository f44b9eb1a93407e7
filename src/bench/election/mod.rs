//! `keelson bench election`: how long a cluster takes no writes when its leader dies, or is stopped.

mod members;
mod writers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use rand::Rng as _;

use members::Members;
use writers::Writers;

/// The shortest and the longest time between all members being there and the next blow, in
/// milliseconds: at least a few heartbeats, and never in step with them.
const QUIET_MS: std::ops::Range<u64> = 200..600;
/// The longest pause that is told apart, in microseconds.
const PAUSE_MAX: u64 = 60_000_000;

/// `keelson bench election`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many leaders die, one after the other; each comes back.
    #[arg(long, default_value_t = 50)]
    pub kills: usize,
    /// Ask leaders to stop (SIGTERM) instead of killing them.
    #[arg(long)]
    pub planned: bool,
    /// Milliseconds between two heartbeats of the leader.
    #[arg(long, default_value_t = 20)]
    pub heartbeat_interval: u64,
    /// Milliseconds after which a member does without a leader.
    #[arg(long, default_value_t = 100)]
    pub election_timeout: u64,
    /// Members of the cluster.
    #[arg(long, default_value_t = 3)]
    pub members: usize,
    /// Clients that write all the time, spread over the members.
    #[arg(long, default_value_t = 12)]
    pub clients: usize,
    /// Measure this etcd binary instead of Keelson.
    #[arg(long)]
    pub rival: Option<PathBuf>,
    /// Where the members keep their data while it runs.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub work_dir: PathBuf,
}

/// Runs all of it and prints one table.
pub async fn run(options: Options) -> Result<()> {
    let mut members = Members::start(&options).await?;
    let writers = Writers::start(members.endpoints(), options.clients.max(1))?;
    let mut pauses = Histogram::<u64>::new_with_bounds(1, PAUSE_MAX, 3).context("histogram")?;
    let mut longest = pauses.clone();
    let mut terms = pauses.clone();
    let mut refused = 0;
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}").context("style")?;
    let bar = ProgressBar::new(options.kills as u64).with_style(style);
    for _ in 0..options.kills {
        let quiet = rand::rng().random_range(QUIET_MS);
        tokio::time::sleep(Duration::from_millis(quiet)).await;
        let (leader, term) = members.leader().await?;
        let blow = writers.blow();
        if options.planned {
            members.stop(leader).await?;
        } else {
            members.kill(leader)?;
        }
        let pause = blow.pause().await?;
        let (_, now) = members.leader().await?;
        members.start_one(leader)?;
        members.ready(leader).await?;
        let outcome = writers.since(blow);
        record(&mut pauses, if options.planned { outcome.gap } else { pause })?;
        record(&mut longest, outcome.longest)?;
        terms.record(now.saturating_sub(term).max(1)).context("terms")?;
        refused += outcome.refused;
        bar.inc(1);
        bar.set_message(format!("last {} ms", pause.as_millis()));
    }
    bar.finish_and_clear();

    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["MILLISECONDS", "COUNT", "MEDIAN", "P90", "P95", "P99", "MOST"]);
    let first = match options.planned {
        true => "longest time without an acknowledged write",
        false => "kill to first acknowledged write",
    };
    row(&mut table, first, &pauses);
    row(&mut table, "longest write of a client, retries included", &longest);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!(
        "heartbeats {} ms, elections {} ms; writes refused or lost: {refused}; terms a leader: {:.2}, at most {}",
        options.heartbeat_interval,
        options.election_timeout,
        terms.mean(),
        terms.max(),
    );
    Ok(())
}

fn record(histogram: &mut Histogram<u64>, time: Duration) -> Result<()> {
    let micros = u64::try_from(time.as_micros()).unwrap_or(PAUSE_MAX);
    histogram.record(micros.clamp(1, PAUSE_MAX)).context("histogram")
}

fn row(table: &mut Table, name: &str, figures: &Histogram<u64>) {
    let millis = |micros: u64| format!("{:.1}", micros as f64 / 1000.0);
    let at = |quantile| millis(figures.value_at_quantile(quantile));
    let (count, most) = (figures.len().to_string(), millis(figures.max()));
    table.add_row([name.to_owned(), count, at(0.5), at(0.9), at(0.95), at(0.99), most]);
}
