//! How long the disk takes: told by those who open the files, shown beside all else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::Histogram;
use super::text::Text;

/// What one member's files cost.
#[derive(Debug)]
pub struct DiskMetrics {
    wal_syncs: Histogram,
    wal_writes: Histogram,
    wal_written_bytes: AtomicU64,
    commits: Histogram,
    flushes: Histogram,
}

impl Default for DiskMetrics {
    fn default() -> Self {
        Self {
            wal_syncs: Histogram::new(0.001, 14),
            wal_writes: Histogram::new(0.001, 14),
            wal_written_bytes: AtomicU64::new(0),
            commits: Histogram::new(0.001, 14),
            flushes: Histogram::new(0.001, 14),
        }
    }
}

impl DiskMetrics {
    /// The log was made durable.
    pub fn wal_synced(&self, took: Duration) {
        self.wal_syncs.observe(took);
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
                "etcd_snap_db_fsync_duration_seconds",
                "The latency distributions of fsyncing the state.",
                &self.flushes,
            ),
        ] {
            out.head(name, "histogram", help);
            histogram.write(name, "", out);
        }
        out.gauge(
            "etcd_disk_wal_write_bytes_total",
            "Total number of bytes written in WAL.",
            self.wal_written_bytes.load(Ordering::Relaxed),
        );
    }
}
