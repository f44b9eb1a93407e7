//! `/metrics`: every name that dashboards, alerts and etcd's own tests ask for, and that they move.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::store::{Alone, curl};
use keelson_tests::{Members, wait};

/// All of them; a histogram is named without its endings.
const NAMES: [&str; 92] = [
    "etcd_cluster_version",
    "etcd_debugging_auth_revision",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_lease_ttl_total",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_db_compaction_keys_total",
    "etcd_debugging_mvcc_db_compaction_last",
    "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
    "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_pending_events_total",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_server_lease_expired_total",
    "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds",
    "etcd_debugging_server_watch_send_loop_progress_duration_seconds",
    "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
    "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_disk_backend_defrag_duration_seconds",
    "etcd_disk_backend_snapshot_duration_seconds",
    "etcd_disk_defrag_inflight",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_wal_write_bytes_total",
    "etcd_disk_wal_write_duration_seconds",
    "etcd_mvcc_db_open_read_transactions",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_hash_duration_seconds",
    "etcd_mvcc_hash_rev_duration_seconds",
    "etcd_mvcc_put_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_network_active_peers",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_network_known_peers",
    "etcd_network_peer_received_bytes_total",
    "etcd_network_peer_round_trip_time_seconds",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_sent_failures_total",
    "etcd_server_apply_duration_seconds",
    "etcd_server_client_requests_total",
    "etcd_server_has_leader",
    "etcd_server_health_failures",
    "etcd_server_health_success",
    "etcd_server_healthcheck",
    "etcd_server_healthchecks_total",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_id",
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_learner_promote_successes",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "etcd_server_range_duration_seconds",
    "etcd_server_read_indexes_failed_total",
    "etcd_server_request_duration_seconds",
    "etcd_server_slow_apply_total",
    "etcd_server_slow_read_indexes_total",
    "etcd_server_snapshot_apply_in_progress_total",
    "etcd_server_version",
    "etcd_snap_db_fsync_duration_seconds",
    "etcd_snap_db_save_total_duration_seconds",
    "etcd_snap_fsync_duration_seconds",
    "grpc_server_handled_total",
    "grpc_server_handling_seconds",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
    "grpc_server_started_total",
    "os_fd_limit",
    "os_fd_used",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
    "etcd_debugging_server_alarms",
    "etcd_server_feature_enabled",
];

/// A page of metrics: values by name and labels.
struct Page(BTreeMap<String, f64>, String);

impl Page {
    fn of(url: &str) -> Result<Self> {
        let (status, text) = curl(&[&format!("{url}/metrics")])?;
        ensure!(status == 200, "{text}");
        let mut values = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            values.insert(name.to_owned(), value.parse().with_context(|| line.to_owned())?);
        }
        Ok(Self(values, text))
    }

    /// A line by its whole name; a missing one counts as 0.
    fn get(&self, line: &str) -> f64 {
        self.0.get(line).copied().unwrap_or(0.0)
    }

    /// The sum of all lines of a name.
    fn sum(&self, name: &str) -> f64 {
        let lines = self.0.iter().filter(|(line, _)| line.split('{').next() == Some(name));
        lines.map(|(_, value)| value).sum()
    }

    /// Whether the page says what it is, and what it means.
    fn knows(&self, name: &str) -> bool {
        self.1.contains(&format!("# TYPE {name} ")) && self.1.contains(&format!("# HELP {name} "))
    }
}

fn etcdctl(url: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", url]).args(arguments);
    keelson_tests::run(command, None, Duration::from_secs(30))?.ok()
}

