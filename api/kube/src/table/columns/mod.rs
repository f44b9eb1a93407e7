//! The columns and cells of kinds that have a printer of their own.
// upstream: Kubernetes, pkg/printers/internalversion

mod cells;
mod core;
mod event;
mod node;
mod others;
mod pod;
mod service;
mod storage;
mod workloads;

pub(crate) use core::*;
pub(crate) use event::EVENT;
pub(crate) use node::NODE;
pub(crate) use others::*;
pub(crate) use pod::POD;
pub(crate) use service::*;
pub(crate) use storage::*;
pub(crate) use workloads::*;
