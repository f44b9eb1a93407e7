//! A store handle as etcd's services see it.

use std::sync::Arc;
use std::time::Duration;

use keelson_proto::etcdserverpb as pb;
use keelson_raft::{Leadership, Node};
use keelson_storage::command::{Op, Reply, command};
use prost::Message;
use tokio::sync::watch;

use crate::error::FaceError;
use crate::metrics::Metrics;

/// Progress is told no more often.
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Limits of what a request may ask.
#[derive(Debug, Clone)]
pub struct FaceConfig {
    /// Largest proposal, encoded.
    pub max_request_bytes: usize,
    /// Most operations in a transaction.
    pub max_txn_ops: usize,
    /// How often a quiet watcher that wants it is told how far it is.
    pub progress_interval: Duration,
    /// Size of the data at which writes are refused, as it is shown; 0: none is set.
    pub quota_bytes: i64,
    /// Shortest lease; shorter ones are raised to it.
    pub lease_ttl_seconds_min: i64,
    /// How long a stream that wants a leader does without one.
    pub leaderless_max: Duration,
}

impl Default for FaceConfig {
    fn default() -> Self {
        Self {
            max_request_bytes: 1_572_864,
            max_txn_ops: 128,
            progress_interval: Duration::from_secs(600),
            quota_bytes: 0,
            lease_ttl_seconds_min: keelson_storage::lease::TTL_SECONDS_MIN,
            leaderless_max: Duration::from_secs(3),
        }
    }
}

/// The etcd API as functions; cheap to clone.
#[derive(Clone)]
pub struct EtcdFace {
    inner: Arc<Inner>,
}

struct Inner {
    node: Node,
    leadership: watch::Receiver<Leadership>,
    config: FaceConfig,
    metrics: Metrics,
}

impl EtcdFace {
    /// A face of `node` with etcd's default limits.
    pub fn new(node: Node) -> Self {
        Self::with_config(node, FaceConfig::default())
    }

    /// A face with limits of its own.
    pub fn with_config(node: Node, config: FaceConfig) -> Self {
        let leadership = node.leadership();
        let inner = Inner { node, leadership, config, metrics: Metrics::new() };
        Self { inner: Arc::new(inner) }
    }

    /// The store handle.
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// The leader, if one is known.
    pub(crate) fn leader(&self) -> Option<u64> {
        self.inner.leadership.borrow().leader
    }

    pub(crate) fn config(&self) -> &FaceConfig {
        &self.inner.config
    }

    pub(crate) fn progress_interval(&self) -> Duration {
        self.config().progress_interval.max(PROGRESS_INTERVAL_MIN)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Proposes a command and waits until this member's answer to it is there.
    pub(crate) async fn propose(&self, op: Op) -> Result<Reply, FaceError> {
        let command = command(op);
        if command.encoded_len() > self.config().max_request_bytes {
            return Err(FaceError::TooLarge);
        }
        Ok(self.node().propose(command).await?)
    }

    /// Waits until this member has applied all that was committed before the call.
    pub(crate) async fn read_index(&self) -> Result<(), FaceError> {
        Ok(self.node().read_index().await?)
    }

    /// The header of an answer at `revision`.
    pub(crate) fn header(&self, revision: i64) -> pb::ResponseHeader {
        let node = self.node();
        pb::ResponseHeader {
            cluster_id: node.cluster_id(),
            member_id: node.node_id(),
            revision,
            raft_term: self.inner.leadership.borrow().term,
        }
    }

    /// The header of an answer at the current revision.
    pub(crate) fn header_now(&self) -> pb::ResponseHeader {
        self.header(self.node().view().revision())
    }

    /// Completes a header that has its revision.
    pub(crate) fn complete(&self, header: &mut Option<pb::ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.header(revision));
    }
}
