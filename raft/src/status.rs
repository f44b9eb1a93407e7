//! Status: where a member stands.

/// Where a member stands; indexes are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub member_id: u64,
    /// Its cluster.
    pub cluster_id: u64,
    /// The leader, if one is known.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// The last entry of the log.
    pub last_index: u64,
    /// The last entry known to be committed.
    pub committed: u64,
    /// The last entry applied.
    pub applied: u64,
    /// Whether it has no vote.
    pub is_learner: bool,
    /// Callers whose proposals are on their way.
    pub proposals_pending: usize,
    /// Bytes that wait to be taken up by a log.
    pub proposals_pending_bytes: usize,
    /// Proposals that were refused because too much waited.
    pub proposals_refused: u64,
}
