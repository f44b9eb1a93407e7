//! What `/metrics` counts, under etcd's names.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use tonic::Code;

use crate::face::EtcdFace;
use crate::{CLUSTER_VERSION, ETCD_VERSION};

/// Names of the codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Services and methods, sorted by path.
const METHODS: [(&str, &str, &str); 52] = [
    ("etcdserverpb.Auth", "AuthDisable", "unary"),
    ("etcdserverpb.Auth", "AuthEnable", "unary"),
    ("etcdserverpb.Auth", "AuthStatus", "unary"),
    ("etcdserverpb.Auth", "Authenticate", "unary"),
    ("etcdserverpb.Auth", "RoleAdd", "unary"),
    ("etcdserverpb.Auth", "RoleDelete", "unary"),
    ("etcdserverpb.Auth", "RoleGet", "unary"),
    ("etcdserverpb.Auth", "RoleGrantPermission", "unary"),
    ("etcdserverpb.Auth", "RoleList", "unary"),
    ("etcdserverpb.Auth", "RoleRevokePermission", "unary"),
    ("etcdserverpb.Auth", "UserAdd", "unary"),
    ("etcdserverpb.Auth", "UserChangePassword", "unary"),
    ("etcdserverpb.Auth", "UserDelete", "unary"),
    ("etcdserverpb.Auth", "UserGet", "unary"),
    ("etcdserverpb.Auth", "UserGrantRole", "unary"),
    ("etcdserverpb.Auth", "UserList", "unary"),
    ("etcdserverpb.Auth", "UserRevokeRole", "unary"),
    ("etcdserverpb.Cluster", "MemberAdd", "unary"),
    ("etcdserverpb.Cluster", "MemberList", "unary"),
    ("etcdserverpb.Cluster", "MemberPromote", "unary"),
    ("etcdserverpb.Cluster", "MemberRemove", "unary"),
    ("etcdserverpb.Cluster", "MemberUpdate", "unary"),
    ("etcdserverpb.KV", "Compact", "unary"),
    ("etcdserverpb.KV", "DeleteRange", "unary"),
    ("etcdserverpb.KV", "Put", "unary"),
    ("etcdserverpb.KV", "Range", "unary"),
    ("etcdserverpb.KV", "RangeStream", "server_stream"),
    ("etcdserverpb.KV", "Txn", "unary"),
    ("etcdserverpb.Lease", "LeaseGrant", "unary"),
    ("etcdserverpb.Lease", "LeaseKeepAlive", "bidi_stream"),
    ("etcdserverpb.Lease", "LeaseLeases", "unary"),
    ("etcdserverpb.Lease", "LeaseRevoke", "unary"),
    ("etcdserverpb.Lease", "LeaseTimeToLive", "unary"),
    ("etcdserverpb.Maintenance", "Alarm", "unary"),
    ("etcdserverpb.Maintenance", "Defragment", "unary"),
    ("etcdserverpb.Maintenance", "Downgrade", "unary"),
    ("etcdserverpb.Maintenance", "Hash", "unary"),
    ("etcdserverpb.Maintenance", "HashKV", "unary"),
    ("etcdserverpb.Maintenance", "MoveLeader", "unary"),
    ("etcdserverpb.Maintenance", "Snapshot", "server_stream"),
    ("etcdserverpb.Maintenance", "Status", "unary"),
    ("etcdserverpb.Watch", "Watch", "bidi_stream"),
    ("grpc.health.v1.Health", "Check", "unary"),
    ("grpc.health.v1.Health", "Watch", "server_stream"),
    ("v3electionpb.Election", "Campaign", "unary"),
    ("v3electionpb.Election", "Leader", "unary"),
    ("v3electionpb.Election", "Observe", "server_stream"),
    ("v3electionpb.Election", "Proclaim", "unary"),
    ("v3electionpb.Election", "Resign", "unary"),
    ("v3lockpb.Lock", "Lock", "unary"),
    ("v3lockpb.Lock", "Unlock", "unary"),
    // Whatever else is asked for.
    ("unknown", "unknown", "unary"),
];
const UNKNOWN: usize = METHODS.len() - 1;

/// A method, by its place in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method(usize);

#[derive(Default)]
struct Calls {
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
}

/// Counters of one face.
pub(crate) struct Metrics {
    calls: Vec<Calls>,
    pub(crate) health_successes: AtomicU64,
    pub(crate) health_failures: AtomicU64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            calls: METHODS.iter().map(|_| Calls::default()).collect(),
            health_successes: AtomicU64::new(0),
            health_failures: AtomicU64::new(0),
        }
    }

    /// A call of the method at this path begins.
    pub(crate) fn started(&self, path: &str) -> Method {
        let found = path.strip_prefix('/').and_then(|path| path.split_once('/')).and_then(|path| {
            METHODS[..UNKNOWN]
                .binary_search_by(|(service, method, _)| (*service, *method).cmp(&path))
                .ok()
        });
        let index = found.unwrap_or(UNKNOWN);
        self.calls[index].started.fetch_add(1, Ordering::Relaxed);
        Method(index)
    }

    /// It has ended; of a stream: it has begun.
    pub(crate) fn handled(&self, method: Method, code: Code) {
        let code = usize::try_from(code as i32).unwrap_or(2).min(CODES.len() - 1);
        self.calls[method.0].handled[code].fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, method: &str, code: Code) -> u64 {
        let index = METHODS.iter().position(|(_, name, _)| *name == method);
        let code = usize::try_from(code as i32).unwrap_or(0);
        index.map_or(0, |index| self.calls[index].handled[code].load(Ordering::Relaxed))
    }
}

