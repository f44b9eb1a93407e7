//! Takes over etcd's own data: every revision as it is, leases, users, roles and alarms.
//!
//! The membership of the old cluster, its log position and its version stay behind: what is made of
//! it is a new cluster's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;

use bytes::Bytes;
use keelson_proto::authpb::{Role, User};
use keelson_proto::etcdserverpb::AlarmMember;
use keelson_proto::mvccpb::KeyValue;
use keelson_proto::raft::{StoredAuth, StoredLease};
use prost::Message;
use thiserror::Error;

use crate::bolt::{BoltError, BoltFile};
use crate::engine::{Direction, Engine, EngineError, WriteBatch};
use crate::mvcc::Revision;
use crate::mvcc::keys::{self, IsTombstone};

/// A batch is written once it has this size.
const BATCH_BYTES: usize = 1 << 20;

/// Why etcd's data cannot be taken over.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file itself.
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A database, but not etcd's.
    #[error("not etcd's database: it has no bucket {0:?}")]
    NotEtcd(&'static str),
    /// A record that etcd would not have written.
    #[error("etcd's database is damaged: bucket {bucket:?}, key {key}")]
    Damaged {
        /// The bucket.
        bucket: &'static str,
        /// The key, in hexadecimal digits.
        key: String,
    },
}

/// What was taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// The newest revision.
    pub revision: i64,
    /// The compacted one; -1: none was.
    pub compacted: i64,
    /// Versions of keys, deletions among them.
    pub versions: u64,
    /// Leases.
    pub leases: u64,
    /// Users.
    pub users: u64,
    /// Roles.
    pub roles: u64,
}

/// What a file holds, as etcd's tools say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// CRC-32C of all names of buckets, keys and values.
    pub hash: u32,
    /// The newest revision.
    pub revision: i64,
    /// Keys that exist.
    pub keys: u64,
    /// Bytes of the pages in use.
    pub size: u64,
    /// The version of the storage, since etcd 3.6.
    pub version: String,
}

/// Reads a whole file.
// upstream: etcd v3.7, `etcdutl snapshot status`
pub fn survey(file: &BoltFile) -> Result<Survey, ImportError> {
    let mut found = Survey { size: file.size(), ..Survey::default() };
    let mut live: BTreeSet<Bytes> = BTreeSet::new();
    for bucket in file.buckets()? {
        found.hash = crc32c::crc32c_append(found.hash, &bucket);
        file.walk(&bucket, &mut |key, value| {
            found.hash = crc32c::crc32c_append(found.hash, key);
            found.hash = crc32c::crc32c_append(found.hash, value);
            match (bucket.as_slice(), key) {
                (b"meta", b"storageVersion") => {
                    found.version = String::from_utf8_lossy(value).into_owned();
                }
                (b"key", _) => {
                    let ours = [&[keys::REVISION], key].concat();
                    let damaged = || damaged("key", key);
                    let (at, tombstone) = keys::parse_revision(&ours).ok_or_else(damaged)?;
                    let kv = KeyValue::decode(value).map_err(|_| damaged())?;
                    found.revision = at.main;
                    match tombstone {
                        IsTombstone::No => live.insert(kv.key),
                        IsTombstone::Yes => live.remove(&kv.key),
                    };
                }
                _ => {}
            }
            Ok::<_, ImportError>(())
        })?;
    }
    found.keys = live.len() as u64;
    Ok(found)
}

