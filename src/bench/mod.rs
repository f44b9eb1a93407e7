//! `keelson bench`: what a store, ours or any etcd v3 endpoint, and a whole control plane cost.

mod api;
mod cluster;
mod compare;
mod crew;
mod election;
mod image;
mod load;
mod ports;
mod process;
mod report;
mod requests;
mod tally;
mod target;
mod wire;
mod workload;

use anyhow::Result;
use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Load running etcd v3 endpoints and print rate, latency and (with --pids) server CPU.
    Store(load::Options),
    /// Start keelson and a rival etcd side by side on loopback, alternate runs, print ratios.
    Compare(compare::Options),
    /// Start whole control planes and measure start, idle cost and pods (needs root).
    Cluster(cluster::Options),
    /// Kill, or stop, leader after leader and print how long no write is acknowledged.
    Election(election::Options),
}

impl Bench {
    /// Runs it to the end.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Store(options) => load::run(options).await,
            Self::Compare(options) => compare::run(options).await,
            Self::Cluster(options) => cluster::run(options).await,
            Self::Election(options) => election::run(options).await,
        }
    }
}
