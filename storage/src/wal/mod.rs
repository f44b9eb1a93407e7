//! The write-ahead log: what a member promised, on disk before anybody is answered.
//!
//! A directory of segment files, zero-filled ahead, of framed records whose checksums are chained
//! from one record to the next. Positions are byte offsets over all segments ever written. Each
//! write is a batch whose head names the offset known to be synced before it; so damage below
//! that offset is told from a tear above it: damage is a refusal to open, a tear is cut.
//!
//! The one window that cannot be told apart is the very last batch: nothing after it says that it
//! was synced, so damage there looks like a tear. An idle log closes the window with an empty batch.
//!
//! A failed write or sync is final: the log refuses everything after it, and is opened anew.

mod batch;
mod error;
#[cfg(test)]
mod every_byte;
#[cfg(test)]
mod failing_disk;
mod index;
mod log;
mod reader;
mod record;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

pub use error::WalError;
pub use index::{EntryPosition, Index};
pub use log::{Wal, WalOptions};
pub use reader::WalReader;
pub use record::{EntryKind, EntryRecord, LogId, Membership, Record, Vote};
pub use recovery::{Cut, Recovered};
pub use segment::{FORMAT_VERSION, Identity, SegmentHead};
pub use walk::{Summary, Walked, walk};
pub use writer::{Completion, WalQueue, WalWriter};
