//! Checks recorded histories: linearizability and the promises of watches.
//!
//! Pure: a history goes in, a verdict comes out. The linearizability check is Wing and Gong's
//! search with Lowe's memoisation, key by key.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod history;
mod linearizable;

pub use history::{Action, History, Operation};
pub use linearizable::{Violation, check_registers};
