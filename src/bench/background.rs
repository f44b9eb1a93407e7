//! Work that a store does beside its load: one long call after another on a connection of its own.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use clap::ValueEnum;
use keelson_proto::etcdserverpb as pb;
use prost::Message as _;

use super::ask;
use super::watching;
use super::wire::{Call, Event, Finish, Script, Turn, Wanted};
use super::workload::Object;

const UNIMPLEMENTED: u32 = 12;

/// What goes on beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Under {
    /// A compaction of all revisions written; the measurement ends with it.
    Compaction,
    /// Snapshots of the whole store, one after the other.
    Snapshot,
    /// A watcher that begins as many revisions back, and again when it has caught up.
    LaggingWatcher,
    /// Reads of all the data, one after the other.
    FullRange,
}

impl Under {
    /// Its word on the command line and in reports.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }
}

/// The connection that it goes on.
pub(crate) struct Background {
    under: Under,
    /// Where a lagging watcher begins.
    from: i64,
    /// What a compaction leaves, and where a watcher has caught up.
    head: i64,
    /// Whether the server has RangeStream.
    streams: bool,
    call: Option<Call>,
    begun: bool,
    /// Calls that have come to their end.
    pub(crate) rounds: u64,
    /// Bytes that came.
    pub(crate) bytes: u64,
    pub(crate) failed: Option<String>,
}

impl Background {
    /// On a store that has revisions from `from` to `head`.
    pub(crate) fn new(under: Under, from: i64, head: i64) -> Self {
        Self {
            under,
            from,
            head,
            streams: true,
            call: None,
            begun: false,
            rounds: 0,
            bytes: 0,
            failed: None,
        }
    }

    fn ask(&mut self, turn: &mut Turn<'_>) {
        let (path, request, finish) = match self.under {
            Under::Compaction => {
                let request = pb::CompactionRequest { revision: self.head, physical: true };
                ("/etcdserverpb.KV/Compact", request.encode_to_vec(), Finish::Now)
            }
            Under::Snapshot => ("/etcdserverpb.Maintenance/Snapshot", Vec::new(), Finish::Now),
            Under::FullRange => {
                let prefix = Object::Pod.prefix();
                let request = pb::RangeRequest {
                    key: Bytes::from_static(prefix.as_bytes()),
                    range_end: ask::end(prefix),
                    ..Default::default()
                };
                let path = match self.streams {
                    true => "/etcdserverpb.KV/RangeStream",
                    false => "/etcdserverpb.KV/Range",
                };
                (path, request.encode_to_vec(), Finish::Now)
            }
            Under::LaggingWatcher => {
                let create = pb::WatchCreateRequest {
                    key: Bytes::from_static(&[0]),
                    range_end: Bytes::from_static(&[0]),
                    start_revision: self.from,
                    ..Default::default()
                };
                let union = pb::watch_request::RequestUnion::CreateRequest(create);
                let request = pb::WatchRequest { request_union: Some(union) };
                (watching::PATH, request.encode_to_vec(), Finish::Later)
            }
        };
        self.call = Some(turn.connection.call(path, 0, &request, finish));
    }
}

impl Script for Background {
    fn due(&mut self, turn: &mut Turn<'_>) -> Wanted {
        if !self.begun {
            self.begun = true;
            turn.signal.prepared.fetch_add(1, Ordering::Release);
        }
        if turn.stopped() || self.failed.is_some() {
            return if turn.stopped() { Wanted::Nothing } else { Wanted::Event };
        }
        // What has been compacted cannot be compacted again.
        let over = self.under == Under::Compaction && self.rounds > 0;
        if turn.signal.started.get().is_some() && self.call.is_none() && !over {
            self.ask(turn);
        }
        Wanted::Event
    }

    fn take(&mut self, _: u64, call: Call, event: Event<'_>, turn: &mut Turn<'_>) {
        match event {
            Event::Message(message) => {
                self.bytes += message.len() as u64;
                if self.under == Under::LaggingWatcher {
                    let mut latest = 0;
                    let said = watching::read(&message, |_, happened| latest = happened.revision);
                    if said.canceled {
                        self.failed = Some("the server canceled the watcher".to_owned());
                    } else if latest >= self.head {
                        self.rounds += 1;
                        turn.connection.cancel(call);
                        self.call = None;
                    }
                }
            }
            Event::End(Ok(())) => {
                self.rounds += 1;
                self.call = None;
                if self.under == Under::Compaction {
                    turn.signal.over.store(true, Ordering::Relaxed);
                }
            }
            Event::End(Err(refusal))
                if self.under == Under::FullRange
                    && self.streams
                    && refusal.code == UNIMPLEMENTED =>
            {
                self.streams = false;
                self.call = None;
            }
            Event::End(Err(refusal)) => self.failed = Some(refusal.to_string()),
        }
    }

    fn lost(&mut self, reason: &str) -> bool {
        self.failed.get_or_insert_with(|| reason.to_owned());
        false
    }
}
