//! A store handle as etcd's services see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::HeaderMap;
use keelson_proto::etcdserverpb as pb;
use keelson_raft::{Leadership, Node, ProposeError};
use keelson_storage::auth::{AuthError, AuthState, Authority};
use keelson_storage::background::Worker;
use keelson_storage::command::{Command, Op, Reply, command};
use keelson_storage::measures::Operation;
use prost::Message;
use tokio::sync::{Semaphore, watch};

use crate::auth::{AuthToken, Caller, Credentials};
use crate::error::FaceError;
use crate::health::Serving;
use crate::metrics::{DiskMetrics, Metrics};

/// Progress is told no more often.
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A read index that takes longer is counted as slow.
const READ_INDEX_SLOW: Duration = Duration::from_millis(500);

/// Ranges in parts that hold a moment of the engine, and a thread, at a time.
const CURSORS_MAX: usize = 64;

/// Limits of what a request may ask.
#[derive(Debug, Clone)]
pub struct FaceConfig {
    /// Largest proposal, encoded.
    pub max_request_bytes: usize,
    /// Most operations in a transaction.
    pub max_txn_ops: usize,
    /// How often a quiet watcher that wants it is told how far it is.
    pub progress_interval: Duration,
    /// Size of the data at which writes are refused until the alarm is disarmed; 0: none is set.
    pub quota_bytes: i64,
    /// What users get who have shown their password.
    pub auth_token: AuthToken,
    /// How dear a password's hash is.
    pub bcrypt_cost: u32,
    /// Shortest lease; shorter ones are raised to it.
    pub lease_ttl_seconds_min: i64,
    /// Whether members are changed only while most of them run.
    pub strict_reconfig: bool,
    /// Most learners.
    pub learners_max: u32,
    /// How long a stream that wants a leader does without one.
    pub leaderless_max: Duration,
    /// Whether `/metrics` has how long calls took.
    pub extensive_metrics: bool,
    /// Features by name, with their stage, and whether each is on.
    pub features: Vec<(&'static str, &'static str, bool)>,
    /// Reading keys that takes longer is logged.
    pub apply_warning: Duration,
    /// How long a client may rest in a range in parts before what it reads is let go.
    pub range_hold: Duration,
    /// A request that takes longer is logged.
    pub unary_warning: Duration,
    /// Whether gRPC's health service says so while the member is defragmented.
    pub stop_on_defragment: bool,
    /// What the disk costs, told by whoever opens the files.
    pub disk: Arc<DiskMetrics>,
}

impl Default for FaceConfig {
    fn default() -> Self {
        Self {
            max_request_bytes: 1_572_864,
            max_txn_ops: 128,
            progress_interval: Duration::from_secs(600),
            quota_bytes: 0,
            auth_token: AuthToken::default(),
            bcrypt_cost: 10,
            lease_ttl_seconds_min: keelson_storage::lease::TTL_SECONDS_MIN,
            strict_reconfig: true,
            learners_max: 1,
            leaderless_max: Duration::from_secs(3),
            extensive_metrics: false,
            stop_on_defragment: false,
            features: Vec::new(),
            apply_warning: Duration::from_millis(100),
            range_hold: Duration::from_secs(1),
            unary_warning: Duration::from_millis(300),
            disk: Arc::default(),
        }
    }
}

/// The etcd API as functions, called by somebody; cheap to clone.
#[derive(Clone)]
pub struct EtcdFace {
    inner: Arc<Inner>,
    caller: Caller,
    /// Where its requests come from, if from a connection.
    remote: Option<Arc<str>>,
}

struct Inner {
    node: Node,
    leadership: watch::Receiver<Leadership>,
    config: FaceConfig,
    metrics: Metrics,
    serving: Serving,
    /// Ranges that may hold a moment of the engine while their client reads.
    cursors: Arc<Semaphore>,
    bulk: Worker,
}

impl EtcdFace {
    /// A face of `node` with etcd's default limits, whose caller may do all.
    pub fn new(node: Node) -> Self {
        Self::with_config(node, FaceConfig::default())
    }

    /// The same with limits of its own.
    pub fn with_config(node: Node, config: FaceConfig) -> Self {
        let leadership = node.leadership();
        let inner = Inner {
            node,
            leadership,
            config,
            metrics: Metrics::new(),
            serving: Serving::default(),
            cursors: Arc::new(Semaphore::new(CURSORS_MAX)),
            bulk: Worker::default(),
        };
        Self { inner: Arc::new(inner), caller: Caller::Trusted, remote: None }
    }

    /// The same face for a caller who may do all: code of this process.
    pub(crate) fn trusted(&self) -> Self {
        Self { inner: self.inner.clone(), caller: Caller::Trusted, remote: self.remote.clone() }
    }

    /// The same face for requests of a connection from there.
    pub(crate) fn of_remote(&self, remote: &Arc<str>) -> Self {
        Self { remote: Some(remote.clone()), ..self.clone() }
    }

    /// Where requests come from, for the log.
    pub(crate) fn remote(&self) -> &str {
        self.remote.as_deref().unwrap_or("No remote client info.")
    }