/// Fills an empty engine. The applied position is for the caller to write.
// upstream: etcd v3.7, buckets of the backend and `mvcc.store.restore`
pub fn import(file: &BoltFile, engine: &dyn Engine) -> Result<Imported, ImportError> {
    let mut into = Writer { engine, batch: WriteBatch::default(), bytes: 0 };
    let compactions = compactions(file)?;
    let (last, versions, size) = take_keys(file, &mut into)?;
    let compacted = compactions.scheduled.max(compactions.finished);
    let mut imported = Imported {
        // A compaction may have dropped the newest revisions, if they were deletions.
        revision: last.max(compacted).max(1),
        compacted,
        versions,
        ..Imported::default()
    };
    let leases = take_leases(file, &mut into)?;
    imported.leases = leases.len() as u64;
    take_alarms(file, &mut into)?;
    (imported.users, imported.roles) = take_auth(file, &mut into)?;
    into.write()?;
    attach(&leases, &mut into)?;
    into.put(keys::META_FORMAT.to_vec(), Bytes::from_static(keys::FORMAT))?;
    into.put(keys::META_REVISION.to_vec(), keys::number(imported.revision))?;
    into.put(keys::META_SIZE.to_vec(), keys::number(size))?;
    if compacted >= 0 {
        into.put(keys::META_COMPACTED.to_vec(), keys::number(compacted))?;
        // What is scheduled but not finished goes on at the first start.
        into.put(keys::META_COMPACTION_DONE.to_vec(), keys::number(compactions.finished))?;
    }
    into.write()?;
    Ok(imported)
}

/// Batches of bounded size, in order.
struct Writer<'a> {
    engine: &'a dyn Engine,
    batch: WriteBatch,
    bytes: usize,
}

impl Writer<'_> {
    fn put(&mut self, key: Vec<u8>, value: Bytes) -> Result<(), EngineError> {
        self.bytes += key.len() + value.len();
        self.batch.put(key, value);
        self.write_if_full()
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<(), EngineError> {
        self.bytes += key.len();
        self.batch.delete(key);
        self.write_if_full()
    }

    fn write_if_full(&mut self) -> Result<(), EngineError> {
        match self.bytes < BATCH_BYTES {
            true => Ok(()),
            false => self.write(),
        }
    }

    fn write(&mut self) -> Result<(), EngineError> {
        self.bytes = 0;
        self.engine.write(&std::mem::take(&mut self.batch))
    }
}

struct Compactions {
    scheduled: i64,
    finished: i64,
}

fn compactions(file: &BoltFile) -> Result<Compactions, ImportError> {
    const BUCKET: &str = "meta";
    let mut found = Compactions { scheduled: -1, finished: -1 };
    let visited = file.walk(BUCKET, &mut |key, value| {
        let number = match key {
            b"scheduledCompactRev" => &mut found.scheduled,
            b"finishedCompactRev" => &mut found.finished,
            _ => return Ok(()),
        };
        *number = Revision::decode(value).ok_or_else(|| damaged(BUCKET, key))?.main;
        Ok::<_, ImportError>(())
    })?;
    visited.then_some(found).ok_or(ImportError::NotEtcd(BUCKET))
}

/// All revisions; the last one, their number, and their size as this store counts it.
fn take_keys(file: &BoltFile, into: &mut Writer<'_>) -> Result<(i64, u64, i64), ImportError> {
    const BUCKET: &str = "key";
    let (mut last, mut versions, mut size) = (0, 0, 0);
    let visited = file.walk(BUCKET, &mut |stored, value| {
        let damaged = || damaged(BUCKET, stored);
        let ours = [&[keys::REVISION], stored].concat();
        let (revision, is_tombstone) = keys::parse_revision(&ours).ok_or_else(damaged)?;
        let kv = Bytes::copy_from_slice(value);
        let decoded = KeyValue::decode(kv.clone()).map_err(|_| damaged())?;
        // What reads keys out of the bytes relies on the key being first there.
        let key = keys::key_of(&kv).filter(|key| *key == decoded.key).ok_or_else(damaged)?;
        if revision.main <= 0 || revision.sub < 0 || key.is_empty() {
            return Err(damaged());
        }
        size += i64::try_from(ours.len() + kv.len()).unwrap_or(i64::MAX);
        versions += 1;
        last = revision.main;
        into.put(ours, kv.clone())?;
        match is_tombstone {
            IsTombstone::No if decoded.mod_revision != revision.main => return Err(damaged()),
            IsTombstone::No => {
                into.put(keys::newest(&key), kv)?;
                let mark = Bytes::from_static(keys::PUT_MARK);
                into.put(keys::history(&key, revision), mark)?;
            }
            IsTombstone::Yes => {
                into.delete(keys::newest(&key))?;
                let mark = Bytes::from_static(keys::TOMBSTONE_MARK);
                into.put(keys::history(&key, revision), mark)?;
            }
        }
        Ok::<_, ImportError>(())
    })?;
    visited.then_some((last, versions, size)).ok_or(ImportError::NotEtcd(BUCKET))
}

