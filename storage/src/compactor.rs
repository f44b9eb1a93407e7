//! Carries out compactions beside applying: small steps with pauses, resumed after a restart.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keelson_failpoint::failpoint;
use parking_lot::{Condvar, Mutex};

use crate::background;
use crate::disk::wall_clock;
use crate::mvcc::{ReadError, compaction, keys};
use crate::view::Shared;

/// How long the thread waits for work before it looks whether anybody is left to work for.
const WAIT: Duration = Duration::from_secs(1);

/// How compactions leave room for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Revisions looked at in one go: the steps of a go are smaller.
    pub revisions: usize,
    /// Between two, so that writers and the disk get their turn.
    pub pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { revisions: 1000, pause: Duration::from_millis(10) }
    }
}

/// Drops what compactions allow to drop.
#[derive(Clone)]
pub struct Compactor {
    shared: Arc<Shared>,
    at: Arc<Mutex<Position>>,
    pace: Pace,
}

/// The compaction being carried out and the engine key it goes on from.
#[derive(Default)]
struct Position {
    compacted: i64,
    next: Vec<u8>,
    kept: compaction::Kept,
}

impl Compactor {
    pub(crate) fn new(shared: Arc<Shared>, pace: Pace) -> Self {
        Self { shared, at: Arc::default(), pace }
    }

    /// Does one step; `false`: there was nothing to do.
    pub fn step(&self) -> Result<bool, ReadError> {
        let _alone = self.shared.rewrite.lock();
        let compacted = self.shared.compaction_wanted.get();
        if compacted <= *self.shared.compaction_done.borrow() {
            return Ok(false);
        }
        let mut at = self.at.lock();
        if at.compacted != compacted {
            *at = Position { compacted, ..Position::default() };
        }
        failpoint!(compactAfterAcquiredBatchTxLock);
        let engine = &self.shared.engine;
        let Position { next, kept, .. } = &mut *at;
        let mut step = compaction::step(&**engine, compacted, next, self.revisions(), kept)?;
        if step.next.is_none() {
            failpoint!(compactBeforeSetFinishedCompact);
            step.batch.put(keys::META_COMPACTION_DONE.to_vec(), keys::number(compacted));
        }
        // Written with what it counts: after a crash both are there, or neither.
        let freed = self.shared.freed.load(Ordering::Relaxed) + step.size_freed;
        step.batch.put(keys::META_FREED.to_vec(), keys::number(freed));
        failpoint!(compactBeforeCommitBatch);
        engine.write(&step.batch)?;
        failpoint!(compactAfterCommitBatch);
        self.shared.freed.store(freed, Ordering::Relaxed);
        self.shared.measures.compacted_keys.add(step.dropped);
        match step.next {
            Some(next) => at.next = next,
            None => {
                *at = Position::default();
                failpoint!(compactAfterSetFinishedCompact);
                self.shared.compaction_done.send_replace(compacted);
            }
        }
        Ok(true)
    }

    /// Revisions looked at in one step.
    fn revisions(&self) -> usize {
        self.pace.revisions.clamp(1, compaction::STEP_REVISIONS)
    }

    /// Begins anew: the content is another one.
    pub(crate) fn reset(&self) {
        *self.at.lock() = Position::default();
    }

    /// A thread that does the steps; it ends with the last owner of the state.
    pub(crate) fn spawn(&self) -> std::io::Result<()> {
        let (shared, at, pace) = (Arc::downgrade(&self.shared), self.at.clone(), self.pace);
        let wanted = self.shared.compaction_wanted.clone();
        let run = move || {
            loop {
                let seen = wanted.get();
                let Some(shared) = shared.upgrade() else { return };
                Self { shared, at: at.clone(), pace }.run();
                wanted.wait(seen);
            }
        };
        background::spawn("compactor", run).map(drop)
    }

    fn run(&self) {
        let (begun, mut steps) = (Instant::now(), 0_usize);
        let steps_at_once = (self.pace.revisions / self.revisions()).max(1);
        let measures = &self.shared.measures;
        loop {
            let step_begun = Instant::now();
            match self.step() {
                Ok(true) => steps += 1,
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "compaction stops until the next one");
                    return;
                }
            }
            measures.compaction_pauses.observe(step_begun.elapsed());
            if steps.is_multiple_of(steps_at_once) {
                std::thread::sleep(self.pace.pause);
            }
        }
        if steps > 0 {
            let revision = *self.shared.compaction_done.borrow();
            let took = begun.elapsed();
            measures.compactions.observe(took);
            let now = wall_clock().as_secs();
            measures.compaction_last.set(i64::try_from(now).unwrap_or_default());
            tracing::info!(revision, steps, ?took, "finished scheduled compaction");
        }
    }
}

/// The compaction that is agreed on.
pub(crate) struct Wanted {
    revision: Mutex<i64>,
    changed: Condvar,
}

impl Wanted {
    pub(crate) fn new() -> Self {
        Self { revision: Mutex::new(-1), changed: Condvar::new() }
    }

    pub(crate) fn set(&self, revision: i64) {
        *self.revision.lock() = revision;
        self.changed.notify_all();
    }

    fn get(&self) -> i64 {
        *self.revision.lock()
    }

    /// Until it is another one than `seen`, or a while has passed.
    fn wait(&self, seen: i64) {
        let mut revision = self.revision.lock();
        if *revision == seen {
            self.changed.wait_for(&mut revision, WAIT);
        }
    }
}
