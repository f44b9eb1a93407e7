//! What makes objects valid: errors in Kubernetes' words, names, metadata, and each kind's rules.

pub(crate) mod access;
pub(crate) mod config;
mod container;
pub mod errors;
pub(crate) mod jobs;
pub mod metadata;
pub mod names;
pub(crate) mod node;
pub(crate) mod others;
pub(crate) mod pod;
mod pod_update;
pub(crate) mod policies;
mod resources;
mod selector;
pub(crate) mod service;
mod value;
mod volume;
pub(crate) mod workloads;

pub use errors::{Errors, FieldError};
