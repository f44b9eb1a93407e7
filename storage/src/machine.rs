//! The state machine: applies committed entries, a slice of them as one batch of the engine.
//!
//! Applying depends on the entries and the state alone. A broken invariant or a failed write
//! panics: the node must stop, since what it would answer next could be wrong.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use keelson_failpoint::failpoint;
use keelson_failpoint::planted::{self, Bug};
use keelson_proto::authpb::{Role, User};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::raft::{StoredApplied, StoredAuth, StoredLease};
use prost::Message;
use thiserror::Error;

use crate::auth::{AuthError, AuthState, Authority, Ended};
use crate::command::{
    ApplyError, ApplyResult, AuthChange, Authenticate, Command, Downgrade, LeaseCheckpoints,
    LeaseRevoke, MemberAttributes, Op, Reply,
};
use crate::compactor::{Compactor, Pace};
use crate::engine::{Direction, Engine, EngineError, Overlay, Reader};
use crate::entry::{LogEntry, Payload};
use crate::lease::Lease;
use crate::mvcc::{self, Change, Limits, ReadError, Transaction, TxnError, header, keys};
use crate::snapshot::{self, SnapshotError, SnapshotReader};
use crate::view::{Shared, View};
use crate::watch::WatchHub;

/// How the state machine runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Compactions are carried out by a thread of its own. Without it somebody calls
    /// [`Compactor::step`].
    pub compaction_thread: bool,
    /// How compactions leave room for others.
    pub compaction_pace: Pace,
}

impl Default for Options {
    fn default() -> Self {
        Self { compaction_thread: true, compaction_pace: Pace::default() }
    }
}

/// Why the state cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The state was written by another version.
    #[error("the store's data are of format {found}, this version reads format {expected}")]
    Format {
        /// What stands there.
        found: String,
        /// What is understood.
        expected: String,
    },
    /// Something in the state cannot be read.
    #[error("the store's data are damaged: {0} cannot be read")]
    Damaged(&'static str),
    /// The thread for compactions cannot be started.
    #[error("start of the compaction thread: {0}")]
    Thread(std::io::Error),
}

/// How far the log is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Term of the last entry.
    pub term: u64,
    /// Its index; 0: nothing is applied.
    pub index: u64,
    /// The last membership that was applied, as it came.
    pub membership: Option<Bytes>,
}

impl Applied {
    pub(crate) fn stored(&self) -> StoredApplied {
        StoredApplied {
            term: self.term,
            index: self.index,
            membership: self.membership.clone().unwrap_or_default(),
            has_membership: self.membership.is_some(),
        }
    }

    pub(crate) fn from_stored(stored: StoredApplied) -> Self {
        let membership = stored.has_membership.then_some(stored.membership);
        Self { term: stored.term, index: stored.index, membership }
    }
}

/// The replicated state of one member.
pub struct StateMachine {
    shared: Arc<Shared>,
    hub: WatchHub,
    applied: Applied,
    /// Of the state with the batch in hand; [`Shared`] has the published one.
    revision: i64,
    compacted: i64,
    /// Of all that was ever written: what compactions free is counted by them.
    size: i64,
    /// Keys that exist.
    keys: i64,
    /// Whether the engine has the format's version.
    has_format: bool,
    compactor: Compactor,
}

impl std::fmt::Debug for StateMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("StateMachine");
        debug.field("applied", &self.applied).field("revision", &self.revision);
        debug.finish_non_exhaustive()
    }
}

