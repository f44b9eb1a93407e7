//! A data directory for a member of a new cluster whose state comes from a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use keelson_proto::raft as pb;
use keelson_raft::Member;
use keelson_storage::disk::{Disk as _, RealDisk};
use keelson_storage::engine::{Engine as _, RocksDb, RocksOptions, WriteBatch};
use keelson_storage::mvcc::keys;
use keelson_storage::wal::{Identity, LogId, Record, Vote, Wal, WalOptions};
use prost::Message as _;

use super::bootstrap::{Bootstrap, found};
use super::config::Config;
use super::make_private;
use super::member::place_log;

/// Where the log of such a member begins: entries before it are the state.
const BEGIN: LogId = LogId { term: 1, index: 1 };

/// A member to be; every founder makes one, from the same file.
pub struct Founding {
    data_dir: PathBuf,
    dir: PathBuf,
    identity: Identity,
    ids: Vec<u64>,
    /// The membership, as it is applied at the beginning of the log.
    membership: Bytes,
}

impl Founding {
    /// Who founds, by the flags of a member; refuses a directory that is in use.
    pub fn new(config: &Config) -> Result<Self> {
        let founders = config.founders().map_err(anyhow::Error::msg)?;
        let data_dir = config.data_dir();
        let dir = data_dir.join("member");
        if dir.exists() {
            bail!("data-dir {:?} not empty or could not be read", data_dir.display().to_string());
        }
        let token = config.0.text("initial-cluster-token");
        let Bootstrap { identity, founders } = found(config.name(), &founders, token)?;
        let ids: Vec<u64> = founders.keys().copied().collect();
        let membership = pb::Membership {
            id: Some(pb::LogId { term: BEGIN.term, index: BEGIN.index }),
            configs: vec![pb::Voters { ids: ids.clone() }],
            peers: founders
                .into_iter()
                .map(|(id, Member { name, peer_urls, .. })| pb::Peer {
                    id,
                    name,
                    peer_urls,
                    ..Default::default()
                })
                .collect(),
        };
        let membership = membership.encode_to_vec().into();
        Ok(Self { data_dir, dir, identity, ids, membership })
    }

    /// Makes the files; `fill` puts the state into the engine, and adds to the batch that ends it.
    /// Nothing stays where that fails.
    pub fn make(
        &self,
        config: &Config,
        fill: impl FnOnce(&Arc<RocksDb>, &mut WriteBatch) -> Result<()>,
    ) -> Result<()> {
        make_private(&self.dir)?;
        self.fill(config, fill).inspect_err(|_| {
            let _stays_behind = std::fs::remove_dir_all(&self.dir);
        })?;
        for id in &self.ids {
            tracing::info!(
                "cluster-id" = format!("{:x}", self.identity.cluster_id),
                "added-peer-id" = format!("{id:x}"),
                "added member"
            );
        }
        Ok(())
    }

    fn fill(
        &self,
        config: &Config,
        fill: impl FnOnce(&Arc<RocksDb>, &mut WriteBatch) -> Result<()>,
    ) -> Result<()> {
        let engine = Arc::new(
            RocksDb::open(&self.dir.join("db"), RocksOptions::default())
                .context("open the engine")?,
        );
        let mut batch = WriteBatch::default();
        fill(&engine, &mut batch)?;
        let head = pb::StoredApplied {
            term: BEGIN.term,
            index: BEGIN.index,
            membership: self.membership.clone(),
            has_membership: true,
        };
        batch.put(keys::META_APPLIED.to_vec(), head.encode_to_vec().into());
        engine.write(&batch)?;
        engine.flush().context("make the state durable")?;
        place_log(config, &self.dir)?;
        begin_log(&self.dir.join("wal"), self.identity)?;
        RealDisk.sync_dir(&self.dir).context("sync the directory")
    }

    /// Where the member's data are.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}

fn begin_log(dir: &Path, identity: Identity) -> Result<()> {
    let (mut log, _) = Wal::open(Arc::new(RealDisk), dir, identity, WalOptions::default())?;
    let records = [
        Record::Vote(Vote { term: BEGIN.term, node: identity.node_id, committed: false }),
        Record::Purge(BEGIN),
        Record::Committed(BEGIN),
    ];
    log.write(records.iter(), &mut Vec::new())?;
    log.sync()?;
    Ok(())
}
