//! `keelson chaos`: a cluster of its own, ours or etcd's, under clients and faults; and whether every
//! promise was kept.
//!
//! As root it runs in namespaces of its own for processes, network and mounts: whatever ends it, the
//! kernel takes all of it away.

mod clients;
mod cluster;
mod failpoints;
mod faults;
mod network;
mod observe;
mod options;
mod plan;
mod record;
mod report;
mod room;
mod run;
mod sandbox;
mod scenario;
mod shapes;
mod syncs;

use std::process::ExitCode;

use anyhow::Result;

pub use options::{Action, Options};

/// Runs the command; exit code as of `keelson check`.
pub fn run(options: Options) -> Result<ExitCode> {
    match &options.action {
        Some(Action::Clean) => sandbox::clean(),
        Some(Action::List) => scenario::list(),
        None => sandbox::enter(options),
    }
}
