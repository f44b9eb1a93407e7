//! Starts the built binary and its peers for the tests: processes, clients, images.

pub mod certificates;
pub mod cluster;
pub mod command;
pub mod https;
pub mod image;
pub mod members;
pub mod pods;
// The binary has the same need, and is no library.
#[path = "../../src/bench/ports.rs"]
pub mod ports;
pub mod printing;
pub mod proxy;
pub mod registry;
#[path = "../../src/scratch.rs"]
pub mod scratch;
pub mod small_disk;
pub mod store;
pub mod table;
pub mod wait;
pub mod wall_clock;
pub mod webhook;
pub mod workload;

pub use cluster::{Cluster, Settings};
pub use command::{Output, run};
pub use members::Members;
pub use store::StoreProcess;
