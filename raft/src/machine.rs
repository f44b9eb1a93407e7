//! Machine: the library's state machine over the store's. A slice of committed entries is one
//! apply; callers are answered by [`Proposals`].

use std::any::Any;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use keelson_failpoint::failpoint;
use keelson_failpoint::planted::{self, Bug};
use keelson_storage::command::ApplyResult;
use keelson_storage::entry::{LogEntry, Payload};
use keelson_storage::machine::{Flusher, StateMachine};
use keelson_storage::measures::Operation;
use keelson_storage::snapshot::SnapshotReader;
use keelson_storage::view::View;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder, Snapshot};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::log::decode_membership;
use crate::observer::Observer;
use crate::proposals::Proposals;
use crate::runtime::Moment;
use crate::slice::Slice;
use crate::types::{self, Applied, LogId, SnapshotMeta, StoredMembership, Types, log_id};

/// When a snapshot is due: entries and bytes of them since the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SnapshotAfter {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

/// The content of a snapshot.
pub(crate) enum SnapshotData {
    /// Of the own state, to be sent.
    Own(SnapshotReader),
    /// From the leader, to be installed.
    Received(Box<dyn Read + Send>),
}

/// The state machine as the library drives it.
#[derive(Clone)]
pub(crate) struct Machine {
    machine: Arc<Mutex<StateMachine>>,
    flusher: Flusher,
    proposals: Proposals,
    applied: watch::Sender<u64>,
    /// The snapshot that the log may be released up to.
    built: Arc<Mutex<Option<SnapshotMeta>>>,
    since_snapshot: Arc<Mutex<(usize, usize)>>,
    after: SnapshotAfter,
    view: View,
    /// Applying that takes longer is logged.
    warning: Duration,
    /// Told when a snapshot is due.
    due: Arc<Notify>,
    failure: Failure,
    observer: Option<Arc<dyn Observer>>,
}

/// Why the state cannot be gone on with, if it failed; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<String>>>);

impl Machine {
    pub(crate) fn new(
        machine: StateMachine,
        proposals: Proposals,
        after: SnapshotAfter,
        warning: Duration,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let view = machine.view();
        let (applied, _) = watch::channel(machine.applied().index);
        let flusher = machine.flusher();
        Self {
            machine: Arc::new(Mutex::new(machine)),
            flusher,
            proposals,
            applied,
            built: Arc::default(),
            since_snapshot: Arc::default(),
            after,
            view,
            warning,
            due: Arc::default(),
            failure: Failure::default(),
            observer,
        }
    }

    /// Why the member has to stop, should the state fail.
    pub(crate) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    /// The applied index, counted from 1.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Told when a snapshot is due.
    pub(crate) fn snapshot_due(&self) -> Arc<Notify> {
        self.due.clone()
    }

    fn apply_now(&self, slice: Slice) -> io::Result<()> {
        #[allow(unused_mut, reason = "a test build may reorder it")]
        let Slice { mut log, own, bytes } = slice;
        let Some(last) = log.last().map(|entry| entry.index) else { return Ok(()) };
        if planted::is(Bug::ReorderTransactions) {
            swap_two(&mut log);
        }
        let begun = Moment::now();
        let results = self.failure.guard(|| {
            let mut machine = self.machine.lock();
            let results = machine.apply(&log);
            if let Some(observer) = &self.observer {
                observer.applied(&log, &results, &machine);
            }
            results
        })?;
        assert_eq!(results.len(), log.len(), "every entry has a result");
        self.measure(&log, &results, begun.age(), bytes);
        // Readers who wait for this index may go on before the callers do: the state is visible.
        self.applied.send_replace(last);
        let mut results = results.into_iter().enumerate();
        self.proposals.complete(own.into_iter().filter_map(|(place, sequence)| {
            let (_, result) = results.by_ref().find(|(at, _)| *at == place)?;
            Some((sequence, Ok(result)))
        }));
        self.count(log.len(), bytes);
        Ok(())
    }

    /// Entries of one slice share its time.
    fn measure(&self, log: &[LogEntry], results: &[ApplyResult], took: Duration, bytes: usize) {
        let measures = self.view.measures();
        let share = took / u32::try_from(log.len()).unwrap_or(u32::MAX).max(1);
        let operation = |entry: &LogEntry| match &entry.payload {
            Payload::Command(command) => Some(Operation::of(command)),
            Payload::Blank | Payload::Membership(_) => None,
        };
        for (entry, result) in log.iter().zip(results) {
            if let Some(operation) = operation(entry) {
                measures.applies.observe(operation, result.is_ok(), share);
            }
        }
        if took <= self.warning {
            return;
        }
        measures.slow_applies.add(1);
        let first = log.iter().find_map(operation);
        let entries = log.len();
        tracing::warn!(
            took = ?took,
            "expected-duration" = ?self.warning,
            prefix = "",
            request = format!(
                "{entries} entries of {bytes} bytes, the first a {}",
                first.map_or("membership", Operation::name)
            ),
            response = "",
            "apply request took too long"
        );
    }

