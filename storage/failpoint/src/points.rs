//! The names of all points, sorted. Where each stands, and what etcd has beside these, is told in
//! docs/store.md.

macro_rules! points {
    ($($name:ident $(: $kind:ident)?)*) => {
        /// The places by name, for the macro.
        #[allow(non_upper_case_globals, missing_docs, reason = "a point is called as in etcd")]
        pub mod place {
            $(
                #[cfg(feature = "failpoints")]
                pub static $name: crate::Failpoint =
                    crate::Failpoint::new(stringify!($name))$(.$kind())?;
                #[cfg(not(feature = "failpoints"))]
                pub const $name: () = ();
            )*
        }

        #[cfg(feature = "failpoints")]
        pub(crate) static ALL: &[&crate::Failpoint] = &[$(&place::$name),*];
    };
}

/// Tests of this crate bring points of their own.
#[cfg(all(test, not(feature = "failpoints")))]
pub(crate) static ALL: &[&crate::Failpoint] = &[];

points! {
    afterCommit
    afterIsMemberExist
    afterStartDBTxn
    afterWritebackBuf
    applyAfterOpenSnapshot
    applyBeforeOpenSnapshot
    beforeApplyOneConfChange
    beforeApplyOneEntryNormal
    beforeCheckpointInLeaseRenew
    beforeCommit
    beforeLookupWhenForwardLeaseTimeToLive
    beforeLookupWhenLeaseTimeToLive
    beforePublishing
    beforeRangeStreamChunk
    beforeSendWatchResponse
    beforeServeHTTPLeaseRenew
    beforeStartDBTxn
    beforeWritebackBuf
    clockJump: takes_text
    commitAfterPreCommitHook
    commitBeforePreCommitHook
    compactAfterAcquiredBatchTxLock
    compactAfterCommitBatch
    compactAfterCommitScheduledCompact
    compactAfterSetFinishedCompact
    compactBeforeCommitBatch
    compactBeforeCommitScheduledCompact
    compactBeforeSetFinishedCompact
    defragBeforeCopy
    defragOpenFileError: takes_text
    defragdbFail: takes_text
    raftAfterApplySnap
    raftAfterSave
    raftAfterSaveSnap
    raftAfterWALRelease
    raftBeforeAdvance
    raftBeforeApplySnap
    raftBeforeFollowerSend
    raftBeforeLeaderSend
    raftBeforeSave
    raftBeforeSaveSnap
    raftDropHeartbeat
    walAfterSync
    walBeforeSync
    walDuringSync
    walSyncError: takes_text
}
