//! WalWriter: group commit. Whatever waits when a write starts rides on its sync.
//!
//! Callers put records in a [`WalQueue`]; the writer takes all that waits, writes it as one batch,
//! syncs once and completes every caller. On a thread of its own it is driven by
//! [`WalWriter::run`]; a simulation calls [`WalWriter::turn`].

use std::sync::Arc;
use std::time::Duration;

use keelson_failpoint::failpoint;
use keelson_failpoint::planted::{self, Bug};
use parking_lot::{Condvar, Mutex};

use super::error::WalError;
use super::index::EntryPosition;
use super::log::Wal;
use super::record::{LogId, Record};

/// An idle writer says what is synced, and what is committed, after this long.
const LAZY_AFTER: Duration = Duration::from_millis(50);

/// Called once with the places of the submission's entries when its records are on disk.
pub type Completion = Box<dyn FnOnce(Result<&[EntryPosition], &str>) + Send>;

struct Submission {
    records: Vec<Record>,
    entries: usize,
    done: Completion,
}

#[derive(Default)]
struct Waiting {
    submissions: Vec<Submission>,
    committed: Option<LogId>,
    stopping: bool,
    failed: Option<String>,
    /// The writer looks again by itself.
    timed: bool,
}

/// The writer's inbox; clones share it. Its content is bounded by what callers have in flight.
#[derive(Clone)]
pub struct WalQueue {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    /// Called on arrival instead of waking a thread.
    wake: Option<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for WalQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalQueue").finish_non_exhaustive()
    }
}

impl WalQueue {
    /// Hands records over, to be written in order with all others; `done` is called when they are
    /// on disk, or when the log has failed or stopped.
    pub fn submit(&self, records: Vec<Record>, done: Completion) {
        let entries = records.iter().filter(|record| matches!(record, Record::Entry(_))).count();
        let mut waiting = self.shared.waiting.lock();
        if waiting.stopping || waiting.failed.is_some() {
            let reason = waiting.failed.clone();
            drop(waiting);
            done(Err(reason.as_deref().unwrap_or("the WAL is closed")));
            return;
        }
        waiting.submissions.push(Submission { records, entries, done });
        drop(waiting);
        self.shared.notify();
    }

    /// Notes what is committed; it is written with the next batch, or when the log is idle.
    pub fn committed(&self, id: LogId) {
        let mut waiting = self.shared.waiting.lock();
        waiting.committed = Some(id);
        if !waiting.timed {
            waiting.timed = true;
            drop(waiting);
            self.shared.notify();
        }
    }

    /// Lets the writer finish what waits, and then end.
    pub fn stop(&self) {
        self.shared.waiting.lock().stopping = true;
        self.shared.notify();
    }

    /// Why the log has stopped, if it failed.
    pub fn failure(&self) -> Option<String> {
        self.shared.waiting.lock().failed.clone()
    }
}

impl Shared {
    fn notify(&self) {
        match &self.wake {
            Some(wake) => wake(),
            None => {
                self.arrived.notify_one();
            }
        }
    }
}

/// The owner of the log while it runs.
pub struct WalWriter {
    wal: Wal,
    shared: Arc<Shared>,
    places: Vec<EntryPosition>,
}

impl WalWriter {
    /// A writer and its inbox. With `wake`, arrivals call it instead of waking a thread.
    pub fn new(wal: Wal, wake: Option<Box<dyn Fn() + Send + Sync>>) -> (Self, WalQueue) {
        let shared = Arc::new(Shared { waiting: Mutex::default(), arrived: Condvar::new(), wake });
        let queue = WalQueue { shared: shared.clone() };
        (Self { wal, shared, places: Vec::new() }, queue)
    }

    /// Writes until it is stopped or the log fails; for a thread of its own.
    pub fn run(mut self) -> Result<(), WalError> {
        loop {
            let idle = self.wait();
            if idle {
                self.rest()?;
                continue;
            }
            if !self.turn()? && self.shared.waiting.lock().stopping {
                return self.finish();
            }
        }
    }

