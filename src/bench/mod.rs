//! `keelson bench`: what a store, ours or any etcd v3 endpoint, and a whole control plane cost.

mod api;
mod ask;
mod background;
mod cluster;
mod compare;
mod crew;
mod echo;
mod election;
mod fan;
mod flame;
mod image;
mod load;
mod members;
mod outcome;
mod pace;
mod plot;
pub mod ports;
mod process;
mod report;
mod requests;
mod spread;
mod start;
mod steady;
mod tally;
mod target;
mod watching;
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
    /// Start a store and measure whether puts stay as fast while it does something large.
    Steady(steady::Options),
    /// Start a store and measure its memory, and how long it takes to start again with much data.
    Start(start::Options),
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
            Self::Steady(options) => steady::run(options).await,
            Self::Start(options) => start::run(options).await,
            Self::Cluster(options) => cluster::run(options).await,
            Self::Election(options) => election::run(options).await,
        }
    }
}
