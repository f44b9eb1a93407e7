//! LogStore: the library's log storage. Appends are in memory at once and on disk when the WAL's
//! writer says so; nothing here waits for the disk but a vote.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keelson_failpoint::failpoint;
use keelson_failpoint::planted::{self, Bug};
use keelson_storage::disk::Disk;
use keelson_storage::wal::{
    EntryPosition, Identity, Index, Record, Recovered, Wal, WalError, WalOptions, WalQueue,
    WalReader,
};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::cache::Cache;
use super::driver::WalHandle;
use super::records::entry_record;
use crate::observer::Observer;
use crate::types::{
    Entry, LogId, Types, Vote, inner_id, inner_vote, outer_id, outer_index, outer_vote,
};

/// Where and how a log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The WAL's directory.
    pub dir: PathBuf,
    /// Whose log it is.
    pub identity: Identity,
    /// Sizes of the WAL.
    pub wal: WalOptions,
    /// Written entries are kept in memory up to this size.
    pub cache_bytes: usize,
    /// Told of votes and entries.
    pub observer: Option<Arc<dyn Observer>>,
}

impl LogOptions {
    /// Options with the usual sizes.
    pub fn new(dir: PathBuf, identity: Identity) -> Self {
        Self {
            dir,
            identity,
            wal: WalOptions::default(),
            cache_bytes: 4 * 1024 * 1024,
            observer: None,
        }
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// The WAL refuses.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// Its writer cannot be started.
    #[error("cannot start the WAL's writer: {0}")]
    Writer(io::Error),
}

/// The log; clones share it.
#[derive(Debug, Clone)]
pub struct LogStore {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Of the last committed entry; for whoever must not wait for the state.
    committed: AtomicU64,
    pub(super) wal: WalReader,
    queue: WalQueue,
    handle: WalHandle,
    cache_bytes: usize,
    observer: Option<Arc<dyn Observer>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// Entries in memory, up to the last.
    pub(super) cache: Cache,
    /// Where written entries are; in the order of writing, so behind `last` and `purged`. Its
    /// indexes are the outer ones.
    pub(super) written: Index,
    /// While a truncation is on its way to the disk, `written` may name void entries.
    truncations: usize,
}

impl LogStore {
    /// Opens the log and starts its writer. Must be called within the runtime.
    pub fn open(disk: Arc<dyn Disk>, options: &LogOptions) -> Result<Self, OpenLogError> {
        let (wal, recovered) = Wal::open(disk, &options.dir, options.identity, options.wal)?;
        if let Some(cut) = &recovered.cut {
            tracing::warn!(
                file = %cut.file.display(), offset = cut.offset,
                "cut a torn write at the end of the WAL; it had not been acknowledged"
            );
        }
        let reader = wal.reader();
        let (queue, handle) = WalHandle::start(wal).map_err(OpenLogError::Writer)?;
        let shared = Shared {
            committed: AtomicU64::new(recovered.committed.map_or(0, |id| id.index)),
            state: Mutex::new(State::from_recovered(recovered)),
            wal: reader,
            queue,
            handle,
            cache_bytes: options.cache_bytes,
            observer: options.observer.clone(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The last vote that is on disk.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.shared.state.lock().vote
    }

    /// Whether the log has this very entry, on disk or on its way there.
    pub(crate) fn holds(&self, id: Option<LogId>) -> bool {
        let Some(id) = id else { return true };
        let state = self.shared.state.lock();
        if state.last < Some(id) {
            return false;
        }
        if state.purged >= Some(id) || state.last == Some(id) {
            return true;
        }
        let cached = state.cache.term(id.index);
        let written = || state.written.get(id.index + 1).map(|place| place.term);
        cached.or_else(written) == Some(id.leader_id.term)
    }

    /// Whether nothing was ever written.
    pub(crate) fn is_pristine(&self) -> bool {
        let state = self.shared.state.lock();
        state.last.is_none() && state.vote.is_none()
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.shared.state.lock().last
    }

    /// Index, counted from 1, of the last entry known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::Relaxed)
    }

    /// Why the WAL stopped, if it failed.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.queue.failure()
    }

    /// Waits until nothing is written any more: the log was closed, or has failed.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        self.shared.handle.ended()
    }

    /// Writes what waits, and ends the writer.
    pub(crate) fn close(&self) {
        self.shared.handle.stop();
    }

