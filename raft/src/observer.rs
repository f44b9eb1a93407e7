//! Observer: sees what a member promises and does, for a simulation that checks it.

use std::fmt::Debug;

use keelson_storage::command::ApplyResult;
use keelson_storage::entry::LogEntry;
use keelson_storage::machine::StateMachine;
use keelson_storage::wal::{EntryRecord, Vote};

/// Told by the member itself, in the order in which things happen to it.
pub trait Observer: Debug + Send + Sync {
    /// A vote is on disk, and is given away now.
    fn voted(&self, vote: Vote);
    /// An entry is the last of the log now; what had its place and all behind it are gone.
    fn appended(&self, entry: &EntryRecord);
    /// Entries were applied, with these results.
    fn applied(&self, entries: &[LogEntry], results: &[ApplyResult], machine: &StateMachine);
    /// The state is another's.
    fn installed(&self, machine: &StateMachine);
}
