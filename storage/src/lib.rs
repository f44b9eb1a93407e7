//! One machine's store: WAL, MVCC, leases, users and roles, watch hub.
//!
//! Deterministic and synchronous: what a member does with its log depends on the log alone.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth;
pub mod background;
pub mod backup;
pub mod bolt;
pub mod command;
pub mod compactor;
pub mod disk;
pub mod engine;
pub mod entry;
pub mod import;
pub mod lease;
pub mod machine;
pub mod measures;
pub mod mvcc;
pub mod snapshot;
pub mod view;
pub mod wal;
pub mod watch;
