//! Clients that ask one thing at a time, over and over; many of them on one connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::ask::{self, Memory};
use super::pace::Pace;
use super::tally::Tally;
use super::watching;
use super::wire::{Call, Event, Fields, Finish, Script, Template, Turn, Wanted};
use super::workload::{Ask, Object, Workload};

/// Pause after an error: a store that is down answers at once.
const REST: Duration = Duration::from_millis(10);
/// Tag of calls that no client waits for.
const WATCH: u64 = u64::MAX;

/// What the clients of a load ask.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) workload: Workload,
    pub(crate) value_size: usize,
    pub(crate) keys: u64,
    pub(crate) leases: Arc<[i64]>,
}

/// The clients on one connection.
pub(crate) struct Requests {
    shape: Shape,
    pace: Option<Pace>,
    parts: Vec<Part>,
    random: SmallRng,
    slots: Vec<Slot>,
    free: Vec<usize>,
    resting: VecDeque<(Instant, usize)>,
    busy: usize,
    begun: bool,
    /// Number of its first client among all of the load's.
    first: u64,
    pub(crate) tally: Tally,
}

/// One of the kinds of request.
struct Part {
    /// Its share, and those of the parts before it.
    weight: u32,
    ask: Ask,
    template: Option<Template>,
    value: Bytes,
}

/// One client.
#[derive(Default, Clone)]
struct Slot {
    /// When its request was sent, or should have been.
    since: Option<Instant>,
    /// Which of the parts that was.
    part: usize,
    memory: Memory,
    /// The stream that it keeps.
    stream: Option<Call>,
    /// Whether the answer at hand is as it should be.
    checked: bool,
}

impl Requests {
    /// `clients` of them, of which `first` others went before on other connections.
    pub(crate) fn new(shape: Shape, clients: usize, first: u64, pace: Option<Pace>) -> Self {
        // From the system: what one run has created, the next must not create again.
        let mut random = SmallRng::from_os_rng();
        let mut weight = 0;
        let parts = shape.workload.mix().iter().map(|(share, ask)| {
            weight += share;
            let object = if let Ask::Update(object) = ask { *object } else { Object::Plain };
            let mut value = vec![0; object.size(shape.value_size)];
            random.fill(value.as_mut_slice());
            let value = Bytes::from(value);
            Part { weight, ask: *ask, template: ask::template(*ask, &value), value }
        });
        Self {
            parts: parts.collect(),
            shape,
            pace,
            random,
            slots: vec![Slot::default(); clients],
            free: (0..clients).rev().collect(),
            resting: VecDeque::new(),
            busy: 0,
            begun: false,
            first,
            tally: Tally::default(),
        }
    }

    fn ask(&mut self, index: usize, since: Instant, turn: &mut Turn<'_>) {
        let parts = self.parts.len();
        let drawn = match self.parts.last() {
            Some(last) if parts > 1 => self.random.random_range(0..last.weight),
            _ => 0,
        };
        let part = self.parts.iter().position(|part| drawn < part.weight).unwrap_or(0);
        let ask = self.parts[part].ask;
        let number = match ask {
            Ask::Put => self.random.random_range(0..self.shape.keys),
            Ask::Create => self.random.random(),
            Ask::Update(_) => self.first + index as u64,
            Ask::Get(_) | Ask::SerializableGet => {
                let there = self.shape.workload.needs(self.shape.keys);
                self.random.random_range(0..there.map_or(1, |(_, count)| count))
            }
            Ask::KeepAlive | Ask::KeepAliveOnce => {
                self.random.random_range(0..self.shape.leases.len()) as u64
            }
            Ask::Range(_) | Ask::Stream(_) | Ask::List(_) => 0,
        };
        let path = ask::path(ask);
        let (slot, Part { template, value, .. }) = (&mut self.slots[index], &mut self.parts[part]);
        slot.since = Some(since);
        slot.part = part;
        slot.checked = false;
        slot.memory.asked();
        self.busy += 1;
        if let Some(template) = template {
            turn.connection.call(path, index as u64, template.of(number), Finish::Now);
            return;
        }
        match ask {
            Ask::Update(object) => {
                let known = slot.memory.mod_revision(object);
                let update = ask::update(object, number, known, value);
                turn.connection.call(path, index as u64, &update, Finish::Now);
            }
            _ => {
                let id = self.shape.leases[number as usize];
                let request = pb::LeaseKeepAliveRequest { id }.encode_to_vec();
                let sent = slot.stream.is_some_and(|call| turn.connection.send(call, &request));
                if !sent {
                    let keep = ask == Ask::KeepAlive;
                    let finish = if keep { Finish::Later } else { Finish::Now };
                    let call = turn.connection.call(path, index as u64, &request, finish);
                    slot.stream = keep.then_some(call);
                }
            }
        }
    }

