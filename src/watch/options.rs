//! What `keelson watch` can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use crate::up::duration;

/// `keelson watch`.
#[derive(Debug, Clone, Args)]
#[command(
    group = ArgGroup::new("start").args(["from", "from_oldest", "list"]),
    group = ArgGroup::new("file").args(["bookmark", "at_least_once", "at_most_once"])
)]
pub struct Options {
    /// Keys that begin so; '' is all keys.
    pub prefix: String,
    /// The one key PREFIX, not all that begin so.
    #[arg(long)]
    pub exact: bool,
    /// Client URLs of the members; when one fails the next is asked.
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    /// Certificates of the authorities to trust, as PEM.
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// The certificate to show, as PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Whom to be, where the store asks: NAME:PASSWORD, or NAME with --password-file.
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    pub user: Option<String>,
    /// The password is the first line of this file.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// Begin with the changes of this revision; without a start, with the next change.
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(1..))]
    pub from: Option<i64>,
    /// Begin with the oldest change that the store still keeps.
    #[arg(long)]
    pub from_oldest: bool,
    /// Begin with every key as it is now, then every change since.
    #[arg(long)]
    pub list: bool,

    /// Keep the position here and go on from it: written once a second, and at the end.
    #[arg(long, value_name = "FILE")]
    pub bookmark: Option<PathBuf>,
    /// The same, written after each change that was handed on: after a crash the last may come again.
    #[arg(long, value_name = "FILE")]
    pub at_least_once: Option<PathBuf>,
    /// The same, written before each change is handed on: after a crash the last may be missing.
    #[arg(long, value_name = "FILE")]
    pub at_most_once: Option<PathBuf>,
    /// What to do if what comes next is compacted away.
    #[arg(long, value_enum, default_value_t = OnCompaction::Stop)]
    pub on_compaction: OnCompaction,

    /// Show each key as it was before, too.
    #[arg(long)]
    pub prev_kv: bool,
    /// Print how far the watcher is, when it comes further without a change.
    #[arg(long, conflicts_with = "exec")]
    pub progress: bool,
    /// After so long without a change ask how far the store is, and whether the member lives.
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "5s")]
    pub idle: Duration,
    /// End after so many lines.
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End when no endpoint has answered for so long; without it, try for ever.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub patience: Option<Duration>,
    /// Say nothing of members that fail.
    #[arg(short, long)]
    pub quiet: bool,

    /// Run this by `sh -c` for each line, which it gets as its input, one after the other; see
    /// KEELSON_TYPE, KEELSON_KEY and KEELSON_REVISION.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// How long a command may take; then it is killed, and has failed.
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "60s", requires = "exec")]
    pub exec_timeout: Duration,
    /// How often a command that failed is run again.
    #[arg(long, value_name = "TIMES", default_value_t = 0, requires = "exec")]
    pub retries: u32,
    /// What follows when it still fails: stop ends with exit code 4, skip says so and goes on.
    #[arg(long, value_enum, default_value_t = OnFailure::Stop, requires = "exec")]
    pub on_failure: OnFailure,
}

/// What to do about changes that nobody has any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnCompaction {
    /// Say so, and end with exit code 3.
    Stop,
    /// Print a line of type COMPACTED, and go on with the oldest that is kept.
    Oldest,
    /// Print every key as it is now between lines RESYNC and RESYNCED, and go on from there.
    Resync,
}

/// What to do about a command that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// End.
    Stop,
    /// Go on with the next.
    Skip,
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing takes no time".to_owned()),
        some => Ok(some),
    }
}
