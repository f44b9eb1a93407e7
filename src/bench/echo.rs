//! How long from a put to its event: every client puts a key of its own and watches it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;

use super::pace::Pace;
use super::tally::Tally;
use super::watching::{self, PATH};
use super::wire::{Call, Event, Finish, Script, Template, Turn, Wanted, digits, revision};

const PREFIX: &str = "/keelson/bench-echo/";
const PUT: &str = "/etcdserverpb.KV/Put";
/// Tag of the stream that all watchers of a connection share.
const WATCH: u64 = u64::MAX;

/// The clients on one connection.
pub(crate) struct Echo {
    clients: Vec<Client>,
    /// Number of its first client among all of the load's.
    first: u64,
    template: Template,
    pace: Option<Pace>,
    /// Clients in the order of the server's watch ids, which it gives in the order of requests.
    created: usize,
    stream: Option<Call>,
    busy: usize,
    pub(crate) tally: Tally,
}

#[derive(Default, Clone)]
struct Client {
    since: Option<Instant>,
    /// The revision that the put's answer named.
    put: Option<i64>,
    /// The revision of the event, and when it came.
    event: Option<(i64, Instant)>,
    answered: bool,
}

impl Echo {
    /// `clients` of them, of which `first` others went before on other connections.
    pub(crate) fn new(clients: usize, first: u64, value_size: usize, pace: Option<Pace>) -> Self {
        let value = Bytes::from(vec![b'x'; value_size]);
        let put = |key| pb::PutRequest { key, value, ..Default::default() };
        Self {
            clients: vec![Client::default(); clients],
            first,
            template: Template::new(PREFIX, put),
            pace,
            created: 0,
            stream: None,
            busy: 0,
            tally: Tally::default(),
        }
    }

    fn open(&mut self, turn: &mut Turn<'_>) {
        for index in 0..self.clients.len() {
            let key = [PREFIX.as_bytes(), &digits(self.first + index as u64)].concat();
            let request = watching::create(key.into(), Bytes::new());
            match self.stream {
                Some(call) => {
                    turn.connection.send(call, &request);
                }
                None => {
                    let call = turn.connection.call(PATH, WATCH, &request, Finish::Later);
                    self.stream = Some(call);
                }
            }
        }
    }

    /// Ends a client's round once put and event are both there.
    fn settle(&mut self, index: usize, turn: &Turn<'_>) {
        let client = &mut self.clients[index];
        let (true, Some(put), Some((event, at))) = (client.answered, client.put, client.event)
        else {
            return;
        };
        let since = client.since.unwrap_or(turn.now);
        *client = Client::default();
        self.busy -= 1;
        if put == event {
            self.tally.good(at.saturating_duration_since(since));
            self.tally.events += 1;
            turn.signal.done.fetch_add(1, Ordering::Relaxed);
        } else {
            self.tally.bad(0, || format!("put at revision {put}, event of {event}"));
        }
    }

    fn bad(&mut self, index: usize, reason: &str) {
        if self.clients[index].since.is_some() {
            self.clients[index] = Client::default();
            self.busy -= 1;
        }
        self.tally.bad(0, || reason.to_owned());
    }
}

impl Script for Echo {
    fn due(&mut self, turn: &mut Turn<'_>) -> Wanted {
        if self.stream.is_none() {
            self.open(turn);
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
        if self.created < self.clients.len() {
            return Wanted::Event;
        }
        for index in 0..self.clients.len() {
            if self.clients[index].since.is_some() {
                continue;
            }
            let since = match &mut self.pace {
                None => turn.now,
                Some(pace) => match pace.take(start, turn.now) {
                    Ok(due) => due,
                    Err(later) => return Wanted::At(later),
                },
            };
            self.clients[index].since = Some(since);
            self.busy += 1;
            let request = self.template.of(self.first + index as u64);
            turn.connection.call(PUT, index as u64, request, Finish::Now);
        }
        Wanted::Event
    }

    fn take(&mut self, tag: u64, _: Call, event: Event<'_>, turn: &mut Turn<'_>) {
        match event {
            Event::Message(message) if tag == WATCH => {
                let mut told = Vec::new();
                let said = watching::read(&message, |watcher, happened| {
                    told.push((watcher as usize, happened.revision));
                });
                if said.created && !said.canceled {
                    self.created += 1;
                    if self.created == self.clients.len() {
                        turn.signal.prepared.fetch_add(1, Ordering::Release);
                    }
                } else if said.canceled {
                    self.tally.bad(0, || "the server canceled a watcher".to_owned());
                }
                for (index, revision) in told {
                    if let Some(client) = self.clients.get_mut(index) {
                        client.event = Some((revision, turn.now));
                        self.settle(index, turn);
                    }
                }
            }
            Event::Message(message) => {
                self.clients[tag as usize].put = Some(revision(&message));
            }
            Event::End(result) if tag == WATCH => {
                let reason = result.err().map_or("it ended".to_owned(), |error| error.to_string());
                self.tally.bad(0, || format!("the watch was lost: {reason}"));
            }
            Event::End(Ok(())) => {
                self.clients[tag as usize].answered = true;
                self.settle(tag as usize, turn);
            }
            Event::End(Err(refusal)) => self.bad(tag as usize, &refusal.to_string()),
        }
    }

    fn lost(&mut self, reason: &str) -> bool {
        for index in 0..self.clients.len() {
            if self.clients[index].since.is_some() {
                self.bad(index, reason);
            }
        }
        self.stream = None;
        self.created = 0;
        true
    }
}
