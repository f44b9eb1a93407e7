//! Probes: exec, HTTP, TCP and gRPC from the node; startup gates the others, thresholds decide.

mod exec;
mod grpc;
mod http;
mod prober;
mod run;
mod tcp;
mod verdict;

pub(crate) use http::{http_get, http_target};
pub(crate) use prober::Prober;
pub(crate) use run::Outcome;
