//! Reading the state beside the one task that changes it, without either waiting for the other.
//!
//! A read of the newest keys notes a sequence number, takes its moment of the engine, and looks
//! whether the number is still the same: then the revision read with it is exactly that moment's.
//! Where writing never pauses long enough it reads the past instead, at the revision published
//! last: the history up to it does not change any more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::auth::{AuthState, Tokens};
use crate::backup::Backup;
use crate::command::MemberAttributes;
use crate::compactor::Wanted;
use crate::engine::{Direction, Engine, EngineError, EngineLoad, Reader, Visitor};
use crate::lease::{Lease, News, Table};
use crate::measures::Measures;
use crate::mvcc::{self, HashKv, ReadError, Space, keys};
use crate::snapshot::SnapshotError;

/// How often a read of the newest keys is tried before it reads the past.
const TRIES: u32 = 8;
/// How often a scan is tried before it is given up: the past costs several times as much.
const SCAN_TRIES: u32 = 64;
/// What counts for a store without keys: five pages of etcd's, so that a quota means the same.
const EMPTY_BYTES: i64 = 5 * 4096;

/// Called for each key of a scan with the revision, the key and its encoded `KeyValue`;
/// [`ControlFlow::Break`] ends the scan.
pub type ScanVisitor<'a> = &'a mut dyn FnMut(i64, &[u8], &[u8]) -> ControlFlow<()>;

/// What the state machine shows to readers.
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    /// Odd while a batch is being written.
    sequence: AtomicU64,
    pub(crate) revision: AtomicI64,
    pub(crate) compacted: AtomicI64,
    pub(crate) compaction_done: watch::Sender<i64>,
    /// Of all that was ever written.
    pub(crate) size: AtomicI64,
    /// Of what compactions have dropped of it.
    pub(crate) freed: AtomicI64,
    pub(crate) applied: AtomicU64,
    pub(crate) flushed: AtomicU64,
    pub(crate) leases: RwLock<Table>,
    pub(crate) leases_changed: watch::Sender<u64>,
    pub(crate) alarms: RwLock<BTreeSet<(i32, u64)>>,
    pub(crate) members: RwLock<BTreeMap<u64, MemberAttributes>>,
    /// The version that a downgrade leads to.
    pub(crate) downgrade: RwLock<Option<String>>,
    /// Of [`Shared::auth`], so that asking costs nothing while it is off.
    auth_enabled: AtomicBool,
    auth: RwLock<Arc<AuthState>>,
    pub(crate) tokens: Tokens,
    /// Held while the positions above and the engine's content must belong together; exclusively
    /// while both are replaced by a snapshot's.
    pub(crate) content: Arc<RwLock<()>>,
    /// Held by whoever drops history or replaces the content.
    pub(crate) rewrite: parking_lot::Mutex<()>,
    pub(crate) compaction_wanted: Arc<Wanted>,
    pub(crate) measures: Arc<Measures>,
}

impl Shared {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            sequence: AtomicU64::new(0),
            revision: AtomicI64::new(1),
            compacted: AtomicI64::new(-1),
            compaction_done: watch::Sender::new(-1),
            size: AtomicI64::new(0),
            freed: AtomicI64::new(0),
            applied: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            leases: RwLock::default(),
            leases_changed: watch::Sender::new(0),
            alarms: RwLock::default(),
            members: RwLock::default(),
            downgrade: RwLock::default(),
            auth_enabled: AtomicBool::new(false),
            auth: RwLock::default(),
            tokens: Tokens::default(),
            content: Arc::default(),
            rewrite: parking_lot::Mutex::new(()),
            compaction_wanted: Arc::new(Wanted::new()),
            measures: Arc::default(),
        }
    }

    pub(crate) fn is_auth_enabled(&self) -> bool {
        self.auth_enabled.load(Ordering::SeqCst)
    }

    pub(crate) fn auth(&self) -> Arc<AuthState> {
        self.auth.read().clone()
    }

    pub(crate) fn set_auth(&self, auth: AuthState) {
        let enabled = auth.is_enabled();
        *self.auth.write() = Arc::new(auth);
        self.auth_enabled.store(enabled, Ordering::SeqCst);
    }

    /// Readers of the newest keys retry from here until [`Shared::end_write`].
    pub(crate) fn begin_write(&self) {
        let before = self.sequence.fetch_add(1, Ordering::SeqCst);
        assert!(before.is_multiple_of(2), "two writers of the state");
    }

    pub(crate) fn end_write(&self) {
        self.sequence.fetch_add(1, Ordering::SeqCst);
    }
}