    /// Refuses everything from now on: a failed write or sync is never retried.
    fn fail(&self, error: WalError, submissions: Vec<Submission>) -> WalError {
        let reason = error.to_string();
        let (first, late) = {
            let mut waiting = self.shared.waiting.lock();
            let first = waiting.failed.is_none();
            waiting.failed.get_or_insert_with(|| reason.clone());
            (first, std::mem::take(&mut waiting.submissions))
        };
        if first {
            tracing::error!(%error, "the WAL failed: this member stops");
        }
        for submission in submissions.into_iter().chain(late) {
            (submission.done)(Err(&reason));
        }
        error
    }

    /// Writes, syncs and completes everything that waits; false when nothing did.
    pub fn turn(&mut self) -> Result<bool, WalError> {
        let (submissions, committed) = {
            let mut waiting = self.shared.waiting.lock();
            if waiting.submissions.is_empty() {
                return Ok(false);
            }
            (std::mem::take(&mut waiting.submissions), waiting.committed.take())
        };
        let committed = committed.map(Record::Committed);
        failpoint!(raftBeforeSave);
        let purged = match self.write_and_sync(&submissions, committed.as_ref()) {
            Ok(purged) => purged,
            Err(error) => return Err(self.fail(error, submissions)),
        };
        failpoint!(raftAfterSave);
        let mut places = self.places.as_slice();
        for submission in submissions {
            let (own, rest) = places.split_at(submission.entries);
            places = rest;
            (submission.done)(Ok(own));
        }
        self.tidy(purged).map_err(|error| self.fail(error, Vec::new()))?;
        Ok(true)
    }

    /// What nobody waits for: released segments go, and zeros are laid out ahead.
    fn tidy(&mut self, purged: bool) -> Result<(), WalError> {
        if purged {
            self.wal.remove_released()?;
            failpoint!(raftAfterWALRelease);
        }
        self.wal.fill_ahead()
    }

    /// Says in the log what is synced and committed, when nobody waits. Not synced.
    pub fn rest(&mut self) -> Result<(), WalError> {
        let committed = {
            let mut waiting = self.shared.waiting.lock();
            waiting.committed.take()
        };
        let committed = committed.map(Record::Committed);
        if committed.is_some() || self.wal.owes_synced() {
            let written = self.wal.write(committed.iter(), &mut Vec::new());
            written.map_err(|error| self.fail(error, Vec::new()))?;
        }
        Ok(())
    }

    /// Ends the log: what is synced is said, and synced.
    pub fn finish(&mut self) -> Result<(), WalError> {
        self.rest()?;
        self.wal.sync().map_err(|error| self.fail(error, Vec::new()))
    }

    fn write_and_sync(
        &mut self,
        submissions: &[Submission],
        committed: Option<&Record>,
    ) -> Result<bool, WalError> {
        self.places.clear();
        let records = submissions.iter().flat_map(|submission| &submission.records);
        if planted::is(Bug::AcknowledgeBeforeSync) {
            self.wal.sync()?;
        }
        self.wal.write(records.clone().chain(committed), &mut self.places)?;
        if !planted::is(Bug::AcknowledgeBeforeSync) {
            self.wal.sync()?;
        }
        Ok(records.into_iter().any(|record| matches!(record, Record::Purge(_))))
    }

    /// Waits for work; true when there was none for a while and there is something to say.
    fn wait(&self) -> bool {
        let mut waiting = self.shared.waiting.lock();
        loop {
            if !waiting.submissions.is_empty() || waiting.stopping {
                return false;
            }
            let owes = self.wal.owes_synced() || waiting.committed.is_some();
            waiting.timed = owes;
            if !owes {
                self.shared.arrived.wait(&mut waiting);
            } else if self.shared.arrived.wait_for(&mut waiting, LAZY_AFTER).timed_out() {
                return waiting.submissions.is_empty();
            }
        }
    }
}
