//! The store under the API.

use std::sync::atomic::Ordering;

use keelson_storage::engine::EngineLoad;
use keelson_storage::measures::Histogram;

use super::Metrics;
use super::text::Text;
use crate::face::EtcdFace;

/// Buckets in milliseconds, as a few of etcd's older histograms have them.
const MILLIS: f64 = 1000.0;

/// Operations of this face on the store as a whole.
pub(crate) struct Whole {
    pub(crate) hashes: Histogram,
    pub(crate) hashes_at: Histogram,
    pub(crate) snapshots: Histogram,
}

impl Whole {
    pub(super) fn new() -> Self {
        Self {
            hashes: Histogram::new(0.01, 15),
            hashes_at: Histogram::new(0.01, 15),
            snapshots: Histogram::new(0.01, 17),
        }
    }
}

pub(super) fn write(face: &EtcdFace, out: &mut Text) {
    sizes(face, out);
    engine(&face.node().view().engine_load(), out);
    operations(face, out);
    leases_and_watchers(face, out);
    compactions(face, out);
    whole(face.metrics(), out);
}

fn sizes(face: &EtcdFace, out: &mut Text) {
    let view = face.node().view();
    let measures = view.measures();
    out.gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
        view.size(),
    );
    out.gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
        view.size(),
    );
    out.gauge(
        "etcd_mvcc_db_open_read_transactions",
        "The number of currently open read transactions",
        face.metrics().calls.running(&["Range", "RangeStream", "Snapshot", "Hash", "HashKV"]),
    );
    for (name, help, value) in [
        ("mvcc_current_revision", "The current revision of store.", view.revision()),
        (
            "mvcc_compact_revision",
            "The revision of the last compaction in store.",
            view.compacted(),
        ),
        ("mvcc_keys_total", "Total number of keys.", measures.keys.get()),
        (
            "auth_revision",
            "The current revision of auth store.",
            i64::try_from(view.auth().revision()).unwrap_or(i64::MAX),
        ),
    ] {
        out.gauge(&format!("etcd_debugging_{name}"), help, value);
    }
}

fn operations(face: &EtcdFace, out: &mut Text) {
    let measures = face.node().view().measures();
    for (name, what, counter) in [
        ("put", "puts", &measures.puts),
        ("range", "ranges", &measures.ranges),
        ("delete", "deletes", &measures.deletes),
        ("txn", "txns", &measures.txns),
    ] {
        let help = format!("Total number of {what} seen by this member.");
        out.counter(&format!("etcd_mvcc_{name}_total"), &help, counter.get());
    }
    out.gauge(
        "etcd_debugging_mvcc_total_put_size_in_bytes",
        "The total size of put kv pairs seen by this member.",
        measures.put_bytes.get(),
    );
    let name = "etcd_server_apply_duration_seconds";
    out.head(name, "histogram", "The latency distributions of v2 apply called by backend.");
    for (operation, success, histogram) in measures.applies.all() {
        let operation = operation.name();
        let labels = format!("op=\"{operation}\",success=\"{success}\",version=\"v3\"");
        out.histogram(name, &labels, histogram);
    }
    out.counter(
        "etcd_server_slow_apply_total",
        "The total number of slow apply requests (likely overloaded from slow disk).",
        measures.slow_applies.get(),
    );
    out.gauge(
        "etcd_server_snapshot_apply_in_progress_total",
        "1 if the server is applying the incoming snapshot. 0 if none.",
        measures.snapshots_applying.get().clamp(0, 1),
    );
}

fn engine(load: &EngineLoad, out: &mut Text) {
    for (name, help, value) in [
        ("write_stopped", "1 while writes stand still.", u64::from(load.is_stopped)),
        (
            "write_delayed_bytes_per_second",
            "What writes are slowed down to; 0 if they are not.",
            load.delayed_to_bytes,
        ),
        (
            "compaction_debt_bytes",
            "Bytes that compactions have still to rewrite, estimated.",
            load.compaction_debt_bytes,
        ),
        ("level0_files", "Files that no compaction has looked at.", load.level0_files),
        ("compactions_running", "Compactions that run.", load.compactions),
        ("flushes_running", "Flushes that run.", load.flushes),
        ("buffers_waiting", "Full write buffers that are not on disk yet.", load.buffers_waiting),
        ("buffer_bytes", "Bytes of all write buffers.", load.buffer_bytes),
        ("cache_bytes", "Bytes of the block cache in use.", load.cache_bytes),
    ] {
        out.gauge(&format!("keelson_engine_{name}"), help, value);
    }
    for (name, help, value) in [
        ("write_stops_total", "How often writes were stopped.", load.stops),
        ("write_delays_total", "How often writes were slowed down.", load.delays),
        ("background_errors_total", "Background work that failed.", load.background_errors),
    ] {
        out.counter(&format!("keelson_engine_{name}"), help, value);
    }
}