#[test]
fn every_metric_is_there_and_the_busy_ones_move() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let alone = Alone::new(dir.path(), "http")?.with("metrics", "extensive");
    let _store = alone.start(dir.path())?;
    let url = alone.url.as_str();
    let before = Page::of(url)?;
    for name in NAMES {
        ensure!(before.knows(name), "{name} is missing");
    }
    // All methods are there before anybody has called them.
    for method in ["Range", "Snapshot", "MemberPromote", "LeaseKeepAlive", "UserRevokeRole"] {
        let named = format!("grpc_method=\"{method}\"");
        let lines = before.0.iter().filter(|(line, _)| line.contains(&named)).count();
        ensure!(lines > 20, "{method}: {lines} lines");
    }

    for number in 0..5 {
        etcdctl(url, &["put", &format!("k{number}"), "value"])?;
    }
    etcdctl(url, &["put", "k0", "again"])?;
    etcdctl(url, &["del", "k1"])?;
    etcdctl(url, &["get", "k", "--prefix"])?;
    let granted = etcdctl(url, &["lease", "grant", "60"])?;
    let lease = granted.split_whitespace().nth(1).context("a lease")?;
    etcdctl(url, &["lease", "keep-alive", "--once", lease])?;
    etcdctl(url, &["lease", "revoke", lease])?;
    etcdctl(url, &["compact", "7", "--physical"])?;
    etcdctl(url, &["endpoint", "hashkv"])?;
    etcdctl(url, &["defrag"])?;
    let file = dir.path().join("snapshot").display().to_string();
    etcdctl(url, &["snapshot", "save", &file])?;
    let mut watcher = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", url, "watch", "watched"])
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let seen = wait::until("a watcher to be counted", Duration::from_secs(10), || {
        let page = Page::of(url)?;
        Ok((page.get("etcd_debugging_mvcc_watcher_total") == 1.0).then_some(page))
    });
    etcdctl(url, &["put", "watched", "x"])?;
    let after = wait::until("its event to be counted", Duration::from_secs(10), || {
        let page = Page::of(url)?;
        Ok((page.get("etcd_debugging_mvcc_events_total") >= 1.0).then_some(page))
    });
    watcher.kill()?;
    watcher.wait()?;
    ensure!(seen?.get("etcd_debugging_mvcc_watch_stream_total") >= 1.0);
    let after = after?;

    for (line, wanted) in [
        ("etcd_mvcc_put_total", 7.0),
        ("etcd_mvcc_delete_total", 1.0),
        ("etcd_debugging_mvcc_keys_total", 5.0),
        ("etcd_debugging_lease_granted_total", 1.0),
        ("etcd_debugging_lease_renewed_total", 1.0),
        ("etcd_debugging_lease_revoked_total", 1.0),
        ("etcd_debugging_server_lease_expired_total", 0.0),
        ("etcd_debugging_lease_ttl_total_bucket{le=\"64\"}", 1.0),
        ("etcd_debugging_lease_ttl_total_bucket{le=\"32\"}", 0.0),
        ("etcd_debugging_mvcc_compact_revision", 7.0),
        ("etcd_debugging_mvcc_db_compaction_keys_total", 1.0),
        ("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count", 1.0),
        ("etcd_mvcc_hash_rev_duration_seconds_count", 1.0),
        ("etcd_disk_backend_defrag_duration_seconds_count", 1.0),
        ("etcd_disk_backend_snapshot_duration_seconds_count", 1.0),
        ("etcd_server_request_duration_seconds_count{success=\"true\",type=\"Put\"}", 7.0),
        (
            "etcd_server_apply_duration_seconds_count{op=\"Put\",success=\"true\",version=\"v3\"}",
            7.0,
        ),
        ("etcd_debugging_mvcc_total_put_size_in_bytes", 50.0),
    ] {
        ensure!(after.get(line) == wanted, "{line}: {}, wanted {wanted}", after.get(line));
    }
    for line in [
        "etcd_mvcc_range_total",
        "etcd_server_range_duration_seconds_count{success=\"true\"}",
        "etcd_debugging_mvcc_db_compaction_last",
        "etcd_network_client_grpc_sent_bytes_total",
        "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds_count",
        "process_start_time_seconds",
        "grpc_server_handling_seconds_count{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",\
         grpc_type=\"unary\"}",
    ] {
        ensure!(after.get(line) > 0.0, "{line} has not moved");
    }
    ensure!(after.sum("etcd_server_client_requests_total") > 10.0);

    // Once the client is gone, so is its watcher.
    wait::until("the watcher to go", Duration::from_secs(10), || {
        let page = Page::of(url)?;
        let left = page.get("etcd_debugging_mvcc_watcher_total")
            + page.get("etcd_debugging_mvcc_watch_stream_total");
        Ok((left == 0.0).then_some(()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn members_count_what_they_say_to_each_other() -> Result<()> {
    let members = Members::start(3).await?;
    let url = |member: usize| members.endpoints()[member].as_str();
    for number in 0..20 {
        etcdctl(url(0), &["put", &format!("k{number}"), "value"])?;
    }
    wait::until("all to be counted", Duration::from_secs(20), || {
        let mut round_trips = 0.0;
        for member in 0..3 {
            let page = Page::of(url(member))?;
            ensure!(page.sum("etcd_network_known_peers") == 2.0);
            let (sent, received) = (
                page.sum("etcd_network_peer_sent_bytes_total"),
                page.sum("etcd_network_peer_received_bytes_total"),
            );
            if sent < 100.0 || received < 100.0 || page.sum("etcd_network_active_peers") < 1.0 {
                return Ok(None);
            }
            round_trips += page.sum("etcd_network_peer_round_trip_time_seconds_count");
        }
        Ok((round_trips > 0.0).then_some(()))
    })
}
