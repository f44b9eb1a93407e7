//! Snapshot files: made from a stopped member, looked at, and turned into a new member.
//!
//! A file is the stream of `keelson_storage::snapshot`, zeros up to a multiple of 512 bytes, and
//! the SHA-256 of all before it: the form in which `etcdctl snapshot save` gets it too.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use keelson_proto::raft as pb;
use keelson_storage::disk::{Disk as _, RealDisk};
use keelson_storage::engine::{Engine as _, RocksDb, RocksOptions, SortedMap, WriteBatch};
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::mvcc::keys;
use keelson_storage::wal::{Identity, LogId, Record, Vote, Wal, WalOptions};
use prost::Message as _;
use ring::digest::{Context as Hasher, SHA256, SHA256_OUTPUT_LEN};

use super::config::Config;
use super::{identity, make_private, offline};

/// The content is filled up to a multiple of this.
const BLOCK_BYTES: u64 = 512;
/// Where the log of a restored member begins: entries before it are the snapshot.
const BEGIN: LogId = LogId { term: 1, index: 1 };

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// A checksum of the content.
    pub hash: u32,
    /// The newest revision.
    pub revision: i64,
    /// Versions of keys that are kept.
    #[serde(rename = "totalKey")]
    pub total_key: u64,
    /// Its length in bytes.
    #[serde(rename = "totalSize")]
    pub total_size: u64,
    /// The etcd version whose content it is.
    pub version: String,
}

/// Writes the state of a member that does not run.
pub fn save(data_dir: &Path, path: &Path) -> Result<()> {
    let member = offline::open(data_dir)?;
    let partial = path.with_extension("part");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .with_context(|| format!("make {}", partial.display()))?;
    let mut hasher = Hasher::new(&SHA256);
    let mut length = 0u64;
    let mut reader = member.machine.snapshot()?;
    let mut put = |bytes: &[u8]| -> Result<()> {
        hasher.update(bytes);
        length += bytes.len() as u64;
        file.write_all(bytes).context("write the snapshot")
    };
    while let Some(chunk) = reader.next_chunk()? {
        put(&chunk)?;
    }
    let zeros = length.next_multiple_of(BLOCK_BYTES) - length;
    hasher.update(&vec![0; usize::try_from(zeros)?]);
    file.write_all(&vec![0; usize::try_from(zeros)?])?;
    file.write_all(hasher.finish().as_ref())?;
    file.sync_all()?;
    std::fs::rename(&partial, path).with_context(|| format!("rename {}", partial.display()))?;
    println!("Snapshot saved at {}", path.display());
    Ok(())
}

/// Opens a file and checks its hash, if it has one and that is wanted.
fn open(path: &Path, check: bool) -> Result<(File, u64)> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let length = file.metadata()?.len();
    if length % BLOCK_BYTES != SHA256_OUTPUT_LEN as u64 {
        if check {
            bail!("snapshot missing hash but --skip-hash-check=false");
        }
        return Ok((file, length));
    }
    let content = length - SHA256_OUTPUT_LEN as u64;
    if check {
        let mut hasher = Hasher::new(&SHA256);
        let mut left = content;
        let mut buffer = vec![0; 1 << 20];
        while left > 0 {
            let part = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.read_exact(&mut buffer[..part])?;
            hasher.update(&buffer[..part]);
            left -= part as u64;
        }
        let mut wanted = [0; SHA256_OUTPUT_LEN];
        file.read_exact(&mut wanted)?;
        let found = hasher.finish();
        if found.as_ref() != wanted {
            bail!("expected sha256 {:?}, got {:?}", wanted, found.as_ref());
        }
        file.seek(SeekFrom::Start(0))?;
    }
    Ok((file, content))
}

/// The content of a file, in memory.
pub fn load(path: &Path) -> Result<(StateMachine, Arc<SortedMap>)> {
    let (file, content) = open(path, true)?;
    let engine = Arc::new(SortedMap::new());
    let mut machine = StateMachine::open(engine.clone(), Options::default())?;
    machine.install(BufReader::new(file).take(content)).context("read the snapshot")?;
    Ok((machine, engine))
}