    fn good(&mut self, index: usize, turn: &mut Turn<'_>) {
        let since = self.slots[index].since.take().unwrap_or(turn.now);
        self.busy -= 1;
        self.tally.good(turn.now.saturating_duration_since(since));
        self.free.push(index);
        turn.signal.done.fetch_add(1, Ordering::Relaxed);
    }

    fn bad(&mut self, index: usize, code: u32, reason: &str, turn: &mut Turn<'_>) {
        if self.slots[index].since.take().is_some() {
            self.busy -= 1;
            self.tally.bad(code, || reason.to_owned());
            self.resting.push_back((turn.now + REST, index));
        }
    }

    fn take_one(&mut self, index: usize, event: Event<'_>, turn: &mut Turn<'_>) {
        let slot = &mut self.slots[index];
        let ask = self.parts[slot.part].ask;
        match event {
            Event::Message(message) => {
                slot.checked = slot.memory.check(ask, &message);
                if slot.stream.is_some() {
                    match slot.checked {
                        true => self.good(index, turn),
                        false => self.bad(index, 0, WRONG, turn),
                    }
                }
            }
            Event::End(result) => {
                slot.stream = None;
                match result {
                    Ok(()) if slot.checked => self.good(index, turn),
                    Ok(()) => self.bad(index, 0, WRONG, turn),
                    Err(refusal) => self.bad(index, refusal.code, &refusal.to_string(), turn),
                }
            }
        }
    }
}

const WRONG: &str = "an answer is not what was asked for";

impl Script for Requests {
    fn due(&mut self, turn: &mut Turn<'_>) -> Wanted {
        if !self.begun {
            self.begun = true;
            if self.shape.workload == Workload::Kubernetes && self.first == 0 {
                for object in [Object::Lease, Object::Pod] {
                    watching::prefix(object.prefix(), WATCH, turn);
                }
            }
            turn.signal.prepared.fetch_add(1, Ordering::Release);
        }
        let Some(start) = turn.signal.started.get().copied() else {
            return if turn.stopped() { Wanted::Nothing } else { Wanted::Event };
        };
        if turn.stopped() {
            if let Some(pace) = self.pace.take() {
                self.tally.unsent = pace.unsent(start, turn.now);
            }
            return if self.busy == 0 { Wanted::Nothing } else { Wanted::Event };
        }
        while self.resting.front().is_some_and(|(until, _)| *until <= turn.now) {
            self.free.extend(self.resting.pop_front().map(|(_, slot)| slot));
        }
        let mut wanted = self.resting.front().map(|(until, _)| *until);
        while let Some(slot) = self.free.last().copied() {
            let since = match &mut self.pace {
                None => turn.now,
                Some(pace) => match pace.take(start, turn.now) {
                    Ok(due) => due,
                    Err(later) => {
                        wanted = Some(wanted.map_or(later, |wanted| wanted.min(later)));
                        break;
                    }
                },
            };
            self.free.pop();
            self.ask(slot, since, turn);
        }
        wanted.map_or(Wanted::Event, Wanted::At)
    }

    fn take(&mut self, tag: u64, _: Call, event: Event<'_>, turn: &mut Turn<'_>) {
        if tag != WATCH {
            return self.take_one(tag as usize, event, turn);
        }
        match event {
            Event::Message(message) => {
                let events = Fields(&message).filter(|(field, _)| *field == 11).count();
                self.tally.events += events as u64;
            }
            Event::End(result) => {
                let reason = result.err().map_or("it ended".to_owned(), |error| error.to_string());
                self.tally.bad(0, || format!("a watch was lost: {reason}"));
            }
        }
    }

    fn lost(&mut self, reason: &str) -> bool {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.stream = None;
            if slot.since.take().is_some() {
                self.tally.bad(0, || reason.to_owned());
                self.free.push(index);
            }
        }
        self.busy = 0;
        // Its watches are to be opened again.
        self.begun = false;
        true
    }
}
