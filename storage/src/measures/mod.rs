//! What a store counts of itself, for whoever shows it. Nothing is ever decided by it.

mod behind;
mod histogram;
mod operation;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use keelson_proto::etcdserverpb as pb;
use pb::response_op::Response;

pub use behind::Behind;
pub use histogram::Histogram;
pub use operation::{Operation, Timed};

use crate::command::Reply;

/// What only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts so many.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// So many more, or fewer.
    pub fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Exactly so many.
    pub fn set(&self, count: i64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of one store.
#[derive(Debug)]
pub struct Measures {
    /// Ranges answered, those in transactions too.
    pub ranges: Counter,
    /// Keys set.
    pub puts: Counter,
    /// Bytes of the keys and values set.
    pub put_bytes: Counter,
    /// Ranges deleted.
    pub deletes: Counter,
    /// Transactions of more than one operation.
    pub txns: Counter,
    /// Keys that exist.
    pub keys: Gauge,
    /// Leases granted.
    pub leases_granted: Counter,
    /// Leases ended, for whatever reason.
    pub leases_revoked: Counter,
    /// Leases ended by their time.
    pub leases_expired: Counter,
    /// Renewals by this member.
    pub leases_renewed: Counter,
    /// Times to live that were granted.
    pub lease_ttls: Histogram,
    /// Watch streams that are open.
    pub watch_streams: Gauge,
    /// Watchers.
    pub watchers: Gauge,
    /// Watchers that read old events, not yet the newest.
    pub slow_watchers: Behind,
    /// Events handed to a stream.
    pub events: Counter,
    /// Events that wait in streams' queues.
    pub pending_events: Gauge,
    /// Bytes of them; what several streams share counts for each.
    pub pending_bytes: Gauge,
    /// How long each step of a compaction took.
    pub compaction_pauses: Histogram,
    /// How long whole compactions took.
    pub compactions: Histogram,
    /// Revisions dropped.
    pub compacted_keys: Counter,
    /// When the last compaction ended, in seconds since 1970.
    pub compaction_last: Gauge,
    /// How long entries took to apply.
    pub applies: Timed,
    /// Those that took longer than is wanted.
    pub slow_applies: Counter,
    /// Snapshots of the leader that are being taken over.
    pub snapshots_applying: Gauge,
}

impl Default for Measures {
    fn default() -> Self {
        let counter = Counter::default;
        Self {
            ranges: counter(),
            puts: counter(),
            put_bytes: counter(),
            deletes: counter(),
            txns: counter(),
            keys: Gauge::default(),
            leases_granted: counter(),
            leases_revoked: counter(),
            leases_expired: counter(),
            leases_renewed: counter(),
            lease_ttls: Histogram::new(1.0, 24),
            watch_streams: Gauge::default(),
            watchers: Gauge::default(),
            slow_watchers: Behind::default(),
            events: counter(),
            pending_events: Gauge::default(),
            pending_bytes: Gauge::default(),
            compaction_pauses: Histogram::new(0.001, 13),
            compactions: Histogram::new(0.1, 14),
            compacted_keys: counter(),
            compaction_last: Gauge::default(),
            applies: Timed::new(0.0001, 20),
            slow_applies: counter(),
            snapshots_applying: Gauge::default(),
        }
    }
}

impl Measures {
    /// Counts what an applied entry did; its puts are counted where they are made.
    pub(crate) fn applied(&self, reply: &Reply) {
        match reply {
            Reply::Put(_) | Reply::Compaction(_) | Reply::Alarm(_) => {}
            Reply::Token(_) | Reply::Done { .. } => {}
            Reply::DeleteRange(_) => self.deletes.add(1),
            Reply::Txn(response) => self.transaction(response),
            Reply::LeaseGrant(response) => {
                self.leases_granted.add(1);
                let ttl = std::time::Duration::from_secs(response.ttl.unsigned_abs());
                self.lease_ttls.observe(ttl);
            }
            Reply::LeaseRevoke(_) => {}
        }
    }

    /// Counts a transaction that has run.
    pub(crate) fn transaction(&self, response: &pb::TxnResponse) {
        let operations = self.operations(&response.responses);
        if operations > 1 {
            self.txns.add(1);
        }
    }

    fn operations(&self, responses: &[pb::ResponseOp]) -> u64 {
        let mut count = 0;
        for response in responses {
            count += match &response.response {
                Some(Response::ResponseRange(_)) => {
                    self.ranges.add(1);
                    1
                }
                Some(Response::ResponseDeleteRange(_)) => {
                    self.deletes.add(1);
                    1
                }
                Some(Response::ResponsePut(_)) => 1,
                Some(Response::ResponseTxn(nested)) => self.operations(&nested.responses),
                None => 0,
            };
        }
        count
    }
}
