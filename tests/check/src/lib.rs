//! Checks recorded histories: linearizability, the promises of watches, leases and locks.
//!
//! Pure: a history goes in, a verdict comes out. The linearizability check is Wing and Gong's
//! search with Lowe's memoisation, key by key. Where the store tells revisions, its own order is
//! known, and everything else is checked against that: requests and watchers.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(clippy::result_large_err, reason = "a verdict is given once a history")]

mod deed;
mod deeds_of;
mod draw;
mod edn;
mod event;
mod format;
mod history;
mod holders;
mod jepsen;
mod linearizable;
mod log;
mod names;
mod read;
mod requests;
mod search;
mod shrink;
mod streams;
mod verdict;
mod watched;

pub use deed::{Deed, Step, Told as DeedTold};
pub use deeds_of::{Group, groups, label};
pub use draw::{escape, svg, text};
pub use event::{Event, Stored};
pub use format::{
    Change, Compare, Former, Header, Line, NAME, Op, Outcome, Request as OpRequest, Response,
    TxnStep, VERSION,
};
pub use history::{Action, History, Operation};
pub use holders::{HolderFlaw, check_holders};
pub use linearizable::{Violation, check_registers};
pub use log::{Log, LogFlaw};
pub use read::{ReadError, Recorded, Torn, read};
pub use requests::{Counts, Request, RequestFlaw, Told, Wish, check_requests, registers};
pub use search::{Order, order};
pub use shrink::smallest;
pub use streams::{StreamFlaw, check_streams};
pub use verdict::{Finding, Limits, Promise, Verdict, check};
pub use watched::{Answer, WatchFlaw, Watched, check_watcher, check_watcher_until};