    /// The same face for the client who sent these headers over a connection with this
    /// certificate; a token counts more. While authentication is off, nobody looks for one.
    pub(crate) fn on_behalf(
        &self,
        headers: &HeaderMap,
        certificate: Option<&Arc<Credentials>>,
    ) -> Self {
        let enabled = self.node().view().is_auth_enabled();
        let token = enabled.then(|| Credentials::token(headers)).flatten().map(Arc::new);
        self.shown(token.as_ref(), certificate)
    }

    /// The same face for the client who shows these.
    pub(crate) fn shown(
        &self,
        token: Option<&Arc<Credentials>>,
        certificate: Option<&Arc<Credentials>>,
    ) -> Self {
        let caller =
            token.or(certificate).map_or(Caller::Unknown, |one| Caller::Known(one.clone()));
        Self { inner: self.inner.clone(), caller, remote: self.remote.clone() }
    }

    /// Asks whether the caller may, while authentication is on; the auth revision that was asked.
    pub(crate) fn authorize(
        &self,
        ask: impl FnOnce(&AuthState, &Authority) -> Result<(), AuthError>,
    ) -> Result<Authorized, FaceError> {
        if !self.node().view().is_auth_enabled() {
            return Ok(Authorized(None));
        }
        let Some(by) = self.caller.authority(self)? else { return Ok(Authorized(None)) };
        let auth = self.node().view().auth();
        ask(&auth, &by)?;
        Ok(Authorized(Some(auth.revision())))
    }

    /// Whether nothing has changed for the caller since: what was read meanwhile may be told.
    pub(crate) fn still(&self, authorized: &Authorized) -> Result<(), FaceError> {
        match authorized.0 {
            Some(revision) if self.node().view().auth().revision() != revision => {
                Err(AuthError::OldRevision.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The store handle.
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// Counts changes of the leader for as long as it is polled.
    pub(crate) async fn watch_leader(self) {
        let mut leadership = self.inner.leadership.clone();
        let mut last = None;
        loop {
            let leader = leadership.borrow_and_update().leader;
            if leader.is_some() && leader != last {
                self.metrics().leader_changes.fetch_add(1, Ordering::Relaxed);
                last = leader;
            }
            if leadership.changed().await.is_err() {
                return;
            }
        }
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

    /// What gRPC's health service says.
    pub(crate) fn serving(&self) -> &Serving {
        &self.inner.serving
    }

    pub(crate) fn cursors(&self) -> &Arc<Semaphore> {
        &self.inner.cursors
    }

    /// Does work that takes long.
    pub(crate) fn bulk(&self) -> &Worker {
        &self.inner.bulk
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Proposes a command and waits until this member's answer to it is there.
    pub(crate) async fn propose(&self, op: Op) -> Result<Reply, FaceError> {
        let mut command = command(op);
        if matches!(self.caller, Caller::Trusted) {
            command.trusted = true;
        } else if self.node().view().is_auth_enabled()
            && let Some(by) = self.caller.authority(self)?
        {
            command.user = by.user;
            command.auth_revision = by.revision;
        }
        self.propose_command(command).await
    }

    /// Proposes what needs nobody's permission.
    pub(crate) async fn propose_as_nobody(&self, op: Op) -> Result<Reply, FaceError> {
        self.propose_command(command(op)).await
    }

    async fn propose_command(&self, command: Command) -> Result<Reply, FaceError> {
        if command.encoded_len() > self.config().max_request_bytes {
            return Err(FaceError::TooLarge);
        }
        let (operation, began) = (Operation::of(&command), Instant::now());
        let answer = self.node().propose(command).await;
        self.metrics().requests.ended(operation, answer.is_ok(), began.elapsed());
        // Refused when it was applied is not failed.
        if answer.as_ref().is_err_and(|error| !matches!(error, ProposeError::Apply(_))) {
            self.metrics().proposals_failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer?)
    }

    /// Waits until this member has applied all that was committed before the call.
    pub(crate) async fn read_index(&self) -> Result<(), FaceError> {
        let began = Instant::now();
        let answer = self.node().read_index().await;
        if began.elapsed() > READ_INDEX_SLOW {
            self.metrics().slow_read_indexes.fetch_add(1, Ordering::Relaxed);
        }
        if answer.is_err() {
            self.metrics().read_indexes_failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer?)
    }

    /// Counts a read of keys; one that took too long is logged. `answered`: what was found, if it
    /// was well.
    pub(crate) fn has_read(
        &self,
        operation: Operation,
        took: Duration,
        answered: Option<&dyn Fn() -> String>,
    ) {
        let requests = &self.metrics().requests;
        if operation == Operation::RANGE {
            requests.ranged(answered.is_some(), took);
        }
        let expected = self.config().apply_warning;
        if took <= expected {
            return;
        }
        self.node().view().measures().slow_applies.add(1);
        let is_range = operation == Operation::RANGE;
        tracing::warn!(
            took = ?took,
            "expected-duration" = ?expected,
            prefix = if is_range { "read-only range " } else { "read-only txn " },
            request = operation.name(),
            response = answered.map(|describe| describe()).unwrap_or_default(),
            "apply request took too long"
        );
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

/// That the caller may, as of an auth revision; `None`: whatever it is.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(crate) struct Authorized(Option<u64>);
