//! A whole cluster, its clients and its faults in one thread, from one seed.
//!
//! Members are real ones on simulated disks, networks, clocks and time; what they do and what
//! clients are told is held against a model and a list of invariants. Everything that is random
//! comes from the seed: the same seed gives the same run, to the last poll.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clock;
mod cluster;
mod executor;
mod faults;
mod frames;
mod invariants;
mod model;
mod monitor;
mod network;
mod outcome;
mod panics;
mod plan;
mod profile;
mod run;
mod shrink;
mod story;
mod workload;

pub use monitor::Violation;
pub use profile::{Kind, Profile};
pub use run::{Failure, Report, Scenario, run};
pub use shrink::shrink;
pub use workload::Part;
