//! The monitor: sees what members do and what clients are told, and asks the invariants about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keelson_raft::{Leadership, Node, Observer};
use keelson_storage::command::ApplyResult;
use keelson_storage::entry::{LogEntry, Payload};
use keelson_storage::machine::StateMachine;
use keelson_storage::wal::{EntryRecord, Vote};
use parking_lot::Mutex;

use crate::executor::Control;
use crate::invariants::{
    Asked, Elections, Leases, Linearizable, Locks, LogMatching, Machines, Revisions, State, Told,
    Verdict, Watches, must_hold,
};
use crate::model::Model;
use crate::outcome::{Found, Outcome};
use crate::story::Story;

/// An invariant that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: &'static str,
    /// How.
    pub what: String,
    /// When, in simulated time.
    pub at: Duration,
}

/// All invariants; clones share them.
#[derive(Clone)]
pub(crate) struct Monitor {
    inner: Arc<Mutex<Inner>>,
    broken: Arc<AtomicBool>,
    control: Control,
    story: Story,
}

struct Inner {
    model: Model,
    elections: Elections,
    logs: LogMatching,
    machines: Machines,
    revisions: Revisions,
    linearizable: Linearizable,
    watches: Watches,
    leases: Leases,
    locks: Locks,
    violation: Option<Violation>,
}