    fn count(&self, entries: usize, bytes: usize) {
        let mut since = self.since_snapshot.lock();
        since.0 += entries;
        since.1 += bytes;
        if since.0 >= self.after.entries || since.1 >= self.after.bytes {
            *since = (0, 0);
            self.due.notify_one();
        }
    }

    fn snapshot(
        &self,
    ) -> io::Result<Snapshot<types::CommittedLeader, u64, types::Member, SnapshotData>> {
        let reader = self.machine.lock().snapshot().map_err(io::Error::other)?;
        let (last_log_id, last_membership) = position(reader.applied())?;
        let meta = SnapshotMeta { last_log_id, last_membership };
        Ok(Snapshot { meta, snapshot: SnapshotData::Own(reader) })
    }
}

/// What [`Bug::ReorderTransactions`] does.
fn swap_two(log: &mut [LogEntry]) {
    let is_command = |entry: &LogEntry| matches!(entry.payload, Payload::Command(_));
    if let [.., one, other] = log
        && is_command(one)
        && is_command(other)
    {
        std::mem::swap(&mut one.payload, &mut other.payload);
    }
}

fn position(
    applied: &keelson_storage::machine::Applied,
) -> io::Result<(Option<LogId>, StoredMembership)> {
    let membership = match &applied.membership {
        Some(bytes) => decode_membership(bytes.clone())?,
        None => StoredMembership::default(),
    };
    Ok((log_id(applied.term, applied.index), membership))
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.machine.lock().applied();
        position(&applied)
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::with_capacity(entries.size_hint().0);
        let mut responders = Vec::new();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            batch.push(entry);
            responders.extend(responder);
        }
        let slice = Slice::decode(&batch, &self.proposals)?;
        drop(batch);
        if slice.is_light() && !self.view.is_write_stalled() {
            self.apply_now(slice)?;
        } else {
            // Heartbeats do not wait for what may have to be read from a disk.
            let machine = self.clone();
            blocking(move || machine.apply_now(slice)).await??;
        }
        for responder in responders {
            responder.send(Applied);
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Self> {
        Some(self.clone())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let source: Box<dyn Read + Send> = match snapshot {
            SnapshotData::Received(source) => source,
            SnapshotData::Own(reader) => Box::new(Chunks { reader, rest: Bytes::new() }),
        };
        let (machine, failure) = (self.machine.clone(), self.failure.clone());
        let applying = &self.view.measures().snapshots_applying;
        applying.add(1);
        let installed = move || {
            let installed = failure.guard(|| machine.lock().install(source))?;
            installed.map_err(|error| failure.note(error.to_string()))
        };
        let applied = blocking(installed).await;
        applying.add(-1);
        let applied = applied??;
        let (last_log_id, _) = position(&applied)?;
        assert_eq!(last_log_id, meta.last_log_id, "a snapshot is of the position it names");
        if let Some(observer) = &self.observer {
            observer.installed(&self.machine.lock());
        }
        failpoint!(raftBeforeApplySnap);
        *self.built.lock() = Some(meta.clone());
        self.applied.send_replace(applied.index);
        self.proposals.overtaken();
        failpoint!(raftAfterApplySnap);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<types::CommittedLeader, u64, types::Member, SnapshotData>>, io::Error>
    {
        // The state goes on after a snapshot was built; what is sent is its newest state.
        if self.built.lock().is_none() {
            return Ok(None);
        }
        self.snapshot().map(Some)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = SnapshotData;

    /// A snapshot is the state made durable in the engine: the log before it is not needed here.
    async fn build_snapshot(
        &mut self,
    ) -> Result<Snapshot<types::CommittedLeader, u64, types::Member, SnapshotData>, io::Error> {
        let snapshot = self.snapshot()?;
        let (flusher, failure) = (self.flusher.clone(), self.failure.clone());
        blocking(move || failure.guard(|| flusher.flush())).await??;
        *self.built.lock() = Some(snapshot.meta.clone());
        Ok(snapshot)
    }
}

impl Failure {
    /// What was noted first.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.lock().clone()
    }

    /// Runs what panics where the state cannot be trusted any more: the library is told, and stops.
    /// A simulation wants to see the panic.
    fn guard<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        if crate::runtime::current().is_some() {
            return Ok(work());
        }
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| self.note(text(&*panic)))
    }

    fn note(&self, reason: String) -> io::Error {
        tracing::error!(error = reason, "the state failed: this member stops");
        self.0.lock().get_or_insert(reason.clone());
        io::Error::other(reason)
    }
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> String {
    let owned = panic.downcast_ref::<String>().cloned();
    let text = owned.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "the state machine panicked".to_owned())
}

/// A snapshot's chunks as one stream.
struct Chunks {
    reader: SnapshotReader,
    rest: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.reader.next_chunk().map_err(io::Error::other)? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let count = out.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

/// Runs what may take long beside the consensus tasks; in a simulation, at once.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if crate::runtime::current().is_some() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
