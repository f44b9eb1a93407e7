//! Watch fan-out: every put is an event for each of many watchers.
//!
//! A put's value begins with the time at which it was due, so that each event tells how old it is.
//! In a closed loop a put is over when all watchers have its event; with a rate, puts come whatever
//! has been delivered. Slow streams, if any, are read at a trickle, and neither waited for nor part
//! of the others' latencies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;

use super::ask;
use super::pace::Pace;
use super::tally::Tally;
use super::watching::{self, PATH};
use super::wire::{
    Call, Either, Event, Finish, Script, Template, Turn, WINDOW_CALL, Wanted, digits, revision,
};

const PUT: &str = "/etcdserverpb.KV/Put";
/// Different keys that are put.
const KEYS: u64 = 100;
/// Bytes that a slow stream takes before it pauses.
const SLOW_WINDOW: u32 = 65_535;
/// How long it pauses.
const SLOW_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of the time that begins a value.
const STAMP: usize = 8;

/// What the load's connections share.
#[derive(Debug)]
pub(crate) struct Fan {
    /// What keys of this run begin with, and of no other.
    prefix: String,
    epoch: Instant,
    /// Watchers that are read at full speed.
    watchers: u64,
    /// Puts acknowledged.
    acknowledged: AtomicU64,
    /// Events that those watchers have been told.
    delivered: AtomicU64,
    /// Whether no put is on its way or to come.
    finished: AtomicBool,
}

impl Fan {
    /// For a load with so many watchers that are waited for.
    pub(crate) fn new(watchers: u64) -> Arc<Self> {
        let run: u64 = rand::random();
        Arc::new(Self {
            prefix: format!("/keelson/bench-watch/{}/", String::from_utf8_lossy(&digits(run))),
            epoch: Instant::now(),
            watchers,
            acknowledged: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            finished: AtomicBool::new(false),
        })
    }

    /// Puts that all watchers have been told.
    fn seen(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed) / self.watchers.max(1)
    }
}

/// One connection's part in it: watchers, or, on the load's last connection, writers.
pub(crate) type Part = Either<Watchers, Writer>;

/// How fast streams are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speed {
    /// As fast as can be.
    Full,
    /// A window, a pause, and so on.
    Slow,
}

/// The watch streams of one connection.
pub(crate) struct Watchers {
    fan: Arc<Fan>,
    speed: Speed,
    streams: Vec<Stream>,
    created: usize,
    watchers: usize,
    /// When slow streams are let go on.
    relief: Option<Instant>,
    /// Latencies of events.
    pub(crate) tally: Tally,
}

struct Stream {
    call: Option<Call>,
    watchers: usize,
    /// By the server's watch ids.
    told: Vec<Told>,
}

#[derive(Default, Clone, Copy)]
struct Told {
    revision: i64,
    events: u64,
}

impl Watchers {
    /// Streams with so many watchers each.
    pub(crate) fn new(fan: &Arc<Fan>, speed: Speed, streams: &[usize]) -> Self {
        Self {
            fan: Arc::clone(fan),
            speed,
            streams: streams
                .iter()
                .map(|watchers| Stream { call: None, watchers: *watchers, told: Vec::new() })
                .collect(),
            created: 0,
            watchers: streams.iter().sum(),
            relief: None,
            tally: Tally::default(),
        }
    }

    /// Whether its streams are read at full speed.
    pub(crate) fn full_speed(&self) -> bool {
        self.speed == Speed::Full
    }

    fn open(&mut self, turn: &mut Turn<'_>) {
        let prefix = &self.fan.prefix;
        let request = watching::create(Bytes::from(prefix.clone()), ask::end(prefix));
        for (tag, stream) in self.streams.iter_mut().enumerate() {
            let call = turn.connection.call(PATH, tag as u64, &request, Finish::Later);
            if self.speed == Speed::Slow {
                turn.connection.slow(call);
            }
            for _ in 1..stream.watchers {
                turn.connection.send(call, &request);
            }
            stream.call = Some(call);
        }
    }

