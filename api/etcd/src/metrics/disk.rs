//! How long the disk takes: told by those who open the files, shown beside all else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keelson_storage::disk::{Clock as _, SystemClock};
use keelson_storage::measures::Histogram;

use super::text::Text;

/// A sync of the log that takes longer is logged.
// upstream: etcd v3.6 `warnSyncDuration`
const SYNC_WARNING: Duration = Duration::from_secs(1);

/// What one member's files cost.
#[derive(Debug)]
pub struct DiskMetrics {
    wal_syncs: Histogram,
    clock: SystemClock,
    /// When the sync that goes on began, in milliseconds of the clock; 0: none does.
    syncing_since: AtomicU64,
    wal_writes: Histogram,
    wal_written_bytes: AtomicU64,
    commits: Histogram,
    flushes: Histogram,
    snapshots_saved: Histogram,
    snapshots_synced: Histogram,
    defragmentations: Histogram,
    defragmenting: AtomicU64,
}

/// A defragmentation that goes on; dropped when it ends.
#[derive(Debug)]
pub struct Defragmenting<'a> {
    metrics: &'a DiskMetrics,
    began: Instant,
}

impl Drop for Defragmenting<'_> {
    fn drop(&mut self) {
        self.metrics.defragmenting.fetch_sub(1, Ordering::Relaxed);
        self.metrics.defragmentations.observe(self.began.elapsed());
    }
}

impl Default for DiskMetrics {
    fn default() -> Self {
        Self {
            wal_syncs: Histogram::new(0.001, 14),
            clock: SystemClock::new(),
            syncing_since: AtomicU64::new(0),
            wal_writes: Histogram::new(0.001, 14),
            wal_written_bytes: AtomicU64::new(0),
            commits: Histogram::new(0.001, 14),
            flushes: Histogram::new(0.001, 14),
            snapshots_saved: Histogram::new(0.1, 10),
            snapshots_synced: Histogram::new(0.001, 14),
            defragmentations: Histogram::new(0.1, 13),
            defragmenting: AtomicU64::new(0),
        }
    }
}

impl DiskMetrics {
    /// The log is about to be made durable.
    pub fn wal_syncing(&self) {
        self.syncing_since.store(self.now_millis(), Ordering::Relaxed);
    }

    /// That has ended, well or not.
    pub fn wal_synced(&self, took: Duration) {
        self.syncing_since.store(0, Ordering::Relaxed);
        self.wal_syncs.observe(took);
        if took > SYNC_WARNING {
            let expected = SYNC_WARNING;
            tracing::warn!(took = ?took, "expected-duration" = ?expected, "slow fdatasync");
        }
    }

    /// So many bytes were written to the log.
    pub fn wal_written(&self, bytes: usize, took: Duration) {
        self.wal_writes.observe(took);
        self.wal_written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A batch of changes was taken by the engine.
    pub fn committed(&self, took: Duration) {
        self.commits.observe(took);
    }

    /// The engine has made its state durable.
    pub fn flushed(&self, took: Duration) {
        self.flushes.observe(took);
    }

    /// Never 0.
    fn now_millis(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The leader's snapshot was written beside the state.
    pub fn snapshot_saved(&self, took: Duration) {
        self.snapshots_saved.observe(took);
    }

    /// It was taken up, durably.
    pub fn snapshot_synced(&self, took: Duration) {
        self.snapshots_synced.observe(took);
    }

    /// The engine is being defragmented.
    pub fn defragmenting(&self) -> Defragmenting<'_> {
        self.defragmenting.fetch_add(1, Ordering::Relaxed);
        Defragmenting { metrics: self, began: Instant::now() }
    }

    pub(super) fn write(&self, out: &mut Text) {
        for (name, help, histogram) in [
            (
                "etcd_disk_wal_fsync_duration_seconds",
                "The latency distributions of fsync called by WAL.",
                &self.wal_syncs,
            ),
            (
                "etcd_disk_wal_write_duration_seconds",
                "The latency distributions of write called by WAL.",
                &self.wal_writes,
            ),
            (
                "etcd_disk_backend_commit_duration_seconds",
                "The latency distributions of commit called by backend.",
                &self.commits,
            ),
            (
                "etcd_snap_fsync_duration_seconds",
                "The latency distributions of fsync called by snap.",
                &self.flushes,
            ),
            (
                "etcd_snap_db_save_total_duration_seconds",
                "The total latency distributions of v3 snapshot save",
                &self.snapshots_saved,
            ),
            (
                "etcd_snap_db_fsync_duration_seconds",
                "The latency distributions of fsyncing .snap.db file",
                &self.snapshots_synced,
            ),
            (
                "etcd_disk_backend_defrag_duration_seconds",
                "The latency distribution of backend defragmentation.",
                &self.defragmentations,
            ),
        ] {
            out.whole_histogram(name, help, histogram);
        }
        let since = self.syncing_since.load(Ordering::Relaxed);
        let millis = if since == 0 { 0 } else { self.now_millis().saturating_sub(since) };
        out.gauge(
            "keelson_disk_wal_sync_running_seconds",
            "For how long the sync of the WAL that goes on has gone on.",
            Duration::from_millis(millis).as_secs_f64(),
        );
        out.gauge(
            "etcd_disk_defrag_inflight",
            "Whether or not defrag is active on the member. 1 means active, 0 means not.",
            self.defragmenting.load(Ordering::Relaxed).min(1),
        );
        out.gauge(
            "etcd_disk_wal_write_bytes_total",
            "Total number of bytes written in WAL.",
            self.wal_written_bytes.load(Ordering::Relaxed),
        );
    }
}
