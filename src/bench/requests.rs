//! Clients that ask one thing at a time, over and over; many of them on one connection.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::tally::Tally;
use super::wire::{
    Call, Event, Fields, Finish, Script, Template, Turn, Value, Wanted, digits, revision,
};
use super::workload::Workload;

/// Keys that are put, got and listed.
pub(crate) const PREFIX: &str = "/keelson/bench/";
/// Keys that are made once.
const PREFIX_CREATE: &str = "/keelson/bench-create/";
/// Pause after an error: a store that is down answers at once.
const REST: Duration = Duration::from_millis(10);
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";

/// What the clients of a load ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) workload: Workload,
    pub(crate) value_size: usize,
    pub(crate) keys: u64,
}

/// An open loop's share of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// When the first request is due, after the start.
    pub(crate) first: Duration,
    /// From one to the next.
    pub(crate) interval: Duration,
}

/// The clients on one connection.
pub(crate) struct Requests {
    shape: Shape,
    pace: Option<Pace>,
    template: Option<Template>,
    value: Bytes,
    random: SmallRng,
    slots: Vec<Slot>,
    free: Vec<usize>,
    resting: VecDeque<(Instant, usize)>,
    busy: usize,
    begun: bool,
    /// Requests of an open loop so far.
    paced: u32,
    pub(crate) tally: Tally,
}

/// One client.
#[derive(Default, Clone)]
struct Slot {
    /// When its request was sent, or should have been.
    since: Option<Instant>,
    /// Latest revision that it has seen.
    revision: i64,
    /// Its own key, for updates, and what it believes of it.
    key: u64,
    mod_revision: i64,
    /// Whether the answer at hand is as it should be.
    checked: bool,
}

impl Requests {
    /// `clients` of them; `number` tells connections apart.
    pub(crate) fn new(shape: Shape, clients: usize, number: u64, pace: Option<Pace>) -> Self {
        // From the system: what one run has created, the next must not create again.
        let mut random = SmallRng::from_os_rng();
        let mut value = vec![0; shape.value_size];
        random.fill(value.as_mut_slice());
        let value = Bytes::from(value);
        let slot = |client| Slot { key: number * 1_000_000 + client as u64, ..Slot::default() };
        Self {
            shape,
            pace,
            template: template(shape.workload, &value),
            value,
            random,
            slots: (0..clients).map(slot).collect(),
            free: (0..clients).rev().collect(),
            resting: VecDeque::new(),
            busy: 0,
            begun: false,
            paced: 0,
            tally: Tally::default(),
        }
    }

    fn ask(&mut self, slot: usize, since: Instant, turn: &mut Turn<'_>) {
        let workload = self.shape.workload;
        let number = match workload {
            Workload::Put => self.random.random_range(0..self.shape.keys),
            Workload::Create => self.random.random(),
            Workload::Update => self.slots[slot].key,
            Workload::Get | Workload::SerializableGet => {
                self.random.random_range(0..workload.needs(self.shape.keys))
            }
        };
        let path = match workload {
            Workload::Put => PUT,
            Workload::Create | Workload::Update => TXN,
            Workload::Get | Workload::SerializableGet => RANGE,
        };
        let state = &mut self.slots[slot];
        state.since = Some(since);
        state.checked = false;
        self.busy += 1;
        match &mut self.template {
            Some(template) => {
                turn.connection.call(path, slot as u64, template.of(number), Finish::Now);
            }
            None => {
                let update = update(number, state.mod_revision, &self.value);
                turn.connection.call(path, slot as u64, &update.encode_to_vec(), Finish::Now);
            }
        }
    }

    /// Whether an answer's message is what was asked for.
    fn check(&mut self, slot: usize, message: &[u8]) -> bool {
        let slot = &mut self.slots[slot];
        let revision = revision(message);
        let newer = revision > slot.revision;
        let not_older = revision >= slot.revision && revision > 0;
        slot.revision = slot.revision.max(revision);
        match self.shape.workload {
            Workload::Put => newer,
            Workload::Create => newer && succeeded(message),
            Workload::Update => {
                if succeeded(message) {
                    slot.mod_revision = revision;
                    return newer;
                }
                let seen = found(message);
                slot.mod_revision = seen.unwrap_or(0);
                not_older
            }
            Workload::Get => not_older && keys(message) == 1,
            // A member behind may answer with what was.
            Workload::SerializableGet => revision > 0 && keys(message) == 1,
        }
    }
}

