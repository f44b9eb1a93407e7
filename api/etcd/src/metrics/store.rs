//! The store under the API.

use super::text::Text;
use crate::face::EtcdFace;

pub(super) fn write(face: &EtcdFace, out: &mut Text) {
    let view = face.node().view();
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
        "etcd_debugging_mvcc_current_revision",
        "The current revision of store.",
        view.revision(),
    );
    out.gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.",
        view.compacted(),
    );
    let calls = &face.metrics().calls;
    for (name, what, method) in [
        ("etcd_mvcc_put_total", "puts", "Put"),
        ("etcd_mvcc_range_total", "ranges", "Range"),
        ("etcd_mvcc_delete_total", "deletes", "DeleteRange"),
        ("etcd_mvcc_txn_total", "txns", "Txn"),
        ("etcd_debugging_lease_granted_total", "granted leases", "LeaseGrant"),
        ("etcd_debugging_lease_revoked_total", "revoked leases", "LeaseRevoke"),
    ] {
        let help = format!("Total number of {what} seen by this member.");
        out.counter(name, &help, calls.succeeded(method));
    }
}
