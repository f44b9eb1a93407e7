//! Why a watch ends before it is told to.

use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;

/// Why it ends.
#[derive(Debug, Error)]
pub enum Ended {
    /// What comes next is no longer kept.
    #[error(
        "revision {wanted} comes next and is compacted away: the oldest that is kept is {oldest}. \
         What was between is lost to this watcher; --on-compaction resync or oldest goes on \
         nevertheless, and so does a start without {bookmark}"
    )]
    Compacted {
        /// The revision.
        wanted: i64,
        /// The first that could still be had.
        oldest: i64,
        /// Where the position stands.
        bookmark: String,
    },
    /// The store has less history than was seen of it.
    #[error(
        "the store is at revision {store}, and {seen} was seen of it: its history was lost, or it is \
         another store"
    )]
    Behind {
        /// The newest of the store.
        store: i64,
        /// The newest that was seen.
        seen: i64,
    },
    /// Somebody else's data.
    #[error("{endpoint} is of cluster {found:x}, and {wanted:x} is watched")]
    OtherCluster {
        /// Who answered.
        endpoint: String,
        /// Its cluster.
        found: u64,
        /// The one that is watched.
        wanted: u64,
    },
    /// The store does not let it.
    #[error("{endpoint}: {message}")]
    Refused {
        /// Who answered.
        endpoint: String,
        /// Its words.
        message: String,
    },
    /// Nobody has answered for as long as was allowed.
    #[error("no endpoint has answered for {seconds} s: {last}")]
    NobodyThere {
        /// How long.
        seconds: u64,
        /// What was wrong with the last.
        last: String,
    },
    /// An endpoint that cannot be used, or files of TLS.
    #[error("{0}")]
    Wrong(String),
    /// The file of the position.
    #[error("bookmark {}: {why}", .file.display())]
    Bookmark {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The command for a change failed.
    #[error("{what}: the command {outcome}; what it was run for is not marked as done")]
    Command {
        /// The change.
        what: String,
        /// How it ended.
        outcome: String,
    },
    /// Standard output takes no more.
    #[error("standard output: {0}")]
    Output(std::io::Error),
}

impl Ended {
    /// The exit code that stands for it.
    pub fn code(&self) -> ExitCode {
        match self {
            // Whoever read the lines has had enough.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Self::Compacted { .. } => ExitCode::from(3),
            Self::Command { .. } => ExitCode::from(4),
            Self::Behind { .. }
            | Self::OtherCluster { .. }
            | Self::Refused { .. }
            | Self::NobodyThere { .. }
            | Self::Wrong(_)
            | Self::Bookmark { .. }
            | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}