    /// Appends an entry, and waits until it is on disk.
    pub(crate) async fn append_durably(&self, entry: Entry) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.push([entry], |result| {
            let _ = sender.send(result);
        });
        receiver.await.map_err(io::Error::other)?
    }

    /// Appends entries, and tells when they are on disk.
    fn push(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) {
        let entries = entries.into_iter();
        let mut records = Vec::with_capacity(entries.size_hint().0);
        let mut first = 0;
        {
            let mut state = self.shared.state.lock();
            for entry in entries {
                let record = entry_record(&entry);
                if let Some(observer) = &self.shared.observer {
                    observer.appended(&record);
                }
                if records.is_empty() {
                    first = record.id.index;
                }
                records.push(Record::Entry(record));
                state.last = Some(entry.log_id);
                state.cache.push(entry);
            }
        }
        let shared = self.shared.clone();
        let completion = move |result: Result<&[EntryPosition], &str>| {
            if let Ok(places) = &result {
                shared.written(first, places);
            }
            failpoint!(raftBeforeAdvance);
            done(result.map(|_| ()).map_err(io::Error::other));
        };
        self.shared.queue.submit(records, Box::new(completion));
    }

    /// Hands a record over whose completion nobody waits for.
    fn submit(&self, record: Record, done: impl FnOnce(&Shared) + Send + 'static) {
        let shared = self.shared.clone();
        let completion = move |result: Result<&[EntryPosition], &str>| {
            if result.is_ok() {
                done(&shared);
            }
        };
        self.shared.queue.submit(vec![record], Box::new(completion));
    }
}

impl State {
    fn from_recovered(recovered: Recovered) -> Self {
        let last = recovered.last().and_then(inner_id);
        Self {
            vote: match planted::is(Bug::VoteTwiceAfterCrash) {
                true => None,
                false => recovered.vote.map(inner_vote),
            },
            committed: recovered.committed.and_then(inner_id),
            purged: recovered.purged.and_then(inner_id),
            last,
            written: recovered.index,
            ..Self::default()
        }
    }
}

impl State {
    /// Index of the first entry that is here.
    pub(super) fn first(&self) -> u64 {
        let written = self.written.first().map(|outer| outer - 1);
        let held = written.into_iter().chain(self.cache.first()).min().unwrap_or(0);
        held.max(self.purged.map_or(0, |id| id.index + 1))
    }
}

impl Shared {
    /// Takes note of entries that are on disk.
    fn written(&self, first: u64, places: &[EntryPosition]) {
        let mut state = self.state.lock();
        for (index, place) in (first..).zip(places) {
            let follows = state.written.push(index, *place);
            assert!(follows, "entry {index} was written out of order");
        }
        if state.truncations == 0
            && let Some(last) = state.written.last()
        {
            // The outer index of the last is the inner one of the next.
            state.cache.shrink(self.cache_bytes, last.index);
        }
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.shared.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (sender, receiver) = oneshot::channel();
        let completion = move |result: Result<&[EntryPosition], &str>| {
            let _ = sender.send(result.map(|_| ()).map_err(io::Error::other));
        };
        self.shared.queue.submit(vec![Record::Vote(outer_vote(vote))], Box::new(completion));
        receiver.await.map_err(io::Error::other)??;
        if let Some(observer) = &self.shared.observer {
            observer.voted(outer_vote(vote));
        }
        self.shared.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(id) = committed {
            self.shared.state.lock().committed = Some(id);
            self.shared.committed.store(outer_index(id.index), Ordering::Relaxed);
            self.shared.queue.committed(outer_id(id));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.push(entries, |result| callback.io_completed(result));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        {
            let mut state = self.shared.state.lock();
            state.cache.truncate(last_log_id.map_or(0, |id| id.index + 1));
            state.last = state.last.min(last_log_id).max(state.purged);
            state.truncations += 1;
        }
        let keep = last_log_id.map(outer_id);
        let (sender, receiver) = oneshot::channel();
        self.submit(Record::Truncate(keep), move |shared| {
            let mut state = shared.state.lock();
            state.written.truncate(keep.map(|id| id.index));
            state.truncations -= 1;
            let _ = sender.send(());
        });
        // A snapshot may be installed next, durably: the void entries must not come back beside it.
        receiver.await.map_err(io::Error::other)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        {
            let mut state = self.shared.state.lock();
            state.purged = state.purged.max(Some(log_id));
            state.cache.purge(log_id.index + 1);
            state.last = state.last.max(Some(log_id));
        }
        let outer = outer_id(log_id);
        self.submit(Record::Purge(outer), move |shared| {
            shared.state.lock().written.purge(outer.index);
        });
        Ok(())
    }
}
