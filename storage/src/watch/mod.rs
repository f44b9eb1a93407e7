//! The watch hub: every change once, in order, to whoever watches its key.
//!
//! A watcher is *live* or *behind*. Live ones are in the hub's index: applying puts what they want
//! into the bounded queue of their stream, a revision's events together. Where the queue is full
//! the watcher is taken out of the index and is behind from that revision on: its reader then
//! catches up from the engine by itself, and comes back once the rest is small. Whoever applies
//! waits for no reader; the hub's lock is held for the time of a look-up, never for a read.
//!
//! Progress travels in the same queue as events, so that it cannot overtake them.

mod catch_up;
mod event;
mod hub;
mod stream;
mod watcher;

pub use event::SharedEvent;
pub use hub::WatchHub;
pub use stream::{CreateError, Created, Output, Signal, WatchStream};
pub use watcher::Watcher;

use bytes::Bytes;

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct WatchSpec {
    /// First key; empty: `"\0"`.
    pub key: Bytes,
    /// End of the range, by etcd's convention.
    pub range_end: Bytes,
    /// First revision to see; 0: from now.
    pub start_revision: i64,
    /// The events' form carries the key as it was before.
    pub prev_kv: bool,
    /// No events of keys that are set.
    pub no_put: bool,
    /// No events of keys that are deleted.
    pub no_delete: bool,
    /// Quiet times are reported by [`WatchStream::tick`].
    pub progress_notify: bool,
}