/// What a file holds.
pub fn status(path: &Path) -> Result<Status> {
    let (machine, engine) = load(path)?;
    let mut total_key = 0;
    for entry in engine.export()? {
        let (key, _) = entry?;
        total_key += u64::from(key.first() == Some(&keys::REVISION));
    }
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let total_size = file.metadata()?.len();
    // The beginning of the SHA-256 at its end says as much as any other checksum.
    let mut hash = [0; 4];
    file.seek(SeekFrom::End(-(SHA256_OUTPUT_LEN as i64)))?;
    file.read_exact(&mut hash)?;
    Ok(Status {
        hash: u32::from_be_bytes(hash),
        revision: machine.view().revision(),
        total_key,
        total_size,
        version: keelson_etcd_api::CLUSTER_VERSION.to_owned(),
    })
}

/// How a file is restored.
#[derive(Debug, Clone, Copy)]
pub struct RestoreWith {
    /// Whether its hash must be there and right.
    pub checks_hash: bool,
    /// How much the newest revision is raised; what is before is compacted then.
    pub bump_revision: i64,
}

/// Makes a new member of a new cluster from a file; every founder does so, from the same file.
// upstream: etcd v3.7, `etcdutl snapshot restore`
pub fn restore(path: &Path, config: &Config, with: RestoreWith) -> Result<()> {
    let founders = config.founders().map_err(anyhow::Error::msg)?;
    let data_dir = config.data_dir();
    let dir = data_dir.join("member");
    if dir.exists() {
        bail!("data-dir {:?} not empty or could not be read", data_dir.display().to_string());
    }
    let (file, content) = open(path, with.checks_hash)?;
    let token = config.0.text("initial-cluster-token");
    let ids: Vec<u64> = founders.values().map(|urls| identity::member(urls, token)).collect();
    let node_id = identity::member(&config.peer_urls(), token);
    let cluster_id = identity::cluster(ids.clone());
    let membership = pb::Membership {
        id: Some(pb::LogId { term: BEGIN.term, index: BEGIN.index }),
        configs: vec![pb::Voters { ids: ids.clone() }],
        peers: founders
            .iter()
            .map(|(name, urls)| pb::Peer {
                id: identity::member(urls, token),
                name: name.clone(),
                peer_urls: urls.clone(),
                ..Default::default()
            })
            .collect(),
    };
    let head = pb::StoredApplied {
        term: BEGIN.term,
        index: BEGIN.index,
        membership: membership.encode_to_vec().into(),
        has_membership: true,
    };
    make_private(&dir)?;
    let engine = Arc::new(
        RocksDb::open(&dir.join("db"), RocksOptions::default()).context("open the engine")?,
    );
    let mut machine = StateMachine::open(engine.clone(), Options::default())?;
    machine.install(BufReader::new(file).take(content)).context("read the snapshot")?;
    let revision = machine.view().revision() + with.bump_revision;
    let known = machine.view().member_attributes();
    drop(machine);
    let mut batch = WriteBatch::default();
    batch.put(keys::META_APPLIED.to_vec(), head.encode_to_vec().into());
    if with.bump_revision > 0 {
        batch.put(keys::META_REVISION.to_vec(), keys::number(revision));
        batch.put(keys::META_COMPACTED.to_vec(), keys::number(revision));
    }
    for member in known.into_keys() {
        batch.delete(keys::member(member));
    }
    engine.write(&batch)?;
    engine.flush().context("make the state durable")?;

    let identity = Identity { cluster_id, node_id };
    let (mut log, _) =
        Wal::open(Arc::new(RealDisk), &dir.join("wal"), identity, WalOptions::default())?;
    let records = [
        Record::Vote(Vote { term: BEGIN.term, node: node_id, committed: false }),
        Record::Purge(BEGIN),
        Record::Committed(BEGIN),
    ];
    log.write(records.iter(), &mut Vec::new())?;
    log.sync()?;
    RealDisk.sync_dir(&dir).context("sync the directory")?;
    for id in ids {
        tracing::info!(
            "cluster-id" = format!("{cluster_id:x}"),
            "added-peer-id" = format!("{id:x}"),
            "added member"
        );
    }
    tracing::info!(
        path = %path.display(),
        "data-dir" = %data_dir.display(),
        revision,
        "restored snapshot"
    );
    Ok(())
}
