//! Service proxy: cluster addresses, node ports and external addresses by nftables.
//!
//! One table a family. Fixed chains look a packet's destination up in verdict maps; every port of a
//! Service is one map element and one chain that rewrites the destination to one of its endpoints.
//! What a Service needs is a [`fragment`](fragment::Fragment), a pure function of it; a sync applies
//! the difference to what is in force in one transaction, so a change of one Service costs the same
//! in a large cluster as in a small one.

mod base;
mod choice;
mod config;
mod conntrack;
mod fragment;
mod ruleset;
mod sync;

pub use config::{Family, ProxyConfig};
pub use sync::{ProxyError, run};
