//! The state machine as its users see it: what entries do, what readers and watchers get.

mod cluster;
mod concurrent;
mod engines;
mod kv;
mod leases;
mod snapshots;
mod watches;