fn take_leases(file: &BoltFile, into: &mut Writer<'_>) -> Result<BTreeSet<i64>, ImportError> {
    const BUCKET: &str = "lease";
    let mut leases = BTreeSet::new();
    file.walk(BUCKET, &mut |key, value| {
        // Both projects number the fields of a lease alike.
        let lease = StoredLease::decode(value).map_err(|_| damaged(BUCKET, key))?;
        if lease.id.to_be_bytes() != *key {
            return Err(damaged(BUCKET, key));
        }
        into.put(keys::lease(lease.id), Bytes::from(lease.encode_to_vec()))?;
        leases.insert(lease.id);
        Ok::<_, ImportError>(())
    })?;
    Ok(leases)
}

fn take_alarms(file: &BoltFile, into: &mut Writer<'_>) -> Result<(), ImportError> {
    const BUCKET: &str = "alarm";
    file.walk(BUCKET, &mut |key, _| {
        let alarm = AlarmMember::decode(key).map_err(|_| damaged(BUCKET, key))?;
        into.put(keys::alarm(alarm.alarm, alarm.member_id), Bytes::new())?;
        Ok::<_, ImportError>(())
    })?;
    Ok(())
}

/// Users with the hashes of their passwords, roles, whether it is on, and its revision.
fn take_auth(file: &BoltFile, into: &mut Writer<'_>) -> Result<(u64, u64), ImportError> {
    let mut stored = StoredAuth { enabled: false, revision: 1 };
    file.walk("auth", &mut |key, value| {
        match key {
            b"authEnabled" => stored.enabled = value == [1],
            b"authRevision" => {
                let bytes = value.try_into().map_err(|_| damaged("auth", key))?;
                stored.revision = u64::from_be_bytes(bytes).max(1);
            }
            _ => {}
        }
        Ok::<_, ImportError>(())
    })?;
    into.put(keys::META_AUTH.to_vec(), Bytes::from(stored.encode_to_vec()))?;
    let (mut users, mut roles) = (0, 0);
    let name = |bucket: &'static str, key: &[u8]| match std::str::from_utf8(key) {
        Ok(name) => Ok(name.to_owned()),
        Err(_) => Err(damaged(bucket, key)),
    };
    file.walk("authUsers", &mut |key, value| {
        let user = User::decode(value).map_err(|_| damaged("authUsers", key))?;
        if user.name != key {
            return Err(damaged("authUsers", key));
        }
        users += 1;
        let stored = Bytes::from(user.encode_to_vec());
        Ok::<_, ImportError>(into.put(keys::user(&name("authUsers", key)?), stored)?)
    })?;
    file.walk("authRoles", &mut |key, value| {
        let role = Role::decode(value).map_err(|_| damaged("authRoles", key))?;
        if role.name != key {
            return Err(damaged("authRoles", key));
        }
        roles += 1;
        let stored = Bytes::from(role.encode_to_vec());
        Ok::<_, ImportError>(into.put(keys::role(&name("authRoles", key)?), stored)?)
    })?;
    Ok((users, roles))
}

/// Leases know their keys: those that exist now.
fn attach(leases: &BTreeSet<i64>, into: &mut Writer<'_>) -> Result<(), ImportError> {
    let engine = into.engine;
    let (start, end) = keys::newest_bounds(b"", b"\0");
    let mut failed = None;
    engine.walk(&start, &end, Direction::Forward, &mut |key, value| {
        let lease = KeyValue::decode(value).map_or(0, |kv| kv.lease);
        if leases.contains(&lease)
            && let Err(error) =
                into.put(keys::attached(lease, keys::parse_newest(key)), Bytes::new())
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn damaged(bucket: &'static str, key: &[u8]) -> ImportError {
    let key = key.iter().fold(String::new(), |mut text, byte| {
        let _never_fails = write!(text, "{byte:02x}");
        text
    });
    ImportError::Damaged { bucket, key }
}
