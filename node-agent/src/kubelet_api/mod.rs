//! The kubelet API: pods, logs, exec, attach and port-forward, health, stats and metrics of this node.

mod auth;
mod logs;
mod metrics;
mod router;
mod serve;
mod stats;
mod stream;
mod tunnel;

pub(crate) use router::router;
pub(crate) use serve::{serve_connection, serve_tls};