fn leases_and_watchers(face: &EtcdFace, out: &mut Text) {
    let measures = face.node().view().measures();
    for (name, help, counter) in [
        ("lease_granted_total", "The total number of granted leases.", &measures.leases_granted),
        ("lease_revoked_total", "The total number of revoked leases.", &measures.leases_revoked),
        (
            "lease_renewed_total",
            "The number of renewed leases seen by the leader.",
            &measures.leases_renewed,
        ),
        (
            "server_lease_expired_total",
            "The total number of expired leases.",
            &measures.leases_expired,
        ),
        ("mvcc_events_total", "Total number of events sent by this member.", &measures.events),
    ] {
        out.counter(&format!("etcd_debugging_{name}"), help, counter.get());
    }
    let name = "etcd_debugging_lease_ttl_total";
    out.whole_histogram(name, "Bucketed histogram of lease TTLs.", &measures.lease_ttls);
    for (name, help, gauge) in [
        ("watch_stream_total", "Total number of watch streams.", &measures.watch_streams),
        ("watcher_total", "Total number of watchers.", &measures.watchers),
        (
            "pending_events_total",
            "Total number of pending events to be sent.",
            &measures.pending_events,
        ),
    ] {
        out.gauge(&format!("etcd_debugging_mvcc_{name}"), help, gauge.get());
    }
    let (slow, behind) = face.node().view().lagging_watchers();
    out.gauge(
        "etcd_debugging_mvcc_slow_watcher_total",
        "Total number of unsynced slow watchers.",
        slow,
    );
    out.gauge(
        "keelson_slow_watcher_lag_revisions",
        "How far the slowest watcher is behind.",
        behind,
    );
    out.gauge(
        "keelson_watch_queue_bytes",
        "Bytes of the events that wait to be sent.",
        measures.pending_bytes.get(),
    );
    face.metrics().send_loops.write(out);
}

fn compactions(face: &EtcdFace, out: &mut Text) {
    let measures = face.node().view().measures();
    out.counter(
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "Total number of db keys compacted.",
        measures.compacted_keys.get(),
    );
    out.gauge(
        "etcd_debugging_mvcc_db_compaction_last",
        "The unix time of the last db compaction. Resets to 0 on start.",
        measures.compaction_last.get(),
    );
    // There is no index beside the engine: nothing ever waits for its compaction.
    let none = Histogram::new(0.0005, 14);
    for (name, help, histogram) in [
        (
            "db_compaction_pause_duration_milliseconds",
            "Bucketed histogram of db compaction pause duration.",
            &measures.compaction_pauses,
        ),
        (
            "db_compaction_total_duration_milliseconds",
            "Bucketed histogram of db compaction total duration.",
            &measures.compactions,
        ),
        (
            "index_compaction_pause_duration_milliseconds",
            "Bucketed histogram of index compaction pause duration.",
            &none,
        ),
    ] {
        let name = format!("etcd_debugging_mvcc_{name}");
        out.head(&name, "histogram", help);
        out.scaled_histogram(&name, "", histogram, MILLIS);
    }
}

fn whole(metrics: &Metrics, out: &mut Text) {
    for (name, help, histogram) in [
        (
            "etcd_mvcc_hash_duration_seconds",
            "The latency distribution of storage hash operation.",
            &metrics.whole.hashes,
        ),
        (
            "etcd_mvcc_hash_rev_duration_seconds",
            "The latency distribution of storage hash by revision operation.",
            &metrics.whole.hashes_at,
        ),
        (
            "etcd_disk_backend_snapshot_duration_seconds",
            "The latency distribution of backend snapshots.",
            &metrics.whole.snapshots,
        ),
    ] {
        out.whole_histogram(name, help, histogram);
    }
    out.counter(
        "etcd_server_slow_read_indexes_total",
        "The total number of pending read indexes not in sync with leader's or timed out read \
         index requests.",
        metrics.slow_read_indexes.load(Ordering::Relaxed),
    );
}
