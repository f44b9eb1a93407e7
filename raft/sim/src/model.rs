//! The model: what a store is, in a few lines; the log's commands are its only input.
//!
//! Members must agree with it entry by entry, and clients and watchers with its history.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::{ApplyError, Command, Op};
use keelson_storage::entry::{LogEntry, Payload};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;

use crate::outcome::{Found, Outcome, Part};

/// A key as it is at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) value: Bytes,
    pub(crate) created: i64,
    pub(crate) changed: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

/// One change; `now` is `None` where the key was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) revision: i64,
    pub(crate) key: Bytes,
    pub(crate) now: Option<Key>,
}

/// The store after an entry.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) term: u64,
    pub(crate) outcome: Outcome,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// The last membership: place in [`Model::memberships`], counted from 1.
    pub(crate) membership: usize,
}

/// What an entry did to leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    Expired(i64),
    Revoked(i64),
}

/// The store, and all of its past.
pub(crate) struct Model {
    steps: Vec<Step>,
    revision: i64,
    compacted: i64,
    keys: BTreeMap<Bytes, Key>,
    leases: BTreeMap<i64, i64>,
    events: Vec<Event>,
    /// For each key: the places of its events.
    by_key: BTreeMap<Bytes, Vec<usize>>,
    pub(crate) memberships: Vec<Bytes>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            steps: Vec::new(),
            revision: 1,
            compacted: -1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            events: Vec::new(),
            by_key: BTreeMap::new(),
            memberships: Vec::new(),
        }
    }

    /// The last entry.
    pub(crate) fn last(&self) -> u64 {
        self.steps.len() as u64
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// The store after an entry that was applied.
    pub(crate) fn step(&self, index: u64) -> Option<&Step> {
        self.steps.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    pub(crate) fn has_lease(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// All events from a revision on.
    pub(crate) fn events_from(&self, revision: i64) -> &[Event] {
        &self.events[self.events.partition_point(|event| event.revision < revision)..]
    }

    /// A range of keys as they were at a revision.
    pub(crate) fn range(&self, start: &[u8], end: &[u8], at: i64) -> Vec<Found> {
        let keys = self.by_key.range::<[u8], _>(span(start, end));
        let key = |(key, places): (&Bytes, &Vec<usize>)| {
            let after = places.partition_point(|place| self.events[*place].revision <= at);
            let event = &self.events[places[after.checked_sub(1)?]];
            event.now.as_ref().map(|now| found(key, now))
        };
        keys.filter_map(key).collect()
    }

    /// Applies the next entry; the leases that it ended.
    pub(crate) fn apply(&mut self, entry: &LogEntry) -> Vec<LeaseEnd> {
        let mut ended = Vec::new();
        let outcome = match &entry.payload {
            Payload::Blank => Outcome::Done(self.revision),
            Payload::Membership(bytes) => {
                self.memberships.push(bytes.clone());
                Outcome::Done(self.revision)
            }
            Payload::Command(command) => self.command(command, entry.term, &mut ended),
        };
        self.steps.push(Step {
            term: entry.term,
            outcome,
            revision: self.revision,
            compacted: self.compacted,
            membership: self.memberships.len(),
        });
        ended
    }

    fn command(&mut self, command: &Command, term: u64, ended: &mut Vec<LeaseEnd>) -> Outcome {
        let next = self.revision + 1;
        match command.op.as_ref() {
            Some(Op::Put(put)) => match self.put(put, next) {
                Ok(()) => {
                    self.revision = next;
                    Outcome::Put(next)
                }
                Err(error) => Outcome::Refused(error),
            },
            Some(Op::DeleteRange(delete)) => {
                let deleted = self.delete(&delete.key, &delete.range_end, next);
                self.revision += i64::from(deleted > 0);
                Outcome::Delete(self.revision, deleted)
            }
            Some(Op::Txn(txn)) => self.txn(txn, next),
            Some(Op::Compaction(compaction)) => self.compact(compaction.revision),
            Some(Op::LeaseGrant(grant)) if self.has_lease(grant.id) => {
                Outcome::Refused(ApplyError::LeaseExists)
            }
            Some(Op::LeaseGrant(grant)) => {
                self.leases.insert(grant.id, grant.ttl);
                Outcome::Grant(self.revision, grant.id)
            }
            Some(Op::LeaseRevoke(revoke)) => {
                if revoke.expired && revoke.leader_term != 0 && revoke.leader_term != term {
                    return Outcome::Done(self.revision);
                }
                for id in &revoke.ids {
                    if self.leases.remove(id).is_none() {
                        if revoke.expired {
                            continue;
                        }
                        return Outcome::Refused(ApplyError::LeaseNotFound);
                    }
                    ended.push(match revoke.expired {
                        true => LeaseEnd::Expired(*id),
                        false => LeaseEnd::Revoked(*id),
                    });
                    let attached = self.keys.iter().filter(|(_, key)| key.lease == *id);
                    let attached: Vec<Bytes> = attached.map(|(key, _)| key.clone()).collect();
                    let next = self.revision + 1;
                    for key in &attached {
                        self.delete(key, b"", next);
                    }
                    self.revision += i64::from(!attached.is_empty());
                }
                Outcome::Revoke(self.revision)
            }
            Some(_) => Outcome::Done(self.revision),
            None => Outcome::Refused(ApplyError::UnknownCommand),
        }
    }

    fn put(&mut self, put: &pb::PutRequest, revision: i64) -> Result<(), ApplyError> {
        if put.lease != 0 && !self.has_lease(put.lease) {
            return Err(ApplyError::LeaseNotFound);
        }
        let (created, version) = match self.keys.get(&put.key) {
            Some(old) => (old.created, old.version + 1),
            None => (revision, 1),
        };
        let (value, lease) = (put.value.clone(), put.lease);
        let now = Key { value, created, changed: revision, version, lease };
        self.keys.insert(put.key.clone(), now.clone());
        self.note(Event { revision, key: put.key.clone(), now: Some(now) });
        Ok(())
    }

    fn delete(&mut self, start: &[u8], end: &[u8], revision: i64) -> i64 {
        let gone: Vec<Bytes> =
            self.keys.range::<[u8], _>(span(start, end)).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            self.keys.remove(key);
            self.note(Event { revision, key: key.clone(), now: None });
        }
        gone.len() as i64
    }

    fn note(&mut self, event: Event) {
        self.by_key.entry(event.key.clone()).or_default().push(self.events.len());
        self.events.push(event);
    }

    fn txn(&mut self, txn: &pb::TxnRequest, next: i64) -> Outcome {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded { &txn.success } else { &txn.failure };
        for op in branch {
            if let Some(Request::RequestPut(put)) = &op.request
                && put.lease != 0
                && !self.has_lease(put.lease)
            {
                return Outcome::Refused(ApplyError::LeaseNotFound);
            }
        }
        let before = self.events.len();
        let mut parts = Vec::new();
        for op in branch {
            parts.push(match &op.request {
                Some(Request::RequestPut(put)) => {
                    // Its lease has been looked at.
                    let _checked = self.put(put, next);
                    Part::Put
                }
                Some(Request::RequestDeleteRange(delete)) => {
                    Part::Delete(self.delete(&delete.key, &delete.range_end, next))
                }
                Some(Request::RequestRange(range)) => {
                    Part::Range(self.range(&range.key, &range.range_end, i64::MAX))
                }
                Some(Request::RequestTxn(_)) | None => continue,
            });
        }
        self.revision += i64::from(self.events.len() > before);
        Outcome::Txn(self.revision, succeeded, parts)
    }

    fn holds(&self, compare: &pb::Compare) -> bool {
        let key = self.keys.get(&compare.key);
        let number = |of: fn(&Key) -> i64| key.map_or(0, of);
        let order = match (compare.target(), &compare.target_union) {
            (CompareTarget::Create, Some(TargetUnion::CreateRevision(wanted))) => {
                number(|key| key.created).cmp(wanted)
            }
            (CompareTarget::Mod, Some(TargetUnion::ModRevision(wanted))) => {
                number(|key| key.changed).cmp(wanted)
            }
            (CompareTarget::Version, Some(TargetUnion::Version(wanted))) => {
                number(|key| key.version).cmp(wanted)
            }
            (CompareTarget::Value, Some(TargetUnion::Value(wanted))) => match key {
                Some(key) => key.value.cmp(wanted),
                None => return false,
            },
            _ => return false,
        };
        match compare.result() {
            CompareResult::Equal => order.is_eq(),
            CompareResult::NotEqual => order.is_ne(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
        }
    }

    fn compact(&mut self, wanted: i64) -> Outcome {
        if wanted <= self.compacted {
            return Outcome::Refused(ApplyError::Compacted { wanted, oldest: self.compacted });
        }
        if wanted > self.revision {
            let current = self.revision;
            return Outcome::Refused(ApplyError::FutureRevision { wanted, current });
        }
        self.compacted = wanted;
        Outcome::Compact(self.revision)
    }
}

fn found(key: &Bytes, now: &Key) -> Found {
    Found {
        key: key.clone(),
        value: now.value.clone(),
        created: now.created,
        changed: now.changed,
        version: now.version,
        lease: now.lease,
    }
}

/// A range by etcd's convention; only keys that sort before `\xff`.
fn span<'a>(
    start: &'a [u8],
    end: &'a [u8],
) -> (std::ops::Bound<&'a [u8]>, std::ops::Bound<&'a [u8]>) {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    match end {
        b"" => (Included(start), Included(start)),
        b"\0" => (Included(start), Unbounded),
        end => (Included(start), Excluded(end)),
    }
}