impl Script for Requests {
    fn due(&mut self, turn: &mut Turn<'_>) -> Wanted {
        if !self.begun {
            self.begun = true;
            turn.signal.prepared.fetch_add(1, Ordering::Release);
        }
        let Some(start) = turn.signal.started.get().copied() else {
            return if turn.stopped() { Wanted::Nothing } else { Wanted::Event };
        };
        if turn.stopped() {
            if let Some(pace) = self.pace {
                let begun = turn.now.saturating_duration_since(start + pace.first);
                let due = (begun.as_nanos() / pace.interval.as_nanos().max(1)) as u64;
                self.tally.unsent = due.saturating_sub(u64::from(self.paced));
            }
            return if self.busy == 0 { Wanted::Nothing } else { Wanted::Event };
        }
        while self.resting.front().is_some_and(|(until, _)| *until <= turn.now) {
            self.free.extend(self.resting.pop_front().map(|(_, slot)| slot));
        }
        let mut wanted = self.resting.front().map(|(until, _)| *until);
        while let Some(slot) = self.free.last().copied() {
            let since = match self.pace {
                None => turn.now,
                Some(pace) => {
                    let due = start + pace.first + pace.interval * self.paced;
                    if due > turn.now {
                        wanted = Some(wanted.map_or(due, |wanted| wanted.min(due)));
                        break;
                    }
                    self.paced += 1;
                    due
                }
            };
            self.free.pop();
            self.ask(slot, since, turn);
        }
        wanted.map_or(Wanted::Event, Wanted::At)
    }

    fn take(&mut self, tag: u64, _: Call, event: Event<'_>, turn: &mut Turn<'_>) {
        let index = tag as usize;
        match event {
            Event::Message(message) => self.slots[index].checked = self.check(index, &message),
            Event::End(result) => {
                self.busy -= 1;
                let slot = &mut self.slots[index];
                let since = slot.since.take().unwrap_or(turn.now);
                match result {
                    Ok(()) if slot.checked => {
                        self.tally.good(turn.now.saturating_duration_since(since));
                        self.free.push(index);
                        turn.signal.done.fetch_add(1, Ordering::Relaxed);
                    }
                    bad => {
                        self.tally.bad(|| match bad {
                            Err(refusal) => refusal.to_string(),
                            Ok(()) => "an answer is not what was asked for".to_owned(),
                        });
                        self.resting.push_back((turn.now + REST, index));
                    }
                }
            }
        }
    }

    fn lost(&mut self, reason: &str) -> bool {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.since.take().is_some() {
                self.tally.bad(|| reason.to_owned());
                self.free.push(index);
            }
        }
        self.busy = 0;
        true
    }
}

/// The request of a workload whose requests differ by their key alone.
fn template(workload: Workload, value: &Bytes) -> Option<Template> {
    let value = value.clone();
    let get = |serializable| {
        Template::new(PREFIX, |key| pb::RangeRequest { key, serializable, ..Default::default() })
    };
    match workload {
        Workload::Put => {
            Some(Template::new(PREFIX, |key| pb::PutRequest { key, value, ..Default::default() }))
        }
        Workload::Create => Some(Template::new(PREFIX_CREATE, |key| put_if(key, 0, value))),
        Workload::Update => None,
        Workload::Get => Some(get(false)),
        Workload::SerializableGet => Some(get(true)),
    }
}

/// As the API server writes: if the key is as it was last seen, else say how it is.
fn update(number: u64, mod_revision: i64, value: &Bytes) -> pb::TxnRequest {
    let mut key = PREFIX.as_bytes().to_vec();
    key.extend_from_slice(&digits(number));
    let key = Bytes::from(key);
    let range = pb::RangeRequest { key: key.clone(), ..Default::default() };
    pb::TxnRequest {
        failure: vec![pb::RequestOp {
            request: Some(pb::request_op::Request::RequestRange(range)),
        }],
        ..put_if(key, mod_revision, value.clone())
    }
}

fn put_if(key: Bytes, mod_revision: i64, value: Bytes) -> pb::TxnRequest {
    let compare = pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: pb::compare::CompareTarget::Mod as i32,
        key: key.clone(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(mod_revision)),
        ..Default::default()
    };
    let put = pb::PutRequest { key, value, ..Default::default() };
    pb::TxnRequest {
        compare: vec![compare],
        success: vec![pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }],
        failure: Vec::new(),
    }
}

fn succeeded(message: &[u8]) -> bool {
    Fields(message).any(|field| field == (2, Value::Number(1)))
}

fn keys(message: &[u8]) -> usize {
    Fields(message).filter(|(field, _)| *field == 2).count()
}

/// The modification revision of the key that a refused update has read.
fn found(message: &[u8]) -> Option<i64> {
    let answer = pb::TxnResponse::decode(message).ok()?;
    match answer.responses.into_iter().next()?.response? {
        pb::response_op::Response::ResponseRange(range) => Some(range.kvs.first()?.mod_revision),
        _ => None,
    }
}
