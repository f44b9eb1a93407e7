//! Bugs that are planted on purpose, so that what looks for bugs can prove that it finds them.
//!
//! One at a time, chosen at run time by its name. Without the feature `failpoints` none is there.

/// A bug. Its place in the code asks [`is`] for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A write is acknowledged before the disk has it.
    AcknowledgeBeforeSync,
    /// A leader answers linearizable reads without asking whether it leads still.
    ServeReadsWhenDeposed,
    /// A watcher that reads what it missed is not told of one event.
    SkipEventOnCatchUp,
    /// Progress overtakes the events that it promises to be past.
    ProgressAheadOfEvents,
    /// A snapshot does not say up to where the history is compacted.
    LoseCompactionInSnapshot,
    /// A leader renews leases without asking whether it leads still.
    RenewLeaseWhenDeposed,
    /// A restarted member applies once more what it had applied last.
    ApplyTwiceAfterRestart,
    /// A restarted member does not know whom it voted for.
    VoteTwiceAfterCrash,
    /// Later memberships do not replace the first in the state.
    ForgetMembershipChange,
    /// What a crash left of a write is read as if it were whole.
    DropTornTailCheck,
    /// Two transactions of one batch change places.
    ReorderTransactions,
    /// A deletion and the next write share a revision.
    ReuseRevision,
    /// A new leader does not add the time in which nobody could renew a lease.
    ExpireLeaseEarly,
    /// A proposal whose answer was lost on the way is made once more.
    ForwardTwice,
}

/// All of them, by name.
pub const ALL: &[(&str, Bug)] = &[
    ("acknowledge-before-sync", Bug::AcknowledgeBeforeSync),
    ("serve-reads-when-deposed", Bug::ServeReadsWhenDeposed),
    ("skip-event-on-catch-up", Bug::SkipEventOnCatchUp),
    ("progress-ahead-of-events", Bug::ProgressAheadOfEvents),
    ("lose-compaction-in-snapshot", Bug::LoseCompactionInSnapshot),
    ("renew-lease-when-deposed", Bug::RenewLeaseWhenDeposed),
    ("apply-twice-after-restart", Bug::ApplyTwiceAfterRestart),
    ("vote-twice-after-crash", Bug::VoteTwiceAfterCrash),
    ("forget-membership-change", Bug::ForgetMembershipChange),
    ("drop-torn-tail-check", Bug::DropTornTailCheck),
    ("reorder-transactions", Bug::ReorderTransactions),
    ("reuse-revision", Bug::ReuseRevision),
    ("expire-lease-early", Bug::ExpireLeaseEarly),
    ("forward-twice", Bug::ForwardTwice),
];

#[cfg(any(feature = "failpoints", test))]
mod chosen {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{ALL, Bug};

    /// Place in [`ALL`], counted from 1.
    static CHOSEN: AtomicUsize = AtomicUsize::new(0);

    /// From now on this process has the bug of this name; `false`: there is none of it.
    pub fn plant(name: &str) -> bool {
        let place = ALL.iter().position(|(known, _)| *known == name);
        CHOSEN.store(place.map_or(0, |place| place + 1), Ordering::SeqCst);
        place.is_some()
    }

    /// Whether this process has the bug.
    #[inline]
    pub fn is(bug: Bug) -> bool {
        let chosen = CHOSEN.load(Ordering::Relaxed);
        chosen != 0 && ALL[chosen - 1].1 == bug
    }
}

#[cfg(any(feature = "failpoints", test))]
pub use chosen::{is, plant};

/// Whether this process has the bug: never, in this build.
#[cfg(not(any(feature = "failpoints", test)))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bug_at_a_time_by_its_name() {
        assert!(!plant("no-such-bug"));
        assert!(ALL.iter().all(|(_, bug)| !is(*bug)));
        for (name, planted) in ALL {
            assert!(plant(name));
            assert!(ALL.iter().all(|(_, bug)| is(*bug) == (bug == planted)));
        }
        plant("");
    }
}