impl StateMachine {
    /// Opens the state that lies in an engine; an empty one is a fresh store at revision 1.
    pub fn open(engine: Arc<dyn Engine>, options: Options) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared::new(engine.clone()));
        let hub = WatchHub::new(engine, shared.content.clone(), shared.measures.clone());
        let compactor = Compactor::new(shared.clone(), options.compaction_pace);
        let mut machine = Self {
            shared,
            hub,
            applied: Applied::default(),
            revision: 1,
            compacted: -1,
            size: 0,
            keys: 0,
            has_format: false,
            compactor,
        };
        machine.load()?;
        if planted::is(Bug::ApplyTwiceAfterRestart) && machine.applied.index > 1 {
            machine.applied.index -= 1;
        }
        machine.shared.flushed.store(machine.applied.index, Ordering::SeqCst);
        if options.compaction_thread {
            machine.compactor.spawn().map_err(OpenError::Thread)?;
        }
        Ok(machine)
    }

    /// Applies committed entries, in order, each exactly once, as one batch that carries the
    /// applied index; then publishes the events.
    ///
    /// # Panics
    /// Where an index does not follow the one before, and where the engine fails.
    pub fn apply(&mut self, entries: &[LogEntry]) -> Vec<ApplyResult> {
        let engine = self.shared.engine.clone();
        failpoint!(beforeStartDBTxn);
        let mut overlay = Overlay::new(&*engine);
        failpoint!(afterStartDBTxn);
        let mut changes = Vec::new();
        let compacted = self.compacted;
        let mut results = Vec::with_capacity(entries.len());
        for entry in entries {
            assert_eq!(entry.index, self.applied.index + 1, "applied index");
            let result = self.apply_one(entry, &mut overlay, &mut changes);
            if let Ok(reply) = &result {
                self.shared.measures.applied(reply);
            }
            results.push(result);
            self.applied.index = entry.index;
            self.applied.term = entry.term;
        }
        let Some(last) = entries.last() else { return results };
        failpoint!(commitBeforePreCommitHook);
        self.write_position(&mut overlay);
        failpoint!(commitAfterPreCommitHook);
        let compacts = self.compacted != compacted;
        if compacts {
            failpoint!(compactBeforeCommitScheduledCompact);
        }
        self.shared.begin_write();
        failpoint!(beforeWritebackBuf);
        engine.write(&overlay.batch).expect("the engine takes the batch, or the node stops");
        failpoint!(afterWritebackBuf);
        self.shared.revision.store(self.revision, Ordering::SeqCst);
        self.shared.compacted.store(self.compacted, Ordering::SeqCst);
        self.shared.applied.store(last.index, Ordering::SeqCst);
        self.shared.end_write();
        if compacts {
            failpoint!(compactAfterCommitScheduledCompact);
            self.hub.compacted(self.compacted);
            self.shared.compaction_wanted.set(self.compacted);
        }
        self.hub.publish(self.revision, changes);
        results
    }

    /// The last applied position; its effects are visible, not yet durable.
    pub fn applied(&self) -> Applied {
        self.applied.clone()
    }

    /// Applied index that is durable in the engine: the log may be released up to it.
    pub fn flushed(&self) -> u64 {
        self.flusher().flushed()
    }

    /// Makes durable what is applied. May take long.
    pub fn flush(&self) {
        self.flusher().flush();
    }

    /// A handle to flush from another thread.
    pub fn flusher(&self) -> Flusher {
        Flusher { shared: self.shared.clone() }
    }

    /// A handle for reads.
    pub fn view(&self) -> View {
        View::new(self.shared.clone())
    }

    /// Where watchers subscribe.
    pub fn hub(&self) -> WatchHub {
        self.hub.clone()
    }

    /// Carries out compactions where no thread of its own does.
    pub fn compactor(&self) -> Compactor {
        self.compactor.clone()
    }

    /// The whole state at the applied position, while applying goes on.
    pub fn snapshot(&self) -> Result<SnapshotReader, SnapshotError> {
        Ok(SnapshotReader::new(&self.applied, self.shared.engine.export()?))
    }

    /// Replaces the whole state by a snapshot, durably: after a crash it is the old or the new.
    pub fn install(&mut self, mut source: impl Read) -> Result<Applied, SnapshotError> {
        let shared = self.shared.clone();
        let _no_compaction = shared.rewrite.lock();
        let applied = snapshot::read_head(&mut source)?;
        let engine = self.shared.engine.clone();
        let mut entries = snapshot::Entries::new(&mut source);
        failpoint!(raftBeforeSaveSnap);
        let staged = engine
            .stage(&mut entries)
            .map_err(|error| entries.take_error().unwrap_or(error.into()))?;
        failpoint!(raftAfterSaveSnap);
        // From here on no reader may hold the old positions against the new content.
        let _no_readers = shared.content.write();
        failpoint!(applyBeforeOpenSnapshot);
        staged()?;
        failpoint!(applyAfterOpenSnapshot);
        self.compactor.reset();
        self.load().map_err(|error| SnapshotError::Content(error.to_string()))?;
        assert_eq!(self.applied, applied, "the snapshot's head and its content");
        self.shared.flushed.store(applied.index, Ordering::SeqCst);
        Ok(applied)
    }

    fn apply_one(
        &mut self,
        entry: &LogEntry,
        overlay: &mut Overlay<'_>,
        changes: &mut Vec<Change>,
    ) -> ApplyResult {
        match &entry.payload {
            Payload::Blank => {
                failpoint!(beforeApplyOneEntryNormal);
                Ok(Reply::Done { revision: self.revision })
            }
            Payload::Membership(membership) => {
                failpoint!(beforeApplyOneConfChange);
                if !planted::is(Bug::ForgetMembershipChange) || self.applied.membership.is_none() {
                    self.applied.membership = Some(membership.clone());
                }
                Ok(Reply::Done { revision: self.revision })
            }
            Payload::Command(command) => {
                failpoint!(beforeApplyOneEntryNormal);
                self.apply_command(entry, command, overlay, changes)
            }
        }
    }

    fn apply_command(
        &mut self,
        entry: &LogEntry,
        command: &Command,
        overlay: &mut Overlay<'_>,
        changes: &mut Vec<Change>,
    ) -> ApplyResult {
        let op = command.op.as_ref().ok_or(ApplyError::UnknownCommand)?;
        if is_of_another_leader(op, entry.term) {
            return Ok(Reply::Done { revision: self.revision });
        }
        self.check_alarms(op)?;
        self.check_authority(command, op, overlay)?;
        match op {
            Op::Put(request) => self.transact(overlay, changes, |transaction, limits| {
                mvcc::check_put(transaction.space(), request, limits)?;
                Ok(Reply::Put(mvcc::run_put(transaction, request)?))
            }),
            Op::DeleteRange(request) => self.transact(overlay, changes, |transaction, _| {
                Ok(Reply::DeleteRange(mvcc::run_delete_range(transaction, request)?))
            }),
            Op::Txn(request) => self.transact(overlay, changes, |transaction, limits| {
                Ok(Reply::Txn(mvcc::txn(transaction, request, limits)?))
            }),
            Op::Compaction(request) => self.compact(request, overlay),
            Op::LeaseGrant(request) => self.grant(request, overlay),
            Op::LeaseRevoke(request) => self.revoke(request, overlay, changes),
            Op::LeaseCheckpoints(request) => Ok(self.checkpoint(request, overlay)),
            Op::MemberAttributes(attributes) => Ok(self.member(attributes, overlay)),
            Op::Downgrade(downgrade) => self.downgrade(downgrade, overlay),
            Op::Alarm(request) => Ok(self.alarm(request, overlay)),
            Op::AuthChange(change) => self.change_auth(change, overlay),
            Op::Authenticate(request) => self.authenticate(entry.index, request),
        }
    }

    /// Runs one transaction; its changes follow those before.
    fn transact(
        &mut self,
        overlay: &mut Overlay<'_>,
        changes: &mut Vec<Change>,
        run: impl FnOnce(&mut Transaction<'_, '_>, Limits<'_>) -> Result<Reply, TxnError>,
    ) -> ApplyResult {
        let leases = self.shared.leases.read();
        let has_lease = |id: i64| leases.contains(id);
        let limits =
            Limits { current: self.revision, compacted: self.compacted, has_lease: &has_lease };
        let mut transaction = Transaction::new(overlay, self.revision);
        let result = run(&mut transaction, limits);
        drop(leases);
        match result {
            Ok(reply) => {
                self.revision = transaction.revision();
                let (changed, growth) = transaction.finish();
                let deletes = |change: &Change| change.kind == mvcc::ChangeKind::Delete;
                if planted::is(Bug::ReuseRevision) && changed.iter().any(deletes) {
                    self.revision -= 1;
                }
                self.size += growth.size;
                self.keys += growth.keys;
                self.shared.measures.puts.add(growth.puts);
                self.shared.measures.put_bytes.add(growth.put_bytes);
                changes.extend(changed);
                Ok(reply)
            }
            Err(TxnError::Refused(error)) => Err(error),
            Err(TxnError::Read(error)) => stop(&error),
        }
    }

    // upstream: etcd v3 API, "Compact"
    fn compact(
        &mut self,
        request: &pb::CompactionRequest,
        overlay: &mut Overlay<'_>,
    ) -> ApplyResult {
        let wanted = request.revision;
        if wanted <= self.compacted {
            return Err(ApplyError::Compacted { wanted, oldest: self.compacted });
        }
        if wanted > self.revision {
            return Err(ApplyError::FutureRevision { wanted, current: self.revision });
        }
        self.compacted = wanted;
        overlay.batch.put(keys::META_COMPACTED.to_vec(), keys::number(wanted));
        Ok(Reply::Compaction(pb::CompactionResponse { header: header(self.revision) }))
    }

    fn grant(&mut self, request: &pb::LeaseGrantRequest, overlay: &mut Overlay<'_>) -> ApplyResult {
        let mut leases = self.shared.leases.write();
        if leases.contains(request.id) {
            return Err(ApplyError::LeaseExists);
        }
        let lease = Lease { id: request.id, ttl_seconds: request.ttl, remaining_ttl_seconds: 0 };
        leases.insert(lease);
        put_lease(overlay, &lease);
        drop(leases);
        self.signal_leases();
        Ok(Reply::LeaseGrant(pb::LeaseGrantResponse {
            header: header(self.revision),
            id: request.id,
            ttl: request.ttl,
            error: String::new(),
        }))
    }

    fn revoke(
        &mut self,
        request: &LeaseRevoke,
        overlay: &mut Overlay<'_>,
        changes: &mut Vec<Change>,
    ) -> ApplyResult {
        for id in &request.ids {
            if self.shared.leases.write().remove(*id).is_none() {
                if request.expired {
                    continue;
                }
                return Err(ApplyError::LeaseNotFound);
            }
            self.shared.measures.leases_revoked.add(1);
            self.shared.measures.leases_expired.add(request.expired.into());
            overlay.batch.delete(keys::lease(*id));
            let (start, end) = keys::attached_to(*id);
            let attached = keys_in(overlay, &start, &end);
            self.transact(overlay, changes, |transaction, _| {
                for key in &attached {
                    transaction.delete_range(keys::parse_attached(key), b"")?;
                }
                Ok(Reply::Done { revision: 0 })
            })?;
        }
        self.signal_leases();
        Ok(Reply::LeaseRevoke(pb::LeaseRevokeResponse { header: header(self.revision) }))
    }

    fn checkpoint(&mut self, request: &LeaseCheckpoints, overlay: &mut Overlay<'_>) -> Reply {
        let mut leases = self.shared.leases.write();
        for checkpoint in &request.checkpoints {
            if let Some(lease) = leases.get_mut(checkpoint.id) {
                lease.remaining_ttl_seconds = checkpoint.remaining_ttl_seconds;
                put_lease(overlay, lease);
            }
        }
        Reply::Done { revision: self.revision }
    }

    fn member(&mut self, attributes: &MemberAttributes, overlay: &mut Overlay<'_>) -> Reply {
        let mut members = self.shared.members.write();
        // Who was removed has nothing to say any more.
        if !members.get(&attributes.member_id).is_some_and(|known| known.removed) {
            let key = keys::member(attributes.member_id);
            overlay.batch.put(key, Bytes::from(attributes.encode_to_vec()));
            members.insert(attributes.member_id, attributes.clone());
        }
        Reply::Done { revision: self.revision }
    }

    fn downgrade(&mut self, downgrade: &Downgrade, overlay: &mut Overlay<'_>) -> ApplyResult {
        let mut target = self.shared.downgrade.write();
        match (target.is_some(), downgrade.target.is_empty()) {
            (true, false) => return Err(ApplyError::DowngradeInProgress),
            (false, true) => return Err(ApplyError::NoDowngrade),
            (false, false) => {
                let version = Bytes::from(downgrade.target.clone());
                overlay.batch.put(keys::META_DOWNGRADE.to_vec(), version);
                *target = Some(downgrade.target.clone());
            }
            (true, true) => {
                overlay.batch.delete(keys::META_DOWNGRADE.to_vec());
                *target = None;
            }
        }
        Ok(Reply::Done { revision: self.revision })
    }

    /// Raises an alarm, or ends it; the answer names those that changed.
    fn alarm(&mut self, request: &pb::AlarmRequest, overlay: &mut Overlay<'_>) -> Reply {
        use pb::alarm_request::AlarmAction;
        let mut alarms = self.shared.alarms.write();
        let (alarm, member) = (request.alarm, request.member_id);
        let key = keys::alarm(alarm, member);
        let mut changed = Vec::new();
        match request.action() {
            AlarmAction::Activate if alarm != pb::AlarmType::None as i32 => {
                alarms.insert((alarm, member));
                overlay.batch.put(key, Bytes::new());
                changed.push(pb::AlarmMember { member_id: member, alarm });
            }
            AlarmAction::Deactivate if alarms.remove(&(alarm, member)) => {
                overlay.batch.delete(key);
                changed.push(pb::AlarmMember { member_id: member, alarm });
            }
            AlarmAction::Activate | AlarmAction::Deactivate | AlarmAction::Get => {}
        }
        Reply::Alarm(pb::AlarmResponse { header: header(self.revision), alarms: changed })
    }

    /// While there is no space nothing may grow; while data differ nothing may be written.
    // upstream: etcd v3 API, "Alarm"
    fn check_alarms(&self, op: &Op) -> Result<(), ApplyError> {
        let alarms = self.shared.alarms.read();
        if alarms.is_empty() {
            return Ok(());
        }
        let raised = |kind: pb::AlarmType| alarms.iter().any(|(alarm, _)| *alarm == kind as i32);
        let on_data = match op {
            Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_) | Op::Compaction(_) => true,
            Op::LeaseGrant(_) | Op::LeaseRevoke(_) => true,
            Op::LeaseCheckpoints(_) | Op::MemberAttributes(_) | Op::Alarm(_) => false,
            Op::AuthChange(_) | Op::Authenticate(_) | Op::Downgrade(_) => false,
        };
        if on_data && raised(pb::AlarmType::Corrupt) {
            return Err(ApplyError::Corrupt);
        }
        let grows = match op {
            Op::Put(_) | Op::LeaseGrant(_) => true,
            Op::Txn(request) => may_put(request),
            Op::DeleteRange(_) | Op::Compaction(_) | Op::LeaseRevoke(_) => false,
            Op::LeaseCheckpoints(_) | Op::MemberAttributes(_) | Op::Alarm(_) => false,
            Op::AuthChange(_) | Op::Authenticate(_) | Op::Downgrade(_) => false,
        };
        if grows && raised(pb::AlarmType::Nospace) {
            return Err(ApplyError::NoSpace);
        }
        Ok(())
    }

    /// While authentication is on, who proposed it must be allowed to, now that it is applied.
    fn check_authority(
        &self,
        command: &Command,
        op: &Op,
        overlay: &Overlay<'_>,
    ) -> Result<(), AuthError> {
        if command.trusted || !self.shared.is_auth_enabled() {
            return Ok(());
        }
        let by = Authority { user: command.user.clone(), revision: command.auth_revision };
        let keys_of = |lease: i64| {
            let (start, end) = keys::attached_to(lease);
            let attached = keys_in(overlay, &start, &end);
            let key = |found: &Vec<u8>| Bytes::copy_from_slice(keys::parse_attached(found));
            attached.iter().map(key).collect()
        };
        self.shared.auth().may_apply(&by, op, &keys_of)
    }

    fn change_auth(&mut self, change: &AuthChange, overlay: &mut Overlay<'_>) -> ApplyResult {
        let change = change.change.as_ref().ok_or(ApplyError::UnknownCommand)?;
        let before = self.shared.auth();
        let mut after = AuthState::clone(&before);
        match after.change(change)? {
            Ended::None => {}
            Ended::Of(user) => self.shared.tokens.forget(user),
            Ended::All => self.shared.tokens.clear(),
        }
        after.write_changes(&before, overlay);
        self.shared.set_auth(after);
        Ok(Reply::Done { revision: self.revision })
    }

    /// The proposer has checked the password: here it counts only if nothing has changed since.
    fn authenticate(&self, index: u64, request: &Authenticate) -> ApplyResult {
        let auth = self.shared.auth();
        if !auth.is_enabled() {
            return Err(AuthError::NotEnabled.into());
        }
        if request.auth_revision != auth.revision() {
            return Err(AuthError::OldRevision.into());
        }
        let token = format!("{}.{index}", request.token_prefix);
        self.shared.tokens.assign(token.clone(), request.name.clone());
        Ok(Reply::Token(token))
    }

    /// Adds to the batch where the state stands.
    fn write_position(&mut self, overlay: &mut Overlay<'_>) {
        let applied = self.applied.stored();
        self.shared.size.store(self.size, Ordering::Relaxed);
        self.shared.measures.keys.set(self.keys);
        let batch = &mut overlay.batch;
        if !self.has_format {
            batch.put(keys::META_FORMAT.to_vec(), Bytes::from_static(keys::FORMAT));
            self.has_format = true;
        }
        batch.put(keys::META_APPLIED.to_vec(), Bytes::from(applied.encode_to_vec()));
        batch.put(keys::META_REVISION.to_vec(), keys::number(self.revision));
        batch.put(keys::META_SIZE.to_vec(), keys::number(self.size));
        batch.put(keys::META_KEYS.to_vec(), keys::number(self.keys));
    }

    fn signal_leases(&self) {
        self.shared.leases_changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Takes the state from the engine.
    fn load(&mut self) -> Result<(), OpenError> {
        let engine = self.shared.engine.clone();
        let format = engine.get(keys::META_FORMAT)?;
        self.has_format = format.is_some();
        match format {
            Some(found) if found != keys::FORMAT => {
                return Err(OpenError::Format {
                    found: String::from_utf8_lossy(&found).into_owned(),
                    expected: String::from_utf8_lossy(keys::FORMAT).into_owned(),
                });
            }
            _ => {}
        }
        if let Some(applied) = engine.get(keys::META_APPLIED)? {
            let stored = StoredApplied::decode(applied)
                .map_err(|_| OpenError::Damaged("the applied position"))?;
            self.applied = Applied::from_stored(stored);
        }
        let number = |key: &[u8], missing: i64| -> Result<i64, OpenError> {
            match engine.get(key)? {
                Some(bytes) => {
                    keys::parse_number(&bytes).ok_or(OpenError::Damaged("a number of the state"))
                }
                None => Ok(missing),
            }
        };
        self.revision = number(keys::META_REVISION, 1)?;
        self.compacted = number(keys::META_COMPACTED, -1)?;
        self.size = number(keys::META_SIZE, 0)?;
        let freed = number(keys::META_FREED, 0)?;
        self.keys = match number(keys::META_KEYS, -1)? {
            -1 => count_keys(&*engine)?,
            keys => keys,
        };
        let done = number(keys::META_COMPACTION_DONE, -1)?;
        let leases = load_leases(&*engine)?;
        let members = load_members(&*engine)?;
        let downgrade = engine.get(keys::META_DOWNGRADE)?;
        let downgrade = downgrade.map(|target| String::from_utf8_lossy(&target).into_owned());
        let (start, end) = keys::alarms();
        let alarms = keys_in(&*engine, &start, &end);
        let auth = load_auth(&*engine)?;
        let shared = &self.shared;
        shared.begin_write();
        shared.leases.write().replace(leases);
        *shared.members.write() = members;
        *shared.downgrade.write() = downgrade;
        *shared.alarms.write() = alarms.iter().filter_map(|key| keys::parse_alarm(key)).collect();
        shared.set_auth(auth);
        shared.revision.store(self.revision, Ordering::SeqCst);
        shared.compacted.store(self.compacted, Ordering::SeqCst);
        shared.size.store(self.size, Ordering::Relaxed);
        shared.freed.store(freed, Ordering::Relaxed);
        shared.measures.keys.set(self.keys);
        shared.applied.store(self.applied.index, Ordering::SeqCst);
        shared.end_write();
        shared.compaction_done.send_replace(done);
        shared.compaction_wanted.set(self.compacted);
        self.signal_leases();
        self.hub.reset(self.revision, self.compacted);
        Ok(())
    }
}

