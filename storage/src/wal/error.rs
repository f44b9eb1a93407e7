//! Why a log cannot be opened or written; each refusal names the file, the offset and a way out.

use std::io;
use std::path::PathBuf;

/// What somebody can do who has a log that is refused.
const WAYS_OUT: &str = "`keelson store verify` reads all of the log and changes nothing. Ways out: \
    put the file back from a copy; or, in a cluster with a healthy majority, remove this member \
    and add it again with an empty data directory; or restore a snapshot; or, accepting the loss \
    of what follows, run `keelson store repair`, which ends the log there and keeps the damaged \
    one beside it";

/// Why a WAL operation failed.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A record below the offset known to be synced is not what was written.
    #[error(
        "WAL segment {} is damaged at offset {offset} ({reason}), although everything up to offset \
         {synced_up_to} of the file was synced: acknowledged writes may be affected. {WAYS_OUT}", file.display()
    )]
    Damaged {
        /// The segment file.
        file: PathBuf,
        /// Offset of the damaged record in the file.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
        /// Offset in the same file up to which content is known to have been synced.
        synced_up_to: u64,
    },
    /// A segment between two others is missing, or the oldest does not begin where it should.
    #[error(
        "WAL segment {} should begin at log position {expected} but begins at {found}: a segment is \
         missing. {WAYS_OUT}", file.display()
    )]
    MissingSegment {
        /// The segment that was found.
        file: PathBuf,
        /// Where the one before it ended.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// Written by a version with another format, or damaged where the version stands.
    #[error(
        "WAL segment {} has format version {found}, this program reads version {supported}: if no \
         other version has written it, it is damaged at offset 8. {WAYS_OUT}", file.display()
    )]
    UnknownFormat {
        /// The segment file.
        file: PathBuf,
        /// The version in its head.
        found: u32,
        /// The version that is understood.
        supported: u32,
    },
    /// The log is another member's.
    #[error(
        "WAL segment {} belongs to member {found_node:x} of cluster {found_cluster:x}, not to member \
         {node:x} of cluster {cluster:x}: wrong data directory?", file.display()
    )]
    WrongIdentity {
        /// The segment file.
        file: PathBuf,
        /// The cluster in its head.
        found_cluster: u64,
        /// The member in its head.
        found_node: u64,
        /// This cluster.
        cluster: u64,
        /// This member.
        node: u64,
    },
    /// An earlier write or sync failed; nothing is retried on that file.
    #[error("the WAL stopped after a failed write or sync: {0}")]
    Stopped(String),
}

impl WalError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}
