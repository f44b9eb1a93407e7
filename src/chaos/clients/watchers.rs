//! Watchers: each goes on at another member whenever its stream ends, from the revision after its
//! last, and writes down all it was told.

use std::time::Duration;

use keelson_check::{Change, Former, Line};
use keelson_client::{GrpcStore, Store as _, StoreError, WatchItem, WatchSpec, prefix_end};
use keelson_proto::mvccpb;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::record::Record;
use super::{Named, text};

/// Before a stream is opened again, and between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two requests for progress.
const PROGRESS: Duration = Duration::from_millis(1500);
/// For what is still to come at the end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a stream may take to open.
const OPEN: Duration = Duration::from_secs(3);
/// The first key, and as an end: no end.
const EVERY: &str = "\0";

/// All watchers of a run.
pub struct Watchers {
    tasks: JoinSet<()>,
    /// The last revision, once it is known: watchers end there.
    last: watch::Sender<Option<i64>>,
}

/// One watcher.
struct Watcher {
    name: String,
    keys: (String, String),
    from: i64,
    stores: Vec<Named>,
    record: Record,
    last: watch::Receiver<Option<i64>>,
}

impl Watchers {
    /// One for everything at each member, from the beginning; and one for each of these prefixes.
    pub fn open(stores: &[Named], prefixes: &[&str], record: &Record) -> Self {
        let last = watch::Sender::new(None);
        let mut tasks = JoinSet::new();
        let every = ("everything".to_owned(), EVERY.to_owned(), EVERY.to_owned());
        let all = (0..stores.len()).map(|at| (at, every.clone()));
        let parts = prefixes.iter().enumerate().map(|(at, prefix)| {
            let end = text(&prefix_end(prefix.as_bytes()));
            (at, ((*prefix).to_owned(), (*prefix).to_owned(), end))
        });
        for (number, (at, (what, key, end))) in all.chain(parts).enumerate() {
            let mut stores = stores.to_vec();
            let members = stores.len().max(1);
            stores.rotate_left(at % members);
            let watcher = Watcher {
                name: format!("w{number} of {what}"),
                keys: (key, end),
                from: 1,
                stores,
                record: record.clone(),
                last: last.subscribe(),
            };
            tasks.spawn(watcher.run());
        }
        Self { tasks, last }
    }

    /// Waits until all of them have been told of everything up to a revision; how many have not.
    pub async fn settle(mut self, revision: i64) -> usize {
        self.last.send_replace(Some(revision));
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _they_are_counted = tokio::time::timeout(PATIENCE, all).await;
        self.tasks.len()
    }
}

impl Watcher {
    async fn run(mut self) {
        for at in (0..self.stores.len()).cycle() {
            if self.is_done() {
                return;
            }
            if self.stream(at).await.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.last.borrow().is_some_and(|last| self.from > last)
    }

    /// One stream, until it ends.
    async fn stream(&mut self, at: usize) -> Option<()> {
        let (store, member) = self.stores[at].clone();
        let (key, end) = self.keys.clone();
        let spec = WatchSpec {
            key: key.clone().into(),
            range_end: end.clone().into(),
            start_revision: self.from,
            prev_kv: true,
            progress_notify: true,
        };
        let opened = self.record.now();
        let mut stream = match tokio::time::timeout(OPEN, store.watch(spec)).await.ok()? {
            Ok(stream) => stream,
            Err(error) => return self.ended(&store, &error).await,
        };
        let written = |key: String| if key == EVERY { String::new() } else { key };
        self.record.write(Line::Watch {
            watcher: self.name.clone(),
            at: opened,
            key: written(key),
            end: Some(written(end)),
            from: self.from,
            member: Some(member),
        });
        let handle = stream.handle();
        while !self.is_done() {
            let often = if self.last.borrow().is_some() { PAUSE } else { PROGRESS };
            tokio::select! {
                item = stream.next() => match item? {
                    Ok(item) => self.told(item),
                    Err(error) => return self.ended(&store, &error).await,
                },
                () = tokio::time::sleep(often) => handle.request_progress(),
                changed = self.last.changed() => changed.ok()?,
            }
        }
        Some(())
    }

    fn told(&mut self, item: WatchItem) {
        let (watcher, at) = (self.name.clone(), self.record.now());
        match item {
            WatchItem::Progress { revision } => {
                self.from = self.from.max(revision + 1);
                self.record.write(Line::Progress { watcher, at, revision });
            }
            WatchItem::Events { revision, events } => {
                let events: Vec<Change> = events.iter().map(change).collect();
                if let Some(last) = events.last() {
                    self.from = self.from.max(last.revision + 1);
                }
                self.record.write(Line::Events { watcher, at, revision, events });
            }
        }
    }

    async fn ended(&mut self, store: &GrpcStore, error: &StoreError) -> Option<()> {
        if matches!(error, StoreError::Compacted) {
            // It goes on from now on; where nobody tells what that is, it is told once more.
            let now = tokio::time::timeout(OPEN, store.revision()).await.ok()?.ok()?;
            let (watcher, at) = (self.name.clone(), self.record.now());
            self.record.write(Line::Compacted { watcher, at, revision: self.from });
            self.from = now + 1;
        }
        None
    }
}

fn change(event: &mvccpb::Event) -> Change {
    let kv = event.kv.clone().unwrap_or_default();
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    Change {
        key: text(&kv.key),
        value: (!deleted).then(|| text(&kv.value)),
        revision: kv.mod_revision,
        created: kv.create_revision,
        version: kv.version,
        former: event.prev_kv.as_ref().map(|kv| Former {
            value: text(&kv.value),
            created: kv.create_revision,
            changed: kv.mod_revision,
            version: kv.version,
        }),
    }
}
