//! A whole cluster, its clients and faults from one seed.
//!
//! Members, network, clients and faults are tasks of one executor on one thread, with simulated
//! time: the real code of `keelson-raft` and `keelson-storage` on simulated disks, an engine that
//! loses what was not flushed, and a network that delays, cuts and stalls. Everything that is
//! random comes from the seed: the same seed gives the same run, to the last poll.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clients;
mod cluster;
mod executor;
mod faults;
mod network;
mod run;

pub use run::{Failure, Report, Scenario, run};
