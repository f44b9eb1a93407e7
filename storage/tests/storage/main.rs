//! The state machine as its users see it: what entries do, what readers and watchers get.
#![allow(clippy::unwrap_used)]

mod auth;
mod cluster;
mod concurrent;
mod engines;
mod known_bugs;
mod kv;
mod leases;
mod snapshots;
mod watches;
