//! Cluster DNS: names of Services and pods from the catalog, everything else from the node's own
//! resolvers.
//!
//! It runs in the agent of every node and listens on the node's address in its pod range, which pods
//! reach and nobody outside does. The `kube-dns` Service has one EndpointSlice a node with that
//! address, and `internalTrafficPolicy: Local`, so every pod asks its own node.

mod cache;
mod config;
mod forward;
mod message;
mod publish;
mod server;
mod zone;

pub use config::DnsConfig;
pub use publish::{Publication, publish};
pub use server::{DnsError, DnsServer};
