//! The etcd face of a store handle.
//!
//! One folder a service, one file a method; [`serve`] puts them on a port, beside `/health` and
//! the other HTTP paths, and [`EtcdFace`] calls the same functions in this process.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
mod begun;
mod client;
mod cluster;
mod codec;
mod election;
mod ended;
mod error;
mod face;
mod gateway;
mod grpc;
mod health;
mod http;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod metrics;
mod queue;
mod quota;
mod routes;
mod server;
mod sse;
mod stats;
mod store;
mod tls;
mod watch;

pub use auth::{AuthToken, AuthTokenError};
pub use error::FaceError;
pub use face::{EtcdFace, FaceConfig};
pub use http::{HttpConfig, Serves};
pub use metrics::{Defragmenting, DiskMetrics};
pub use server::{EtcdConfig, EtcdServer, Listener, Port, serve};
pub use tls::{TlsError, server_config};

/// The etcd version whose API this is.
pub const ETCD_VERSION: &str = "3.7.1";
/// The same without the patch level: what a whole cluster agrees on.
pub const CLUSTER_VERSION: &str = "3.7.0";
