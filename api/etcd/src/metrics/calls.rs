//! gRPC calls: how many, how they ended, what went over the wire.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keelson_storage::measures::Histogram;
use tonic::Code;

use super::methods::{CODES, METHODS, Method, UNKNOWN};
use super::text::Text;

/// Counts of all methods.
pub(super) struct Calls {
    methods: Vec<Counts>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

/// Counts of one.
struct Counts {
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    received: AtomicU64,
    sent: AtomicU64,
    took: Histogram,
}

impl Counts {
    fn new() -> Self {
        Self {
            started: AtomicU64::new(0),
            handled: Default::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            took: Histogram::new(0.001, 14),
        }
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        let methods = METHODS.iter().map(|_| Counts::new()).collect();
        Self { methods, received_bytes: AtomicU64::new(0), sent_bytes: AtomicU64::new(0) }
    }

    pub(super) fn started(&self, method: Method) {
        self.methods[method.0].started.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn handled(&self, method: Method, code: Code, took: Duration) {
        let code = usize::try_from(code as i32).unwrap_or(2).min(CODES.len() - 1);
        let counts = &self.methods[method.0];
        counts.handled[code].fetch_add(1, Ordering::Relaxed);
        counts.took.observe(took);
    }

    pub(super) fn received(&self, method: Method, bytes: usize) {
        self.methods[method.0].received.fetch_add(1, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, method: Method, bytes: usize) {
        self.methods[method.0].sent.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How often a method has succeeded.
    pub(super) fn succeeded(&self, method: &str) -> u64 {
        let index = METHODS.iter().position(|(_, name, _)| *name == method);
        index.map_or(0, |index| self.methods[index].handled[0].load(Ordering::Relaxed))
    }

    /// Calls of these methods that have begun and not ended.
    pub(super) fn running(&self, methods: &[&str]) -> u64 {
        let named = METHODS.iter().zip(&self.methods);
        let named = named.filter(|((_, name, _), _)| methods.contains(name));
        let running = named.map(|(_, counts)| {
            let ended: u64 = counts.handled.iter().map(|one| one.load(Ordering::Relaxed)).sum();
            counts.started.load(Ordering::Relaxed).saturating_sub(ended)
        });
        running.sum()
    }

    /// All methods, those that nobody has called too.
    pub(super) fn write(&self, extensive: bool, out: &mut Text) {
        let all =
            || self.methods.iter().enumerate().take(UNKNOWN).map(|(at, one)| (Method(at), one));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let name = "grpc_server_started_total";
        out.head(name, "counter", "Total number of RPCs started on the server.");
        for (method, counts) in all() {
            out.line(name, &method.labels(), count(&counts.started));
        }
        let name = "grpc_server_handled_total";
        let help =
            "Total number of RPCs completed on the server, regardless of success or failure.";
        out.head(name, "counter", help);
        for (method, counts) in all() {
            for (code, handled) in CODES.iter().zip(&counts.handled) {
                let labels = format!("grpc_code=\"{code}\",{}", method.labels());
                out.line(name, &labels, count(handled));
            }
        }
        let name = "grpc_server_msg_received_total";
        out.head(name, "counter", "Total number of RPC stream messages received on the server.");
        for (method, counts) in all() {
            out.line(name, &method.labels(), count(&counts.received));
        }
        let name = "grpc_server_msg_sent_total";
        out.head(name, "counter", "Total number of gRPC stream messages sent by the server.");
        for (method, counts) in all() {
            out.line(name, &method.labels(), count(&counts.sent));
        }
        if extensive {
            let name = "grpc_server_handling_seconds";
            let help = "Histogram of response latency (seconds) of gRPC that had been \
                        application-level handled by the server.";
            out.head(name, "histogram", help);
            for (method, counts) in all() {
                out.histogram(name, &method.labels(), &counts.took);
            }
        }
        out.counter(
            "etcd_network_client_grpc_received_bytes_total",
            "The total number of bytes received from grpc clients.",
            count(&self.received_bytes),
        );
        out.counter(
            "etcd_network_client_grpc_sent_bytes_total",
            "The total number of bytes sent to grpc clients.",
            count(&self.sent_bytes),
        );
    }
}
