//! Pressure: what waits in this member, and when that is too much: whoever comes then is refused at
//! once, rather than put behind what cannot be done in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use keelson_storage::view::View;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::error::ProposeError;
use crate::log::LogStore;
use crate::machine::Machine;
use crate::node::Stop;
use crate::runtime::{Moment, Runtime};
use crate::types::{LogId, Types, outer_index};

/// Entries that are committed and not applied here yet.
// upstream: etcd v3.6 `maxGapBetweenApplyAndCommitIndex`
const BACKLOG_ENTRIES_MAX: u64 = 5000;
/// Proposals of this member's callers that no log has taken yet.
const PROPOSALS_MAX: usize = 16 * 1024;
/// Bytes of them.
const PROPOSAL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often it is said that requests are refused, and looked who lags.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// A follower, or a watcher, that has not got the last so many entries, or revisions, lags.
const LAG_MAX: u64 = 5000;

/// What waits; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Pressure {
    log: LogStore,
    applied: watch::Receiver<u64>,
    queued: Arc<Queued>,
}

#[derive(Debug, Default)]
struct Queued {
    proposals: AtomicUsize,
    bytes: AtomicUsize,
    refused: AtomicU64,
    /// When a refusal was last logged, in milliseconds; 0: never.
    told: AtomicU64,
}

impl Pressure {
    pub(crate) fn new(log: LogStore, applied: watch::Receiver<u64>) -> Self {
        Self { log, applied, queued: Arc::default() }
    }

    /// Whether one more may be proposed now.
    pub(crate) fn check(&self) -> Result<(), ProposeError> {
        let (proposals, bytes) = self.queued();
        let backlog = self.backlog();
        if proposals < PROPOSALS_MAX && bytes < PROPOSAL_BYTES_MAX && backlog <= BACKLOG_ENTRIES_MAX
        {
            return Ok(());
        }
        let queued = &self.queued;
        let refused = queued.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let now = u64::try_from(Moment::now().since_start().as_millis()).unwrap_or(u64::MAX);
        let interval = TELL_INTERVAL.as_millis() as u64;
        let due = |told: u64| (told == 0 || now >= told + interval).then_some(now);
        if queued.told.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            tracing::warn!(
                "proposals-pending" = proposals,
                "proposals-pending-bytes" = bytes,
                "apply-backlog" = backlog,
                "refused-in-total" = refused,
                "too many requests; refusing proposals until what waits is done"
            );
        }
        Err(ProposeError::TooManyRequests)
    }

    /// A proposal waits.
    pub(crate) fn enter(&self, bytes: usize) {
        self.queued.proposals.fetch_add(1, Ordering::Relaxed);
        self.queued.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many of them, of so many bytes, wait no more.
    pub(crate) fn leave(&self, proposals: usize, bytes: usize) {
        self.queued.proposals.fetch_sub(proposals, Ordering::Relaxed);
        self.queued.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Proposals that wait, and their bytes.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let queued = &self.queued;
        (queued.proposals.load(Ordering::Relaxed), queued.bytes.load(Ordering::Relaxed))
    }

    /// Proposals that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.queued.refused.load(Ordering::Relaxed)
    }

    /// Entries that are committed and not applied.
    fn backlog(&self) -> u64 {
        self.log.committed().saturating_sub(*self.applied.borrow())
    }
}

/// How many entries each follower is behind; nobody but the leader knows.
pub(crate) fn lags(raft: &Raft<Types, Machine>) -> Vec<(u64, u64)> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let last = metrics.last_log_index.map_or(0, outer_index);
    let followers = metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
    let reached = |matching: &Option<LogId>| matching.map_or(0, |id| outer_index(id.index));
    followers.map(|(id, matching)| (*id, last.saturating_sub(reached(matching)))).collect()
}

/// Says in the log who lags, and that it does no more, until the member stops.
pub(crate) async fn tell(
    raft: Raft<Types, Machine>,
    view: View,
    mut stopped: watch::Receiver<Option<Stop>>,
) {
    let mut lagging = Vec::new();
    let mut behind = false;
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            () = Runtime::sleep(TELL_INTERVAL) => {}
        }
        let lags = lags(&raft);
        for (id, lag) in lags.iter().filter(|(id, lag)| *lag > LAG_MAX && !lagging.contains(id)) {
            let id = format!("{id:x}");
            tracing::warn!("remote-peer-id" = id, entries = lag, "a follower lags behind");
        }
        for id in &lagging {
            if lags.iter().any(|(one, lag)| one == id && *lag <= LAG_MAX) {
                tracing::info!("remote-peer-id" = format!("{id:x}"), "a follower has caught up");
            }
        }
        lagging = lags.iter().filter(|(_, lag)| *lag > LAG_MAX).map(|(id, _)| *id).collect();
        let (watchers, revisions) = view.lagging_watchers();
        let far = revisions > LAG_MAX;
        if far && !behind {
            tracing::warn!(watchers, revisions, "watchers lag behind");
        }
        behind = far;
    }
}
