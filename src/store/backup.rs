//! Snapshot files: made from a stopped member, looked at, and turned into a new member.
//!
//! A file is the stream of `keelson_storage::snapshot`, zeros up to a multiple of 512 bytes, and
//! the SHA-256 of all before it: the form in which `etcdctl snapshot save` gets it too. etcd's own
//! snapshots, which are its database and the same hash, are read as well.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use keelson_storage::bolt::BoltFile;
use keelson_storage::disk::{Disk as _, RealDisk};
use keelson_storage::engine::{Direction, Engine, Reader as _, SortedMap};
use keelson_storage::import::{Survey, import, survey};
use keelson_storage::machine::{Options, StateMachine};
use keelson_storage::mvcc::keys;
use keelson_storage::snapshot;
use ring::digest::{Context as Hasher, SHA256, SHA256_OUTPUT_LEN};

use super::config::Config;
use super::founding::Founding;
use super::offline;

/// The content is filled up to a multiple of this.
const BLOCK_BYTES: u64 = 512;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// A checksum of the content.
    pub hash: u32,
    /// The newest revision.
    pub revision: i64,
    /// Keys that exist.
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
            let shown = |hash: &[u8]| {
                let bytes: Vec<String> = hash.iter().map(u8::to_string).collect();
                format!("[{}]", bytes.join(" "))
            };
            bail!("expected sha256 {}, got {}", shown(&wanted), shown(found.as_ref()));
        }
        file.seek(SeekFrom::Start(0))?;
    }
    Ok((file, content))
}

/// The content of a file, in memory.
pub fn load(path: &Path, checks_hash: bool) -> Result<(StateMachine, Arc<SortedMap>)> {
    let (file, content) = open(path, checks_hash)?;
    let engine = Arc::new(SortedMap::new());
    Ok((fill(path, file, content, engine.clone())?, engine))
}

/// What a file holds.
pub fn status(path: &Path) -> Result<Status> {
    let length = std::fs::metadata(path).with_context(|| format!("open {}", path.display()))?.len();
    let has_hash = length % BLOCK_BYTES == SHA256_OUTPUT_LEN as u64;
    let (mut file, content) = open(path, has_hash)?;
    if !is_own(&mut file)? {
        let bolt = BoltFile::open(RealDisk.open_read(path)?, content)?;
        let Survey { hash, revision, keys, size, version } = survey(&bolt)?;
        return Ok(Status { hash, revision, total_key: keys, total_size: size, version });
    }
    let engine = Arc::new(SortedMap::new());
    let machine = fill(path, file, content, engine.clone())?;
    let (start, end) = keys::newest_bounds(b"", b"\0");
    let mut total_key = 0;
    engine.walk(&start, &end, Direction::Forward, &mut |_, _| {
        total_key += 1;
        ControlFlow::Continue(())
    })?;
    // The beginning of the SHA-256 at its end says as much as any other checksum.
    let mut hash = [0; 4];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(content))?;
    file.read_exact(&mut hash).context("snapshot missing hash")?;
    Ok(Status {
        hash: u32::from_be_bytes(hash),
        revision: machine.view().revision(),
        total_key,
        total_size: length,
        version: keelson_etcd_api::CLUSTER_VERSION.to_owned(),
    })
}

/// Whether a file begins as our own; leaves it at its beginning.
fn is_own(file: &mut File) -> Result<bool> {
    let mut begin = Vec::new();
    Read::by_ref(file).take(snapshot::MAGIC.len() as u64).read_to_end(&mut begin)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(begin == snapshot::MAGIC)
}

/// How a file is restored.
#[derive(Debug, Clone, Copy)]
pub struct RestoreWith {
    /// Whether its hash must be there and right.
    pub checks_hash: bool,
    /// How much the newest revision is raised; what is before is compacted then.
    pub bump_revision: i64,
}

/// Makes a new member of a new cluster from a file, our own or etcd's.
// upstream: etcd v3.7, `etcdutl snapshot restore`
pub fn restore(path: &Path, config: &Config, with: RestoreWith) -> Result<()> {
    let founding = Founding::new(config)?;
    let (file, content) = open(path, with.checks_hash)?;
    let mut revision = 0;
    founding.make(config, |engine, batch| {
        let machine = fill(path, file, content, engine.clone())?;
        revision = machine.view().revision() + with.bump_revision;
        if with.bump_revision > 0 {
            batch.put(keys::META_REVISION.to_vec(), keys::number(revision));
            batch.put(keys::META_COMPACTED.to_vec(), keys::number(revision));
        }
        for member in machine.view().member_attributes().into_keys() {
            batch.delete(keys::member(member));
        }
        Ok(())
    })?;
    tracing::info!(
        path = %path.display(),
        "data-dir" = %founding.data_dir().display(),
        revision,
        "restored snapshot"
    );
    Ok(())
}

/// Puts a file's content into an empty engine, and opens it.
fn fill(
    path: &Path,
    mut file: File,
    content: u64,
    engine: Arc<dyn Engine>,
) -> Result<StateMachine> {
    // A machine that runs would compact what is about to be replaced.
    let options = Options { compaction_thread: false, ..Options::default() };
    if is_own(&mut file)? {
        let mut machine = StateMachine::open(engine, options)?;
        machine.install(BufReader::new(file).take(content)).context("read the snapshot")?;
        return Ok(machine);
    }
    let bolt = BoltFile::open(RealDisk.open_read(path)?, content)?;
    let imported = import(&bolt, &*engine)?;
    tracing::info!(
        revision = imported.revision,
        "compact-revision" = imported.compacted,
        versions = imported.versions,
        leases = imported.leases,
        users = imported.users,
        roles = imported.roles,
        "read the data of an etcd"
    );
    Ok(StateMachine::open(engine, options)?)
}