    /// Whether all its watchers know of all that was acknowledged.
    fn complete(&self) -> bool {
        let wanted = self.fan.acknowledged.load(Ordering::Acquire);
        let told = |stream: &Stream| {
            stream.told.iter().filter(|told| told.events >= wanted).count() >= stream.watchers
        };
        wanted == 0 || self.streams.iter().all(told)
    }

    fn message(&mut self, tag: u64, message: &[u8], turn: &mut Turn<'_>) {
        let stream = &mut self.streams[tag as usize];
        let (tally, epoch, now) = (&mut self.tally, self.fan.epoch, turn.now);
        let mut events = 0;
        let said = watching::read(message, |watcher, happened| {
            let watcher = watcher as usize;
            // A server may count its watchers from any number; ours are few all the same.
            if watcher >= stream.told.len() && watcher < 4 * stream.watchers + 16 {
                stream.told.resize(watcher + 1, Told::default());
            }
            let Some(told) = stream.told.get_mut(watcher) else { return };
            if happened.revision <= told.revision {
                let before = told.revision;
                tally.bad(0, || format!("an event of {} after {before}", happened.revision));
            }
            told.revision = happened.revision;
            told.events += 1;
            events += 1;
            if let Some(stamp) = happened.value.first_chunk::<STAMP>() {
                let due = epoch + Duration::from_nanos(u64::from_le_bytes(*stamp));
                tally.good(now.saturating_duration_since(due));
            }
        });
        tally.events += events;
        if said.canceled {
            tally.bad(0, || "the server canceled a watcher".to_owned());
        } else if said.created {
            self.created += 1;
            if self.created == self.watchers {
                turn.signal.prepared.fetch_add(1, Ordering::Release);
            }
        }
        if events > 0 && self.speed == Speed::Full {
            turn.signal.done.fetch_add(events, Ordering::Relaxed);
            let before = self.fan.delivered.fetch_add(events, Ordering::Relaxed);
            if before / self.fan.watchers != (before + events) / self.fan.watchers {
                turn.signal.wake(turn.signal.connections() - 1);
            }
        }
    }
}

impl Script for Watchers {
    fn due(&mut self, turn: &mut Turn<'_>) -> Wanted {
        if self.streams.first().is_some_and(|stream| stream.call.is_none()) {
            self.open(turn);
        }
        if turn.stopped() {
            let over = turn.signal.started.get().is_none()
                || self.fan.finished.load(Ordering::Acquire)
                    && (self.speed == Speed::Slow || self.complete());
            return if over { Wanted::Nothing } else { Wanted::Event };
        }
        if self.speed == Speed::Full {
            return Wanted::Event;
        }
        let relief = *self.relief.get_or_insert(turn.now + SLOW_PAUSE);
        if relief <= turn.now {
            for call in self.streams.iter().filter_map(|stream| stream.call) {
                turn.connection.relieve(call);
            }
            self.relief = Some(turn.now + SLOW_PAUSE);
        }
        self.relief.map_or(Wanted::Event, Wanted::At)
    }

    fn window(&self) -> u32 {
        match self.speed {
            Speed::Full => WINDOW_CALL,
            Speed::Slow => SLOW_WINDOW,
        }
    }

    fn take(&mut self, tag: u64, _: Call, event: Event<'_>, turn: &mut Turn<'_>) {
        match event {
            Event::Message(message) => self.message(tag, &message, turn),
            Event::End(result) => {
                let reason = result.err().map_or("it ended".to_owned(), |error| error.to_string());
                self.tally.bad(0, || format!("a watch was lost: {reason}"));
            }
        }
    }

    fn lost(&mut self, reason: &str) -> bool {
        let wanted = self.fan.acknowledged.load(Ordering::Acquire);
        for stream in &self.streams {
            let missing = stream.told.iter().filter(|told| told.events < wanted).count();
            for _ in 0..missing.max(usize::from(stream.told.is_empty())) {
                self.tally.bad(0, || format!("a watcher was not told all: {reason}"));
            }
        }
        false
    }
}

