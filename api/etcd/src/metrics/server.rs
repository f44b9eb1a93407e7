//! This member and its cluster.

use std::sync::atomic::Ordering;

use super::text::Text;
use crate::ETCD_VERSION;
use crate::face::EtcdFace;
use crate::maintenance::minor;

pub(super) fn write(face: &EtcdFace, out: &mut Text) {
    let status = face.node().status();
    let member = face.node().node_id();
    out.gauge(
        "etcd_server_has_leader",
        "Whether or not a leader exists. 1 is existence, 0 is not.",
        u8::from(status.leader.is_some()),
    );
    out.gauge(
        "etcd_server_is_leader",
        "Whether or not this member is a leader. 1 if is, 0 otherwise.",
        u8::from(status.leader == Some(member)),
    );
    out.gauge(
        "etcd_server_is_learner",
        "Whether or not this member is a learner. 1 if is, 0 otherwise.",
        u8::from(status.is_learner),
    );
    let metrics = face.metrics();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    out.counter(
        "etcd_server_leader_changes_seen_total",
        "The number of leader changes seen.",
        count(&metrics.leader_changes),
    );
    out.counter(
        "etcd_server_learner_promote_successes",
        "The total number of successful learner promotions while this member is leader.",
        metrics.calls.succeeded("MemberPromote"),
    );
    out.gauge(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        status.committed,
    );
    out.gauge(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        status.applied,
    );
    out.gauge(
        "etcd_server_proposals_pending",
        "The current number of pending proposals to commit.",
        status.proposals_pending,
    );
    out.gauge(
        "keelson_proposals_pending_bytes",
        "Bytes of the proposals that no log has taken yet.",
        status.proposals_pending_bytes,
    );
    out.counter(
        "keelson_proposals_refused_total",
        "Proposals that were refused because too much waited.",
        status.proposals_refused,
    );
    out.gauge(
        "keelson_apply_backlog_entries",
        "Entries that are committed and not applied yet.",
        status.committed.saturating_sub(status.applied),
    );
    let name = "keelson_follower_lag_entries";
    out.head(name, "gauge", "Entries of the leader's log that a follower has not got yet.");
    for (follower, lag) in face.node().follower_lags() {
        out.line(name, &format!("To=\"{follower:x}\""), lag);
    }
    out.counter(
        "etcd_server_proposals_failed_total",
        "The total number of failed proposals seen.",
        count(&metrics.proposals_failed),
    );
    out.counter(
        "etcd_server_read_indexes_failed_total",
        "The total number of failed read indexes seen.",
        count(&metrics.read_indexes_failed),
    );
    out.gauge(
        "etcd_server_quota_backend_bytes",
        "Current backend storage quota size in bytes.",
        face.config().quota_bytes.max(0),
    );
    out.counter(
        "etcd_server_health_success",
        "The total number of successful health checks",
        count(&metrics.health_successes),
    );
    out.counter(
        "etcd_server_health_failures",
        "The total number of failed health checks",
        count(&metrics.health_failures),
    );
    let version = face.cluster_version();
    let minor = minor(&version);
    for (name, help, labels) in [
        (
            "etcd_server_version",
            "Which version is running. 1 for 'server_version' label with current version.",
            format!("server_version=\"{ETCD_VERSION}\""),
        ),
        (
            "etcd_server_id",
            "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
            format!("server_id=\"{member:x}\""),
        ),
        (
            "etcd_cluster_version",
            "Which version is running. 1 for 'cluster_version' label with current cluster version",
            format!("cluster_version=\"{minor}\""),
        ),
    ] {
        out.head(name, "gauge", help);
        out.line(name, &labels, 1);
    }
    let name = "etcd_server_feature_enabled";
    out.head(name, "gauge", "Whether or not a feature is enabled. 1 is enabled, 0 is not.");
    for (feature, stage, on) in &face.config().features {
        let labels = format!("name=\"{feature}\",stage=\"{stage}\"");
        out.line(name, &labels, u8::from(*on));
    }
    let name = "etcd_debugging_server_alarms";
    out.head(name, "gauge", "Alarms for every member in cluster.");
    for (alarm, raised_by) in face.node().view().alarms() {
        let labels = format!("alarm_type=\"{alarm}\",server_id=\"{raised_by:x}\"");
        out.line(name, &labels, 1);
    }
}