impl Monitor {
    pub(crate) fn new(control: Control, story: Story) -> Self {
        let inner = Inner {
            model: Model::new(),
            elections: Elections::default(),
            logs: LogMatching::default(),
            machines: Machines::default(),
            revisions: Revisions::default(),
            linearizable: Linearizable::default(),
            watches: Watches::default(),
            leases: Leases::default(),
            locks: Locks::default(),
            violation: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)), broken: Arc::default(), control, story }
    }

    /// The first invariant that was broken.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.inner.lock().violation.clone()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Something is wrong that no invariant has a file for.
    pub(crate) fn fail(&self, invariant: &'static str, what: String) {
        self.judge(&mut self.inner.lock(), invariant, Err(what));
    }

    fn judge(&self, inner: &mut Inner, invariant: &'static str, verdict: Verdict) {
        let Err(what) = verdict else { return };
        if inner.violation.is_none() {
            let at = self.control.now();
            self.story.tell(format!("VIOLATION of \"{invariant}\": {what}"));
            inner.violation = Some(Violation { invariant, what, at });
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// The newest revision that anybody has applied.
    pub(crate) fn revision(&self) -> i64 {
        self.inner.lock().model.revision()
    }

    /// How many entries anybody has applied.
    pub(crate) fn entries(&self) -> u64 {
        self.inner.lock().model.last()
    }

    /// What a member's eyes in one of its lives see.
    pub(crate) fn eyes(&self, member: u64, life: u64) -> Arc<dyn Observer> {
        Arc::new(Eyes { member, life, monitor: self.clone() })
    }

    /// A member knows who leads.
    pub(crate) fn leads(&self, member: u64, known: Leadership, node: &Node) {
        let Some(leader) = known.leader else { return };
        let mut inner = self.inner.lock();
        let verdict = inner.elections.leads(known.term, leader);
        self.judge(&mut inner, "one leader a term", verdict);
        if !known.is_own {
            return;
        }
        self.story.tell(format!("member {member} leads in term {}", known.term));
        if let Some((term, index)) = must_hold(&inner.model, known.term)
            && !node.holds(term, index)
        {
            let now = known.term;
            let what = format!(
                "member {member} leads in term {now} without entry {index} of term {term}, which is committed"
            );
            self.judge(&mut inner, "leader completeness", Err(what));
        }
    }

    /// A member has this state, as a whole.
    pub(crate) fn stands(&self, member: u64, life: u64, machine: &StateMachine) {
        let state = state(machine);
        let mut inner = self.inner.lock();
        let verdict = inner.machines.stands(&inner.model, member, &state);
        self.judge(&mut inner, "state machines equal", verdict);
        let verdict = inner.revisions.shown(member, life, state.revision);
        self.judge(&mut inner, "revisions never go back", verdict);
    }

    /// A member's history has this hash.
    pub(crate) fn hashed(&self, member: u64, revision: i64, compacted: i64, hash: u32) {
        let mut inner = self.inner.lock();
        let verdict = inner.machines.hashed(member, revision, compacted, hash);
        self.judge(&mut inner, "state machines equal", verdict);
    }

    /// A client asks for something.
    pub(crate) fn ask(&self) -> Asked {
        self.inner.lock().linearizable.ask()
    }

    /// It was answered.
    pub(crate) fn answered(&self, asked: Asked, outcome: &Outcome) {
        let mut inner = self.inner.lock();
        let Inner { linearizable, model, .. } = &mut *inner;
        let verdict = linearizable.answered(model, asked, outcome);
        self.judge(&mut inner, "linearizable", verdict);
    }

    /// It was told that nothing happened.
    pub(crate) fn refused(&self, asked: Asked) {
        let mut inner = self.inner.lock();
        let verdict = inner.linearizable.refused(asked);
        self.judge(&mut inner, "linearizable", verdict);
    }

    /// It has read.
    pub(crate) fn read(
        &self,
        asked: Asked,
        range: (&[u8], &[u8]),
        linearizable: bool,
        at: i64,
        found: &[Found],
    ) {
        let mut inner = self.inner.lock();
        let Inner { linearizable: invariant, model, .. } = &mut *inner;
        let verdict = invariant.read(model, asked, range, linearizable, at, found);
        self.judge(&mut inner, "linearizable", verdict);
    }

    /// A watcher begins.
    pub(crate) fn watches(&self, watcher: u64, range: (Bytes, Bytes), next: i64) {
        self.inner.lock().watches.begins(watcher, range, next);
    }

    /// From which revision a watcher goes on.
    pub(crate) fn watched(&self, watcher: u64) -> i64 {
        self.inner.lock().watches.next(watcher)
    }

    /// A watcher was told of events.
    pub(crate) fn told(&self, watcher: u64, events: &[Told]) {
        let mut inner = self.inner.lock();
        let Inner { watches, model, .. } = &mut *inner;
        let verdict = watches.told(model, watcher, events);
        self.judge(&mut inner, "watch promises", verdict);
    }

    /// A watcher was told how far it is.
    pub(crate) fn progressed(&self, watcher: u64, revision: i64) {
        let mut inner = self.inner.lock();
        let Inner { watches, model, .. } = &mut *inner;
        let verdict = watches.progressed(model, watcher, revision);
        self.judge(&mut inner, "watch promises", verdict);
    }

    /// A watcher was told that what it wants is gone.
    pub(crate) fn compacted(&self, watcher: u64, compacted: i64) {
        let mut inner = self.inner.lock();
        let Inner { watches, model, .. } = &mut *inner;
        let verdict = watches.compacted(model, watcher, compacted);
        self.judge(&mut inner, "watch promises", verdict);
    }

    /// A watcher that has not been told everything up to a revision.
    pub(crate) fn late(&self, revision: i64) -> Option<String> {
        let inner = self.inner.lock();
        inner.watches.late(&inner.model, revision)
    }

    /// A lease was granted or renewed.
    pub(crate) fn renewed(&self, id: i64, asked: Duration, ttl: Duration) {
        let mut inner = self.inner.lock();
        let verdict = inner.leases.renewed(id, asked, ttl);
        self.judge(&mut inner, "leases never end early", verdict);
    }

    /// A member's clock jumps.
    pub(crate) fn jumped(&self, by: Duration) {
        self.inner.lock().leases.jumped(self.control.now(), by);
    }

    /// A client holds a lock.
    pub(crate) fn acquired(&self, lock: &str, client: u64, lease: i64, token: i64) {
        self.story.trace(|| format!("client {client} holds {lock} with token {token}"));
        let mut inner = self.inner.lock();
        let now = self.control.now();
        let Inner { locks, leases, .. } = &mut *inner;
        let verdict = locks.acquired(leases, now, lock, client, lease, token);
        self.judge(&mut inner, "locks are exclusive", verdict);
    }

    /// A client gives a lock back.
    pub(crate) fn releases(&self, lock: &str, client: u64) {
        self.inner.lock().locks.releases(lock, client);
    }
}

fn state(machine: &StateMachine) -> State {
    let (view, applied) = (machine.view(), machine.applied());
    State {
        index: applied.index,
        revision: view.revision(),
        compacted: view.compacted(),
        membership: applied.membership,
    }
}

struct Eyes {
    member: u64,
    life: u64,
    monitor: Monitor,
}

impl std::fmt::Debug for Eyes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Eyes").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Observer for Eyes {
    fn voted(&self, vote: Vote) {
        let (member, monitor) = (self.member, &self.monitor);
        monitor.story.trace(|| {
            let how = if vote.committed { "follows" } else { "votes for" };
            format!("member {member} {how} {} in term {}", vote.node, vote.term)
        });
        let mut inner = monitor.inner.lock();
        let verdict = inner.elections.voted(member, vote);
        monitor.judge(&mut inner, "one leader a term", verdict);
    }

    fn appended(&self, entry: &EntryRecord) {
        let (member, monitor) = (self.member, &self.monitor);
        let id = entry.id;
        monitor.story.trace(|| format!("member {member} appends {} of term {}", id.index, id.term));
        let mut inner = monitor.inner.lock();
        let verdict = inner.logs.appended(member, entry);
        monitor.judge(&mut inner, "log matching", verdict);
    }

    fn applied(&self, entries: &[LogEntry], results: &[ApplyResult], machine: &StateMachine) {
        let (member, monitor) = (self.member, &self.monitor);
        let now = monitor.control.now();
        let mut inner = monitor.inner.lock();
        let inner = &mut *inner;
        for (entry, result) in entries.iter().zip(results) {
            let index = entry.index;
            monitor
                .story
                .trace(|| format!("member {member} applies {index}: {:?}", Outcome::of(result)));
            if index == inner.model.last() + 1 {
                for ended in inner.model.apply(entry) {
                    monitor.story.trace(|| format!("a lease is gone: {ended:?}"));
                    let verdict = inner.leases.ended(now, ended);
                    monitor.judge(inner, "leases never end early", verdict);
                }
                let revision = inner.model.revision();
                let changed = match result {
                    Ok(_) => Outcome::of(result).revision().unwrap_or(revision),
                    Err(_) => revision,
                };
                // One entry may end several leases, each with a revision of its own.
                if !is_revoke(entry) {
                    let verdict = inner.revisions.changed(changed);
                    monitor.judge(inner, "revisions never go back", verdict);
                } else {
                    inner.revisions = std::mem::take(&mut inner.revisions).at(revision);
                }
                if let Some(tag) = tag(entry) {
                    let verdict = inner.linearizable.happened(tag, index);
                    monitor.judge(inner, "linearizable", verdict);
                }
            }
            let verdict = inner.machines.applied(&inner.model, member, entry, result);
            monitor.judge(inner, "state machines equal", verdict);
        }
        let state = state(machine);
        let verdict = inner.machines.stands(&inner.model, member, &state);
        monitor.judge(inner, "state machines equal", verdict);
        let verdict = inner.revisions.shown(member, self.life, state.revision);
        monitor.judge(inner, "revisions never go back", verdict);
    }

    fn installed(&self, machine: &StateMachine) {
        let member = self.member;
        let index = machine.applied().index;
        self.monitor.story.tell(format!("member {member} takes a snapshot of entry {index}"));
        self.monitor.stands(member, self.life, machine);
    }
}

fn is_revoke(entry: &LogEntry) -> bool {
    use keelson_storage::command::Op;
    matches!(&entry.payload, Payload::Command(command) if matches!(command.op, Some(Op::LeaseRevoke(_))))
}

/// The number of the request that a command was made for.
fn tag(entry: &LogEntry) -> Option<u64> {
    match &entry.payload {
        Payload::Command(command) => command.user.parse().ok(),
        Payload::Blank | Payload::Membership(_) => None,
    }
}