/// Everything in Prometheus' text form.
pub(crate) fn render(face: &EtcdFace) -> String {
    let mut out = String::with_capacity(32 << 10);
    calls(face.metrics(), &mut out);
    server(face, &mut out);
    store(face, &mut out);
    process(&mut out);
    out
}

fn calls(metrics: &Metrics, out: &mut String) {
    let methods = || METHODS.iter().zip(&metrics.calls).take(UNKNOWN);
    head(
        out,
        "grpc_server_started_total",
        "counter",
        "Total number of RPCs started on the server.",
    );
    for ((service, method, kind), calls) in methods() {
        let value = calls.started.load(Ordering::Relaxed);
        line(
            out,
            "grpc_server_started_total",
            &format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\""),
            value,
        );
    }
    let name = "grpc_server_handled_total";
    head(
        out,
        name,
        "counter",
        "Total number of RPCs completed on the server, regardless of success or failure.",
    );
    for ((service, method, kind), calls) in methods() {
        for (code, count) in CODES.iter().zip(&calls.handled) {
            let labels = format!(
                "grpc_code=\"{code}\",grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\""
            );
            line(out, name, &labels, count.load(Ordering::Relaxed));
        }
    }
}

fn server(face: &EtcdFace, out: &mut String) {
    let status = face.node().status();
    let member = face.node().node_id();
    let leads = status.leader == Some(member);
    let mut gauge = |name: &str, help: &str, value: u64| {
        head(out, name, "gauge", help);
        line(out, name, "", value);
    };
    gauge(
        "etcd_server_has_leader",
        "Whether or not a leader exists. 1 is existence, 0 is not.",
        u64::from(status.leader.is_some()),
    );
    gauge(
        "etcd_server_is_leader",
        "Whether or not this member is a leader. 1 if is, 0 otherwise.",
        u64::from(leads),
    );
    gauge(
        "etcd_server_is_learner",
        "Whether or not this member is a learner. 1 if is, 0 otherwise.",
        u64::from(status.is_learner),
    );
    gauge(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        status.committed,
    );
    gauge(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        status.applied,
    );
    gauge(
        "etcd_server_quota_backend_bytes",
        "Current backend storage quota size in bytes.",
        face.config().quota_bytes.max(0).unsigned_abs(),
    );
    let mut counter = |name: &str, help: &str, value: u64| {
        head(out, name, "counter", help);
        line(out, name, "", value);
    };
    let metrics = face.metrics();
    counter(
        "etcd_server_health_success",
        "The total number of successful health checks",
        metrics.health_successes.load(Ordering::Relaxed),
    );
    counter(
        "etcd_server_health_failures",
        "The total number of failed health checks",
        metrics.health_failures.load(Ordering::Relaxed),
    );
    let info = |out: &mut String, name: &str, label: &str, value: &str| {
        head(out, name, "gauge", "1 for the value in the label.");
        line(out, name, &format!("{label}=\"{value}\""), 1);
    };
    info(out, "etcd_server_version", "server_version", ETCD_VERSION);
    info(out, "etcd_server_id", "server_id", &format!("{member:x}"));
    let minor = CLUSTER_VERSION.rsplit_once('.').map_or(CLUSTER_VERSION, |(minor, _)| minor);
    info(out, "etcd_cluster_version", "cluster_version", minor);
}

fn store(face: &EtcdFace, out: &mut String) {
    let view = face.node().view();
    let mut gauge = |name: &str, help: &str, value: i64| {
        head(out, name, "gauge", help);
        line(out, name, "", value);
    };
    gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
        view.size(),
    );
    gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
        view.size(),
    );
    gauge(
        "etcd_debugging_mvcc_current_revision",
        "The current revision of store.",
        view.revision(),
    );
    gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.",
        view.compacted(),
    );
    for (name, method) in [
        ("etcd_mvcc_put_total", "Put"),
        ("etcd_mvcc_range_total", "Range"),
        ("etcd_mvcc_delete_total", "DeleteRange"),
        ("etcd_mvcc_txn_total", "Txn"),
    ] {
        head(out, name, "counter", "Total number of these operations seen by this member.");
        line(out, name, "", face.metrics().count(method, Code::Ok));
    }
}

fn process(out: &mut String) {
    let resident = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(pages * 4096)
    });
    if let Some(resident) = resident {
        head(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
        line(out, "process_resident_memory_bytes", "", resident);
    }
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    head(out, "os_fd_used", "gauge", "The number of used file descriptors.");
    line(out, "os_fd_used", "", open);
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _infallible = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_are_sorted_and_found() {
        assert!(METHODS.windows(2).take(UNKNOWN - 1).all(|pair| pair[0] < pair[1]));
        let metrics = Metrics::new();
        let method = metrics.started("/etcdserverpb.KV/Put");
        assert_eq!(METHODS[method.0].1, "Put");
        metrics.handled(method, Code::Ok);
        assert_eq!(metrics.count("Put", Code::Ok), 1);
        assert_eq!(metrics.started("/nobody/knows").0, UNKNOWN);
        assert_eq!(metrics.started("").0, UNKNOWN);
    }
}