/// Makes the applied state durable, from any thread.
#[derive(Clone)]
pub struct Flusher {
    shared: Arc<Shared>,
}

impl Flusher {
    /// Flushes; [`Flusher::flushed`] then covers what was applied before the call.
    ///
    /// # Panics
    /// Where the engine fails: what it holds is not known any more.
    pub fn flush(&self) {
        let applied = self.shared.applied.load(Ordering::SeqCst);
        if self.flushed() >= applied {
            return;
        }
        failpoint!(beforeCommit);
        self.shared.engine.flush().expect("the engine flushes, or the node stops");
        failpoint!(afterCommit);
        self.shared.flushed.fetch_max(applied, Ordering::SeqCst);
    }

    /// Applied index that is durable in the engine.
    pub fn flushed(&self) -> u64 {
        self.shared.flushed.load(Ordering::SeqCst)
    }
}

/// Whether one of its branches, nested ones included, may write more than deletions.
fn may_put(request: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => may_put(nested),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => false,
    })
}

fn put_lease(overlay: &mut Overlay<'_>, lease: &Lease) {
    overlay.batch.put(keys::lease(lease.id), Bytes::from(lease.stored().encode_to_vec()));
}

fn load_leases(reader: &dyn Reader) -> Result<BTreeMap<i64, Lease>, OpenError> {
    let (start, end) = keys::leases();
    let mut found = BTreeMap::new();
    for value in values_in(reader, &start, &end)? {
        let stored = StoredLease::decode(value).map_err(|_| OpenError::Damaged("a lease"))?;
        found.insert(stored.id, Lease::from_stored(&stored));
    }
    Ok(found)
}

