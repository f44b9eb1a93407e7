//! NodeConfig: what a member must be told to start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keelson_storage::disk::{Disk, RealDisk};
use keelson_storage::wal::WalOptions;

use crate::error::StartError;
use crate::observer::Observer;
use crate::peer::{PeerHttp, PeerListener, PeerTls, Transport};
use crate::types::Member;

/// etcd's default.
pub const HEARTBEAT: Duration = Duration::from_millis(100);
/// etcd's default.
pub const ELECTION: Duration = Duration::from_millis(1000);

/// etcd's default.
pub const APPLY_WARNING: Duration = Duration::from_millis(100);

/// How to start a member.
pub struct NodeConfig {
    /// This member.
    pub node_id: u64,
    /// Its cluster; members of another cluster are refused.
    pub cluster_id: u64,
    /// Holds `wal/` and, while one arrives, a snapshot.
    pub data_dir: PathBuf,
    /// The cluster's first members; looked at only when the data directory is empty. None: the
    /// member joins a cluster to which it has been added.
    pub members: BTreeMap<u64, Member>,
    /// A leader is heard at least this often.
    pub heartbeat: Duration,
    /// Without a leader for this long, and at most half as long again, a member stands for
    /// election.
    pub election: Duration,
    /// Forget all members but this one, which is known under these addresses, and keep the data.
    pub force_new_cluster: Option<Member>,
    /// Where other members connect; none in a cluster of one.
    pub peer_listeners: Vec<PeerListener>,
    /// Takes connections of other members on which HTTP is spoken.
    pub peer_http: Option<PeerHttp>,
    /// Certificates for peer connections.
    pub peer_tls: Option<PeerTls>,
    /// In the place of sockets, for a simulation.
    pub transport: Option<Arc<dyn Transport>>,
    /// Where the WAL is kept.
    pub disk: Arc<dyn Disk>,
    /// Sizes of the WAL.
    pub wal: WalOptions,
    /// Sees what the member does, for a simulation.
    pub observer: Option<Arc<dyn Observer>>,
    /// Threads for consensus and peers.
    pub threads: usize,
    /// The state is made durable, and the log before it may go, after this many entries.
    pub snapshot_entries: usize,
    /// Or after this many bytes of them.
    pub snapshot_bytes: usize,
    /// How often the leader compares the members' histories; `None`: never.
    pub corrupt_check: Option<Duration>,
    /// How often the leader looks whether a compaction has ended, after which it compares the
    /// members' histories; `None`: never.
    pub compact_hash_check: Option<Duration>,
    /// Whether a member asks the others before it stands for election: one that was cut off does
    /// not disturb them then.
    pub pre_vote: bool,
    /// Applying that takes longer is logged.
    pub apply_warning: Duration,
    /// Released entries that are kept for members who are a little behind.
    pub entries_kept: u64,
}

impl NodeConfig {
    /// A cluster of one, with etcd's timings.
    pub fn new(node_id: u64, cluster_id: u64, data_dir: PathBuf) -> Self {
        Self {
            node_id,
            cluster_id,
            data_dir,
            members: BTreeMap::from([(node_id, Member::default())]),
            heartbeat: HEARTBEAT,
            election: ELECTION,
            force_new_cluster: None,
            peer_listeners: Vec::new(),
            peer_http: None,
            peer_tls: None,
            transport: None,
            disk: Arc::new(RealDisk),
            wal: WalOptions::default(),
            observer: None,
            threads: 1,
            // Replaying them takes a fraction of a second.
            snapshot_entries: 100_000,
            snapshot_bytes: 64 * 1024 * 1024,
            corrupt_check: None,
            compact_hash_check: None,
            pre_vote: true,
            apply_warning: APPLY_WARNING,
            entries_kept: 5000,
        }
    }

    /// A request is given up after this long, as in etcd.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + self.election * 2
    }

    /// The library's settings.
    pub(crate) fn consensus(&self) -> Result<openraft::Config, StartError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: format!("{:x}", self.cluster_id),
            heartbeat_interval: millis(self.heartbeat),
            // A follower waits for the leader's lease, which is the greater of these, and then for a
            // time between the two: from 1.1 to 1.4 election timeouts in all.
            election_timeout_min: millis(self.election) * 4 / 10,
            election_timeout_max: millis(self.election) * 7 / 10,
            install_snapshot_timeout: 60_000,
            max_payload_entries: 4096,
            // A follower is sent entries as long as there are any.
            replication_lag_threshold: u64::MAX / 2,
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.entries_kept,
            purge_batch_size: (self.entries_kept / 16).max(1),
            heartbeat_min_interval: Some(millis(self.heartbeat) / 2),
            enable_pre_vote: Some(self.pre_vote),
            // Entries go to followers beside the leader's own sync: they may hold, and may have
            // committed, what a leader that lost its power has not. It must stand for election.
            enable_leader_restore: Some(false),
            backoff: "20ms 50ms 100ms ...500ms".to_owned(),
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| StartError::Config(error.to_string()))
    }
}
