//! Requests as clients meet them: how long each kind took, and what clients say to be.

use std::time::Duration;

use keelson_storage::measures::{Counter, Histogram, Operation, Timed};
use parking_lot::RwLock;

use super::text::Text;

/// Versions of clients that are told apart; the rest is one.
const VERSIONS_MAX: usize = 32;
const OTHERS: &str = "other";

/// Of one face.
pub(crate) struct Requests {
    took: Timed,
    /// Failed and done.
    ranges: [Histogram; 2],
    /// Unary calls and streams, by the client's version: as a rule one.
    clients: RwLock<Vec<(String, [Counter; 2])>>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            took: Timed::requests(),
            ranges: [false, true].map(|_| Histogram::new(0.0001, 20)),
            clients: RwLock::default(),
        }
    }

    /// One was answered.
    pub(crate) fn ended(&self, operation: Operation, success: bool, took: Duration) {
        self.took.observe(operation, success, took);
    }

    /// A range was read.
    pub(crate) fn ranged(&self, success: bool, took: Duration) {
        self.ranges[usize::from(success)].observe(took);
    }

    /// A client of this version calls.
    pub(crate) fn came(&self, version: &str, is_stream: bool) {
        let count = |clients: &[(String, [Counter; 2])], version: &str| {
            let found = clients.iter().find(|(known, _)| known == version);
            found.map(|(_, counts)| counts[usize::from(is_stream)].add(1)).is_some()
        };
        if count(&self.clients.read(), version) {
            return;
        }
        let mut clients = self.clients.write();
        let version = if clients.len() < VERSIONS_MAX { version } else { OTHERS };
        if !count(&clients, version) {
            clients.push((version.to_owned(), Default::default()));
            count(&clients, version);
        }
    }

    pub(super) fn write(&self, out: &mut Text) {
        let name = "etcd_server_request_duration_seconds";
        out.head(name, "histogram", "Response latency distribution in seconds for each type.");
        for (operation, success, histogram) in self.took.all() {
            let labels = format!("success=\"{success}\",type=\"{}\"", operation.name());
            out.histogram(name, &labels, histogram);
        }
        let name = "etcd_server_range_duration_seconds";
        out.head(name, "histogram", "The latency distributions of txn.Range");
        for (success, histogram) in [false, true].into_iter().zip(&self.ranges) {
            if success || histogram.count() > 0 {
                out.histogram(name, &format!("success=\"{success}\""), histogram);
            }
        }
        let name = "etcd_server_client_requests_total";
        out.head(name, "counter", "The total number of client requests per client version.");
        for (version, counts) in self.clients.read().iter() {
            for (kind, count) in ["unary", "stream"].into_iter().zip(counts) {
                // What a client says of itself may be anything.
                let version = version.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
                let labels = format!("client_api_version=\"{version}\",type=\"{kind}\"");
                if count.get() > 0 {
                    out.line(name, &labels, count.get());
                }
            }
        }
    }
}
