//! A log entry as the state machine sees it; how it lies in the WAL is the WAL's affair.

use bytes::Bytes;

use crate::command::Command;

/// One committed entry.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Term of the leader that wrote it.
    pub term: u64,
    /// Position in the log, from 1, without gaps.
    pub index: u64,
    /// What it carries.
    pub payload: Payload,
}

/// What an entry carries.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A membership, in the encoding of the consensus layer; kept and handed back as it is.
    Membership(Bytes),
    /// A change of the state.
    Command(Command),
}