/// A cheap handle for consistent reads. Reads may wait for the disk.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl View {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What the store counts of itself.
    pub fn measures(&self) -> &Measures {
        &self.shared.measures
    }

    /// How many watchers read old events, and how many revisions the furthest of them is behind.
    pub fn lagging_watchers(&self) -> (usize, u64) {
        let slow = &self.shared.measures.slow_watchers;
        let lag = slow.oldest().map_or(0, |oldest| self.revision() - oldest + 1);
        (slow.count(), u64::try_from(lag).unwrap_or(0))
    }

    /// Bytes on disk and in write buffers, roughly.
    pub fn disk_size(&self) -> u64 {
        self.shared.engine.approximate_size()
    }

    /// What the engine is busy with.
    pub fn engine_load(&self) -> EngineLoad {
        self.shared.engine.load()
    }

    /// Whether the engine would hold a write up now.
    pub fn is_write_stalled(&self) -> bool {
        self.shared.engine.is_write_stalled()
    }

    /// Rewrites the engine's files, to give back what dropped data still take. May take long.
    pub fn defragment(&self) -> Result<(), EngineError> {
        self.shared.engine.defragment()
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.shared.revision.load(Ordering::SeqCst)
    }

    /// The compacted revision; -1: none.
    pub fn compacted(&self) -> i64 {
        self.shared.compacted.load(Ordering::SeqCst)
    }

    /// The compaction that is carried out; changes are signalled.
    pub fn compaction_done(&self) -> watch::Receiver<i64> {
        self.shared.compaction_done.subscribe()
    }

    /// Index of the last entry whose effects are visible here.
    pub fn applied(&self) -> u64 {
        self.shared.applied.load(Ordering::SeqCst)
    }

    /// Logical size of the data, all kept revisions included.
    pub fn size(&self) -> i64 {
        EMPTY_BYTES + self.shared.size.load(Ordering::Relaxed)
            - self.shared.freed.load(Ordering::Relaxed)
    }

    /// Answers a range request whose checks have passed; `header.revision` is filled.
    pub fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
        self.shared.measures.ranges.add(1);
        let mut response = match request.revision {
            at if at > 0 => self.at(at, |space, _| mvcc::range(space, request))?,
            _ => {
                let (revision, mut response) = self.newest(|space| mvcc::range(space, request))?;
                response.header = mvcc::header(revision);
                return Ok(response);
            }
        };
        response.header = mvcc::header(self.revision());
        Ok(response)
    }

    /// Visits the newest keys of a range in order, all as of one moment however long that takes, and
    /// returns its revision. `None`: writes leave no moment of which the revision is known; nothing
    /// was visited.
    pub fn scan(
        &self,
        key: &[u8],
        range_end: &[u8],
        visit: ScanVisitor<'_>,
    ) -> Result<Option<i64>, ReadError> {
        let (start, end) = keys::newest_bounds(key, range_end);
        let sequence = || self.shared.sequence.load(Ordering::SeqCst);
        for _ in 0..SCAN_TRIES {
            // Let go once the moment is taken: the engine keeps that, whatever content comes next.
            let mut content = Some(self.shared.content.read());
            let (begun, revision) = (sequence(), self.revision());
            if begun.is_multiple_of(2) {
                let mut moved = false;
                self.shared.engine.sweep(&start, &end, &mut |key, value| {
                    if content.take().is_some() && sequence() != begun {
                        moved = true;
                        return ControlFlow::Break(());
                    }
                    visit(revision, keys::parse_newest(key), value)
                })?;
                moved |= content.is_some() && sequence() != begun;
                if !moved {
                    self.shared.measures.ranges.add(1);
                    return Ok(Some(revision));
                }
            }
            drop(content);
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// The first `request.limit` keys of a range as of `request.revision`, and whether there are
    /// more, without looking at those; `header.revision` is filled.
    pub fn part(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
        let at = request.revision;
        let mut response = self.at(at, |space, _| mvcc::part(space.reader, at, request))?;
        response.header = mvcc::header(self.revision());
        Ok(response)
    }

    /// Answers a transaction of ranges alone.
    pub fn read_txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
        loop {
            let at = self.revision();
            let result =
                self.at(at, |space, compacted| mvcc::read_txn(space, request, at, compacted));
            match result {
                // Compacted up to now while it was read: the newest revision is a later one.
                Err(ReadError::Compacted { wanted, .. })
                    if wanted == at && self.revision() > at => {}
                result => {
                    result.iter().for_each(|response| {
                        self.shared.measures.transaction(response);
                    });
                    return result;
                }
            }
        }
    }

    /// The hash of the history up to `revision` (0: all of it).
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, ReadError> {
        loop {
            let at = if revision == 0 { self.revision() } else { revision };
            let compacted = self.compacted();
            match self.at(at, |space, _| mvcc::hash_kv(space.reader, at, compacted)) {
                Ok(hash) if self.compacted() == compacted => return Ok(hash),
                Ok(_) => {}
                Err(ReadError::Compacted { .. }) if revision == 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One lease.
    pub fn lease(&self, id: i64) -> Option<Lease> {
        self.shared.leases.read().get(id)
    }

    /// All leases.
    pub fn leases(&self) -> BTreeMap<i64, Lease> {
        self.shared.leases.read().all().clone()
    }

    /// Which leases came or went since `seen`, which is now the present; 0 in the beginning.
    pub fn lease_news(&self, seen: &mut u64) -> News {
        self.shared.leases.read().news(seen)
    }

    /// Signals that leases were granted, ended or checkpointed.
    pub fn leases_changed(&self) -> watch::Receiver<u64> {
        self.shared.leases_changed.subscribe()
    }

    /// The keys of a lease, in order.
    pub fn lease_keys(&self, id: i64) -> Result<Vec<Bytes>, ReadError> {
        let (start, end) = keys::attached_to(id);
        let mut found = Vec::new();
        self.shared.engine.walk(&start, &end, Direction::Forward, &mut |key, _| {
            found.push(Bytes::copy_from_slice(keys::parse_attached(key)));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Alarms that are raised: kind and member.
    pub fn alarms(&self) -> Vec<(i32, u64)> {
        self.shared.alarms.read().iter().copied().collect()
    }

    /// The whole state at its newest, as a file.
    pub fn backup(&self) -> Result<Backup, SnapshotError> {
        let shared = &self.shared;
        // Neither a compaction nor a batch may come between the two copies.
        let _no_rewrite = shared.rewrite.lock();
        loop {
            let sequence = shared.sequence.load(Ordering::SeqCst);
            if sequence.is_multiple_of(2) {
                let (measured, sent) = (shared.engine.export()?, shared.engine.export()?);
                if shared.sequence.load(Ordering::SeqCst) == sequence {
                    return Backup::new(measured, sent);
                }
            }
            std::thread::yield_now();
        }
    }

    /// Whether requests must be somebody's.
    pub fn is_auth_enabled(&self) -> bool {
        self.shared.is_auth_enabled()
    }

    /// Users, roles and what they may touch.
    pub fn auth(&self) -> Arc<AuthState> {
        self.shared.auth()
    }

    /// Who has shown a password.
    pub fn tokens(&self) -> &Tokens {
        &self.shared.tokens
    }

    /// What the members say of themselves.
    pub fn member_attributes(&self) -> BTreeMap<u64, MemberAttributes> {
        self.shared.members.read().clone()
    }

    /// The version that a downgrade leads to, while one is under way.
    pub fn downgrade_target(&self) -> Option<String> {
        self.shared.downgrade.read().clone()
    }

    /// Whether a member has been removed from the cluster for good.
    pub fn is_removed_member(&self, id: u64) -> bool {
        self.shared.members.read().get(&id).is_some_and(|member| member.removed)
    }

    /// Reads the newest keys at a revision that is exactly known.
    fn newest<T>(
        &self,
        mut read: impl FnMut(Space<'_>) -> Result<T, ReadError>,
    ) -> Result<(i64, T), ReadError> {
        let content = self.shared.content.read();
        for attempt in 0..TRIES {
            let sequence = self.shared.sequence.load(Ordering::SeqCst);
            if sequence.is_multiple_of(2) {
                let revision = self.revision();
                let steady = Steady { shared: &self.shared, sequence, moved: false.into() };
                let result = read(Space { reader: &steady, at: None });
                if !steady.moved.load(Ordering::Relaxed) {
                    return Ok((revision, result?));
                }
            }
            if attempt > 1 {
                std::thread::yield_now();
            }
        }
        drop(content);
        loop {
            let at = self.revision();
            match self.at(at, |space, _| read(space)) {
                Err(ReadError::Compacted { .. }) => {}
                result => return Ok((at, result?)),
            }
        }
    }

    /// Reads the past. The history up to a published revision changes by compaction alone, which
    /// is looked for after reading; so does a snapshot that is installed meanwhile.
    fn at<T>(
        &self,
        at: i64,
        read: impl FnOnce(Space<'_>, i64) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let _content = self.shared.content.read();
        let current = self.revision();
        if at > current {
            return Err(ReadError::FutureRevision { wanted: at, current });
        }
        let compacted = |oldest| ReadError::Compacted { wanted: at, oldest };
        let oldest = self.compacted();
        if at < oldest {
            return Err(compacted(oldest));
        }
        let result = read(Space { reader: &*self.shared.engine, at: Some(at) }, oldest)?;
        match self.compacted() {
            oldest if at < oldest => Err(compacted(oldest)),
            _ => Ok(result),
        }
    }
}

/// The engine, each read of which notes whether the state has moved since the sequence was read.
/// Only the first moment of a walk counts: what it visits later is of that moment too.
struct Steady<'a> {
    shared: &'a Shared,
    sequence: u64,
    moved: std::sync::atomic::AtomicBool,
}

impl Steady<'_> {
    fn look(&self) -> ControlFlow<()> {
        if self.shared.sequence.load(Ordering::SeqCst) == self.sequence {
            return ControlFlow::Continue(());
        }
        self.moved.store(true, Ordering::Relaxed);
        ControlFlow::Break(())
    }
}

impl Reader for Steady<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.shared.engine.get(key)?;
        let _moved = self.look();
        Ok(value)
    }

    fn walk(
        &self,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<(), EngineError> {
        let mut begun = false;
        self.shared.engine.walk(start, end, direction, &mut |key, value| {
            if !begun {
                begun = true;
                self.look()?;
            }
            visit(key, value)
        })?;
        if !begun {
            let _moved = self.look();
        }
        Ok(())
    }
}
