//! What `/metrics` shows, under etcd's names.
//!
//! The page is written by hand: etcd has counters whose names do not end in `_total` and gauges
//! whose names do, which a library that keeps to the newer text form cannot say.

mod calls;
mod checks;
mod disk;
mod methods;
mod peers;
mod process;
mod requests;
mod server;
mod store;
mod text;
mod watch;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tonic::Code;

pub use disk::{Defragmenting, DiskMetrics};
pub(crate) use methods::Method;
pub(crate) use process::{descriptor_limit, resident_bytes};

use self::calls::Calls;
use self::checks::Checks;
use self::requests::Requests;
use self::store::Whole;
use self::text::Text;
use self::watch::SendLoops;
use crate::face::EtcdFace;

/// Counters of one face.
pub(crate) struct Metrics {
    calls: Calls,
    checks: Checks,
    pub(crate) requests: Requests,
    pub(crate) send_loops: SendLoops,
    pub(crate) whole: Whole,
    pub(crate) slow_read_indexes: AtomicU64,
    pub(crate) health_successes: AtomicU64,
    pub(crate) health_failures: AtomicU64,
    pub(crate) leader_changes: AtomicU64,
    pub(crate) proposals_failed: AtomicU64,
    pub(crate) read_indexes_failed: AtomicU64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            calls: Calls::new(),
            checks: Checks::new(),
            requests: Requests::new(),
            send_loops: SendLoops::new(),
            whole: Whole::new(),
            slow_read_indexes: AtomicU64::new(0),
            health_successes: AtomicU64::new(0),
            health_failures: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
            proposals_failed: AtomicU64::new(0),
            read_indexes_failed: AtomicU64::new(0),
        }
    }

    /// A health check has run.
    pub(crate) fn checked(&self, group: &str, check: &str, ok: bool) {
        self.checks.ended(group, check, ok);
    }

    /// A call of the method at this path begins.
    pub(crate) fn started(&self, path: &str) -> Method {
        let method = Method::at(path);
        self.begun(method);
        method
    }

    /// A call of this method begins.
    pub(crate) fn begun(&self, method: Method) {
        self.calls.started(method);
    }

    /// It has ended.
    pub(crate) fn handled(&self, method: Method, code: Code, took: Duration) {
        self.calls.handled(method, code, took);
    }

    /// A client has sent a message.
    pub(crate) fn received(&self, method: Method, bytes: usize) {
        self.calls.received(method, bytes);
    }

    /// A client is sent a message.
    pub(crate) fn sent(&self, method: Method, bytes: usize) {
        self.calls.sent(method, bytes);
    }
}

/// Everything in Prometheus' text form.
pub(crate) fn render(face: &EtcdFace) -> String {
    let mut out = Text::new();
    let metrics = face.metrics();
    metrics.calls.write(face.config().extensive_metrics, &mut out);
    server::write(face, &mut out);
    peers::write(face, &mut out);
    store::write(face, &mut out);
    metrics.requests.write(&mut out);
    face.config().disk.write(&mut out);
    metrics.checks.write(&mut out);
    process::write(&mut out);
    out.finish()
}
