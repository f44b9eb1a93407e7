//! What `keelson chaos` can be told.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// `keelson chaos`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Instead of a run.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// What faults come when, and what clients ask for; without it one is drawn and printed.
    #[arg(long, value_parser = seed)]
    pub seed: Option<u64>,
    /// A ready scenario (`keelson chaos list`), or a YAML file (docs/chaos.md), instead of faults by
    /// the seed.
    #[arg(long, value_name = "NAME|FILE")]
    pub scenario: Option<String>,
    /// How long clients ask; where a scenario says nothing else, 30s.
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Members; where a scenario says nothing else, 3.
    #[arg(long)]
    pub members: Option<usize>,
    /// An etcd to test in place of the own store.
    #[arg(long, value_name = "BINARY")]
    pub server: Option<PathBuf>,
    /// The binary to which the fault `upgrade` goes.
    #[arg(long, value_name = "BINARY")]
    pub upgrade_to: Option<PathBuf>,
    /// Plant a bug in every member, in a build that has them (`make failpoints`).
    #[arg(long, value_name = "NAME", conflicts_with = "server")]
    pub bug: Option<String>,
    /// More flags for every member.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub server_flag: Vec<String>,
    /// What clients do.
    #[arg(long, value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// Clients of each workload.
    #[arg(long, default_value_t = 2)]
    pub clients: usize,
    /// How members reach one another.
    #[arg(long, value_enum, default_value_t = Net::Auto)]
    pub network: Net,
    /// Write the history here, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Write the report here: one HTML page that needs no other.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Keep data and logs of the members here.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Runs inside of the namespaces, with its files here.
    #[arg(long, hide = true)]
    pub inside: Option<PathBuf>,
}

/// What else can be done.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Clear away what a run that was killed has left.
    Clean,
    /// The ready scenarios.
    List,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Reads, writes, deletes and swaps of a few keys.
    Register,
    /// Lists that only grow.
    Append,
    /// Transactions over several keys.
    Transactions,
    /// Objects changed on the condition that nobody else has; lists of them.
    Kubernetes,
    /// Leases renewed, left to end, revoked, with keys on them.
    Leases,
    /// Locks held by leases.
    Locks,
    /// Elections.
    Elections,
    /// Old revisions are forgotten.
    Compactions,
}

/// How members reach one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Net {
    /// Namespaces where root allows and no fault needs a proxy, else proxies.
    Auto,
    /// Each member has a network of its own; packets are dropped by the kernel.
    Namespaces,
    /// All on loopback, with a proxy before each member's peer port.
    Proxies,
}

/// What stands before a seed: other versions draw other faults from the same number.
const SEEDS: &str = "c2-";

/// A seed as it is printed.
pub fn print_seed(seed: u64) -> String {
    format!("{SEEDS}{seed}")
}

/// A seed as it was printed, or any number.
fn seed(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix(SEEDS).unwrap_or(text);
    match text.split_once('-') {
        Some((version, _)) if number == text => Err(format!(
            "{text} is a seed of another version ({version}): this one draws other faults from it; \
             its seeds are like {SEEDS}1"
        )),
        _ => number.parse().map_err(|_| format!("{text:?} is no seed: a number, or {SEEDS}NUMBER")),
    }
}

/// `30s`, `500ms`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = jiff::SignedDuration::from_str(text).map_err(|error| error.to_string())?;
    Duration::try_from(parsed).map_err(|_| "a duration is not negative".to_owned())
}
