//! Checks recorded histories: linearizability and the promises of watches.
//!
//! Pure: a history goes in, a verdict comes out. The linearizability check is Wing and Gong's
//! search with Lowe's memoisation, key by key. Where the store tells revisions, its own order is
//! known, and everything else is checked against that: requests and watchers.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(clippy::result_large_err, reason = "a verdict is given once a history")]

mod event;
mod history;
mod linearizable;
mod log;
mod requests;
mod watched;

pub use event::{Event, Stored};
pub use history::{Action, History, Operation};
pub use linearizable::{Violation, check_registers};
pub use log::{Log, LogFlaw};
pub use requests::{Counts, Request, RequestFlaw, Told, Wish, check_requests, registers};
pub use watched::{Answer, WatchFlaw, Watched, check_watcher};
