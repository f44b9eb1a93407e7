//! The profile: which kinds of faults there are, and how often each comes beside the others.

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::StdRng;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A member loses its power.
    Crash,
    /// All lose theirs.
    CrashAll,
    /// Members do not hear each other.
    Partition,
    /// Packets are late, lost, or in disorder.
    Network,
    /// Disks are slow, full, or fail.
    Disk,
    /// What was synced changes.
    Rot,
    /// A member stops for a while.
    Pause,
    /// Clocks go wrong.
    Clock,
    /// Members come and go, leadership is handed over.
    Membership,
}

const KINDS: [(Kind, &str, u32); 9] = [
    (Kind::Crash, "crash", 20),
    (Kind::CrashAll, "crash-all", 7),
    (Kind::Partition, "partition", 26),
    (Kind::Network, "network", 12),
    (Kind::Disk, "disk", 10),
    (Kind::Rot, "rot", 3),
    (Kind::Pause, "pause", 10),
    (Kind::Clock, "clock", 5),
    (Kind::Membership, "membership", 7),
];

impl Kind {
    /// All kinds, by name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(_, name, _)| *name)
    }

    /// The kind of this name.
    pub fn from_name(wanted: &str) -> Option<Self> {
        KINDS.iter().find(|(_, name, _)| *name == wanted).map(|(kind, ..)| *kind)
    }
}

/// Kinds of faults that a run has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Those that it has not.
    pub without: BTreeSet<Kind>,
}

impl Profile {
    /// A kind, the frequent ones more often.
    pub(crate) fn choose(&self, random: &mut StdRng) -> Kind {
        let there = KINDS.iter().filter(|(kind, ..)| !self.without.contains(kind));
        let all: u32 = there.clone().map(|(.., weight)| weight).sum();
        let mut left = random.random_range(0..all.max(1));
        for (kind, _, weight) in there {
            if left < *weight {
                return *kind;
            }
            left -= weight;
        }
        Kind::Pause
    }
}
