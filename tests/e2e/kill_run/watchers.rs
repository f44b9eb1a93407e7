//! Watchers: each goes on at another member whenever its stream ends, from where it was.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_check::{Answer, Event, Log, Watched};
use keelson_client::{GrpcStore, Store as _, WatchItem, WatchSpec};
use keelson_proto::mvccpb;
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::clients::stored;
use super::{KEYS, key};

/// Watchers opened from an old revision during a run.
const LATE_MAX: usize = 6;
/// A watcher asks for progress after so many answers.
const ANSWERS_A_PROGRESS: usize = 40;
/// For what is still to come at the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a stream is opened again.
const PAUSE: Duration = Duration::from_millis(20);

/// All watchers of a run.
pub(crate) struct Watchers {
    stores: Vec<GrpcStore>,
    open: Vec<(Watched, JoinHandle<Vec<Answer>>)>,
    late: usize,
    /// The last revision, once it is known: watchers end there.
    last: watch::Sender<Option<i64>>,
}

impl Watchers {
    pub(super) fn new(stores: Vec<GrpcStore>) -> Self {
        Self { stores, open: Vec::new(), late: 0, last: watch::Sender::new(None) }
    }

    /// One for everything at each member, and one for a third of the keys.
    pub(super) fn open_early(&mut self) {
        for member in 0..self.stores.len() {
            self.open("early", member, 1, 0..KEYS);
            let third = KEYS / 3;
            let first = third * member as u64;
            self.open("partial", member, 1, first..first + third);
        }
    }

    /// One more, from an old revision, at any member.
    pub(super) fn open_late(&mut self, now: i64, random: &mut SmallRng) {
        if self.late < LATE_MAX {
            self.late += 1;
            let member = random.random_range(0..self.stores.len());
            self.open("late", member, random.random_range(1..=now.max(1)), 0..KEYS);
        }
    }

    fn open(&mut self, name: &str, member: usize, from: i64, keys: Range<u64>) {
        let watched = Watched {
            name: format!("{name} watcher {} from {from} at member {member}", self.open.len()),
            from,
            keys: (keys.start, keys.end),
            answers: Vec::new(),
        };
        let mut stores = self.stores.clone();
        stores.rotate_left(member);
        let task = follow(stores, from, keys, self.last.subscribe());
        self.open.push((watched, tokio::spawn(task)));
    }

    /// Waits until each of them has seen the log's end.
    pub(super) async fn end(self, log: &Log) -> Result<Vec<Watched>> {
        // What only a part of the watchers can be told of: progress tells them the rest.
        self.last.send_replace(Some(log.last()));
        let mut all = Vec::new();
        for (mut watched, task) in self.open {
            let abort = task.abort_handle();
            let ended = tokio::time::timeout(PATIENCE, task).await;
            abort.abort();
            watched.answers = ended.with_context(|| format!("{} hangs", watched.name))??;
            // What nobody was promised an answer for may still happen after the end of the log.
            for answer in &mut watched.answers {
                answer.events.retain(|event| event.revision <= log.last());
            }
            all.push(watched);
        }
        Ok(all)
    }
}

/// Watches, at one store after the other, until the last revision is reached.
pub(crate) async fn follow(
    stores: Vec<GrpcStore>,
    from: i64,
    keys: Range<u64>,
    mut last: watch::Receiver<Option<i64>>,
) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    let mut reached = from - 1;
    let done = |reached: i64, last: &watch::Receiver<Option<i64>>| {
        last.borrow().is_some_and(|last| reached >= last)
    };
    for store in stores.iter().cycle() {
        if done(reached, &last) {
            break;
        }
        let Ok(mut watcher) = store.watch(spec(&keys, reached + 1)).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let handle = watcher.handle();
        while !done(reached, &last) {
            let item = tokio::select! {
                item = watcher.next() => item,
                _ = last.changed() => {
                    handle.request_progress();
                    continue;
                }
                // A request is not answered while the watcher is behind: ask again.
                () = tokio::time::sleep(PAUSE * 10), if last.borrow().is_some() => {
                    handle.request_progress();
                    continue;
                }
            };
            let Some(Ok(item)) = item else { break };
            let answer = answer(item);
            reached = match answer.events.last() {
                Some(event) => event.revision,
                None => reached.max(answer.revision),
            };
            answers.push(answer);
            if answers.len().is_multiple_of(ANSWERS_A_PROGRESS) {
                handle.request_progress();
            }
        }
    }
    answers
}

/// Everything from the first revision to `last`, as one member tells it.
pub(super) async fn history(store: &GrpcStore, last: i64) -> Result<Vec<Event>> {
    let mut watcher = store.watch(spec(&(0..KEYS), 1)).await?;
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.revision < last) {
        let item = tokio::time::timeout(PATIENCE, watcher.next()).await;
        let item = item.context("the history ends early")?.context("the stream ended")??;
        events.extend(answer(item).events);
    }
    events.retain(|event| event.revision <= last);
    ensure!(events.last().is_some_and(|event| event.revision == last), "no event at {last}");
    Ok(events)
}

fn spec(keys: &Range<u64>, start_revision: i64) -> WatchSpec {
    WatchSpec {
        key: key(keys.start).into(),
        range_end: key(keys.end).into(),
        start_revision,
        prev_kv: true,
        progress_notify: true,
    }
}

fn answer(item: WatchItem) -> Answer {
    match item {
        WatchItem::Progress { revision } => Answer { revision, events: Vec::new() },
        WatchItem::Events { revision, events } => {
            Answer { revision, events: events.iter().map(event).collect() }
        }
    }
}

fn event(event: &mvccpb::Event) -> Event {
    let kv = event.kv.clone().unwrap_or_default();
    let text = std::str::from_utf8(&kv.key).unwrap_or_default();
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    Event {
        revision: kv.mod_revision,
        key: text.trim_start_matches('k').parse().unwrap_or(u64::MAX),
        now: (!deleted).then(|| stored(&kv)),
        former: event.prev_kv.as_ref().map(stored),
    }
}
