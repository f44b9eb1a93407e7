//! The scheduler: a cache of nodes fed by deltas, a priority queue, plugins, and bindings written
//! beside the next decisions.
//!
//! `scheduler` is the one task that owns cache and queue; everything else here is pure.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cache;
mod config;
mod cycle;
mod diagnosis;
mod node;
mod objects;
mod plugins;
mod pod;
mod quantity;
mod queue;
mod resources;
mod scheduler;
mod writer;

pub use config::{Config, ConfigError};
pub use scheduler::run;
