//! Kinds of requests, by the names that etcd shows them under, and how long each took.

use std::time::Duration;

use super::Histogram;
use crate::command::{Command, Op};

/// Names by number.
const NAMES: [&str; 16] = [
    "Range",
    "ReadonlyTxn",
    "Put",
    "DeleteRange",
    "Txn",
    "Compaction",
    "LeaseGrant",
    "LeaseRevoke",
    "LeaseCheckpoint",
    "ClusterMemberAttrSet",
    "Alarm",
    "Auth",
    "Authenticate",
    "DowngradeInfoSet",
    "ClusterVersionSet",
    "Unknown",
];

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation(usize);

impl Operation {
    /// A read of keys.
    pub const RANGE: Self = Self(0);
    /// A transaction that only reads.
    pub const READ_TXN: Self = Self(1);

    /// Of a command that goes through the log.
    pub fn of(command: &Command) -> Self {
        command.op.as_ref().map_or(Self(NAMES.len() - 1), Self::of_op)
    }

    /// The same of its content.
    pub fn of_op(op: &Op) -> Self {
        Self(match op {
            Op::Put(_) => 2,
            Op::DeleteRange(_) => 3,
            Op::Txn(_) => 4,
            Op::Compaction(_) => 5,
            Op::LeaseGrant(_) => 6,
            Op::LeaseRevoke(_) => 7,
            Op::LeaseCheckpoints(_) => 8,
            Op::MemberAttributes(_) => 9,
            Op::Alarm(_) => 10,
            Op::AuthChange(_) => 11,
            Op::Authenticate(_) => 12,
            Op::Downgrade(_) => 13,
        })
    }

    /// As etcd calls it.
    pub fn name(self) -> &'static str {
        NAMES[self.0]
    }
}

/// How long requests took, by kind and success.
#[derive(Debug)]
pub struct Timed(Vec<[Histogram; 2]>);

impl Timed {
    pub(crate) fn new(first: f64, count: usize) -> Self {
        let both = || [false, true].map(|_| Histogram::new(first, count));
        Self(NAMES.iter().map(|_| both()).collect())
    }

    /// With the bounds of etcd's request durations.
    pub fn requests() -> Self {
        Self::new(0.001, 14)
    }

    /// Counts one.
    pub fn observe(&self, operation: Operation, success: bool, took: Duration) {
        self.0[operation.0][usize::from(success)].observe(took);
    }

    /// Those that have happened.
    pub fn all(&self) -> impl Iterator<Item = (Operation, bool, &Histogram)> {
        self.0.iter().enumerate().flat_map(|(at, both)| {
            let [failed, done] = both;
            [(Operation(at), false, failed), (Operation(at), true, done)]
                .into_iter()
                .filter(|(_, _, histogram)| histogram.count() > 0)
        })
    }
}
