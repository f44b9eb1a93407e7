//! `keelson bench`: loads a store, ours or any etcd v3 endpoint, and says what it costs.

mod compare;
mod load;
mod process;
mod report;

use anyhow::Result;
use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Load running etcd v3 endpoints and print rate, latency and (with --pids) server CPU.
    Store(load::Options),
    /// Start keelson and a rival etcd side by side on loopback, alternate runs, print ratios.
    Compare(compare::Options),
}

impl Bench {
    /// Runs it to the end.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Store(options) => load::run(options).await,
            Self::Compare(options) => compare::run(options).await,
        }
    }
}