/// The connection that puts.
pub(crate) struct Writer {
    fan: Arc<Fan>,
    /// Puts on their way at once, until all have seen them.
    depth: u64,
    pace: Option<Pace>,
    template: Template,
    /// Bytes of a value, which ends a request and begins with the stamp.
    value_size: usize,
    /// Puts asked for and not refused.
    asked: u64,
    pending: Vec<Option<Instant>>,
    begun: bool,
    /// Latencies of puts.
    pub(crate) tally: Tally,
}

impl Writer {
    /// `depth` puts at once, or as many as a pace wants.
    pub(crate) fn new(fan: &Arc<Fan>, depth: u64, value_size: usize, pace: Option<Pace>) -> Self {
        let value_size = value_size.max(STAMP);
        let value = Bytes::from(vec![b'x'; value_size]);
        let put = |key| pb::PutRequest { key, value, ..Default::default() };
        Self {
            fan: Arc::clone(fan),
            depth: depth.max(1),
            pace,
            template: Template::new(&fan.prefix, put),
            value_size,
            asked: 0,
            pending: Vec::new(),
            begun: false,
            tally: Tally::default(),
        }
    }

    fn put(&mut self, due: Instant, turn: &mut Turn<'_>) {
        let stamp = due.saturating_duration_since(self.fan.epoch).as_nanos() as u64;
        let mut request = self.template.of(self.asked % KEYS).to_vec();
        let at = request.len() - self.value_size;
        request[at..at + STAMP].copy_from_slice(&stamp.to_le_bytes());
        let slot = self.pending.iter().position(Option::is_none).unwrap_or(self.pending.len());
        if slot == self.pending.len() {
            self.pending.push(None);
        }
        self.pending[slot] = Some(due);
        self.asked += 1;
        turn.connection.call(PUT, slot as u64, &request, Finish::Now);
    }
}

impl Script for Writer {
    fn due(&mut self, turn: &mut Turn<'_>) -> Wanted {
        if !self.begun {
            self.begun = true;
            turn.signal.prepared.fetch_add(1, Ordering::Release);
        }
        let Some(start) = turn.signal.started.get().copied() else {
            return if turn.stopped() { Wanted::Nothing } else { Wanted::Event };
        };
        if turn.stopped() {
            if let Some(pace) = self.pace.take() {
                self.tally.unsent = pace.unsent(start, turn.now);
            }
            if self.pending.iter().any(Option::is_some) {
                return Wanted::Event;
            }
            self.fan.finished.store(true, Ordering::Release);
            turn.signal.wake_all();
            return Wanted::Nothing;
        }
        loop {
            let due = match &mut self.pace {
                None if self.asked - self.fan.seen() >= self.depth => return Wanted::Event,
                None => turn.now,
                Some(pace) => match pace.take(start, turn.now) {
                    Ok(due) => due,
                    Err(later) => return Wanted::At(later),
                },
            };
            self.put(due, turn);
        }
    }

    fn take(&mut self, tag: u64, _: Call, event: Event<'_>, turn: &mut Turn<'_>) {
        match event {
            Event::Message(message) => {
                if revision(&message) <= 0 {
                    self.tally.bad(0, || "a put was answered without a revision".to_owned());
                }
            }
            Event::End(result) => {
                let due = self.pending[tag as usize].take().unwrap_or(turn.now);
                match result {
                    Ok(()) => {
                        self.fan.acknowledged.fetch_add(1, Ordering::Release);
                        self.tally.good(turn.now.saturating_duration_since(due));
                    }
                    Err(refusal) => {
                        self.asked -= 1;
                        self.tally.bad(refusal.code, || refusal.to_string());
                    }
                }
            }
        }
    }

    fn lost(&mut self, reason: &str) -> bool {
        self.tally.bad(0, || reason.to_owned());
        self.fan.finished.store(true, Ordering::Release);
        false
    }
}