fn load_members(reader: &dyn Reader) -> Result<BTreeMap<u64, MemberAttributes>, OpenError> {
    let (start, end) = keys::members();
    let mut found = BTreeMap::new();
    for value in values_in(reader, &start, &end)? {
        let member = MemberAttributes::decode(value).map_err(|_| OpenError::Damaged("a member"))?;
        found.insert(member.member_id, member);
    }
    Ok(found)
}

fn load_auth(reader: &dyn Reader) -> Result<AuthState, OpenError> {
    let damaged = |_| OpenError::Damaged("a user or a role");
    let stored = reader.get(keys::META_AUTH)?.unwrap_or_default();
    let stored = StoredAuth::decode(stored).map_err(damaged)?;
    let (start, end) = keys::users();
    let users = values_in(reader, &start, &end)?.into_iter().map(User::decode);
    let users = users.collect::<Result<Vec<_>, _>>().map_err(damaged)?;
    let (start, end) = keys::roles();
    let roles = values_in(reader, &start, &end)?.into_iter().map(Role::decode);
    let roles = roles.collect::<Result<Vec<_>, _>>().map_err(damaged)?;
    Ok(AuthState::load(&stored, users, roles))
}

/// Whether a leader saw this for itself and another one wrote it into the log: then it was on its
/// way when the leader changed, and is no longer true.
fn is_of_another_leader(op: &Op, term: u64) -> bool {
    let seen_by = match op {
        Op::LeaseRevoke(request) if request.expired => request.leader_term,
        Op::LeaseCheckpoints(request) => request.leader_term,
        _ => 0,
    };
    seen_by != 0 && seen_by != term
}

fn count_keys(reader: &dyn Reader) -> Result<i64, EngineError> {
    let (start, end) = keys::newest_bounds(b"", b"\0");
    let mut count = 0;
    reader.walk(&start, &end, Direction::Forward, &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

fn values_in(reader: &dyn Reader, start: &[u8], end: &[u8]) -> Result<Vec<Bytes>, EngineError> {
    let mut found = Vec::new();
    reader.walk(start, end, Direction::Forward, &mut |_, value| {
        found.push(Bytes::copy_from_slice(value));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn keys_in(reader: &dyn Reader, start: &[u8], end: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let walked = reader.walk(start, end, Direction::Forward, &mut |key, _| {
        found.push(key.to_vec());
        ControlFlow::Continue(())
    });
    match walked {
        Ok(()) => found,
        Err(error) => stop(&ReadError::Engine(error)),
    }
}

/// The engine cannot be read: applying cannot go on, and no other answer would be right.
fn stop(error: &ReadError) -> ! {
    panic!("the state machine stops: {error}")
}
