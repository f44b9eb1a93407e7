//! The watch itself: a stream, and another when it ends, until there is a reason to stop.

use std::process::ExitCode;

use anyhow::Result;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use keelson_client::{change, prefix_end};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::bookmark::{Bookmark, Left};
use super::cursor::{Cursor, Position};
use super::ended::Ended;
use super::options::{OnCompaction, Options};
use super::resync::{object, resync};
use super::sink::{LATE, Line, Sink};
use super::source::Source;
use super::stream::{ANSWER_LIMIT, Fault, Keys, Member, Stream, Told};
use crate::tls;

/// Watches until it is stopped, and says why it ends if it was not.
pub fn run(options: Options) -> Result<ExitCode> {
    tls::install_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(watch(&options));
    // Nobody may ever read what is being written.
    runtime.shutdown_background();
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(ended) => {
            let code = ended.code();
            if code != ExitCode::SUCCESS {
                eprintln!("keelson watch: {ended}");
            }
            code
        }
    })
}

async fn watch(options: &Options) -> Result<(), Ended> {
    let mut source = Source::new(options)?;
    let (bookmark, left) = bookmark(options)?;
    let mut sink = Sink::new(options, bookmark);
    heed_signals(sink.stop.clone(), sink.now.clone())?;
    let key = Bytes::from(options.prefix.clone());
    let range_end = if options.exact { Bytes::new() } else { prefix_end(&key) };
    // An empty key is the first of all.
    let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
    let keys = Keys { key, range_end, prev_kv: options.prev_kv };
    let watch = Watch::new(options, &mut source, &mut sink, keys, left);
    let ended = watch.run().await;
    // What was handed on is handed on, however it ended.
    ended.and(sink.finish())
}

/// The position an earlier run has left, if a file is named.
fn bookmark(options: &Options) -> Result<(Option<Bookmark>, Option<Left>), Ended> {
    let Options { bookmark, at_least_once, at_most_once, .. } = options;
    let Some(file) = bookmark.as_ref().or(at_least_once.as_ref()).or(at_most_once.as_ref()) else {
        return Ok((None, None));
    };
    let (bookmark, left) = Bookmark::open(file, &options.prefix, options.exact)?;
    Ok((Some(bookmark), left))
}

/// The first signal ends the watch when that is convenient, the second at once.
fn heed_signals(stop: CancellationToken, now: CancellationToken) -> Result<(), Ended> {
    let wrong = |error: std::io::Error| Ended::Wrong(format!("signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
    tokio::spawn(async move {
        for token in [stop, now] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(())
}

struct Watch<'a> {
    options: &'a Options,
    source: &'a mut Source,
    sink: &'a mut Sink,
    keys: Keys,
    cursor: Cursor,
    /// Whether the store has shown what comes before the position.
    seen: bool,
    /// Whether every key is still to be listed.
    list: bool,
    /// Whether nothing was missed yet that could be missed.
    oldest: bool,
}

/// What follows a stream.
enum Next {
    Stop,
    Again,
    Compacted(i64),
}

impl<'a> Watch<'a> {
    fn new(
        options: &'a Options,
        source: &'a mut Source,
        sink: &'a mut Sink,
        keys: Keys,
        left: Option<Left>,
    ) -> Self {
        if let Some(left) = left {
            source.expect(left.cluster);
            sink.cluster = left.cluster;
        }
        let first = if options.from_oldest { 1 } else { options.from.unwrap_or(0) };
        let position = left.map_or(Position::at(first), |left| left.position);
        Self {
            options,
            source,
            sink,
            keys,
            cursor: Cursor::new(position),
            seen: left.is_some(),
            list: left.is_none() && options.list,
            oldest: left.is_none() && options.from_oldest,
        }
    }

    async fn run(mut self) -> Result<(), Ended> {
        let stop = self.sink.stop.clone();
        loop {
            if std::mem::take(&mut self.list) && !self.resync().await? {
                return Ok(());
            }
            let position = self.cursor.position();
            let opened = tokio::select! {
                opened = self.source.open(&self.keys, position, self.seen) => opened?,
                () = stop.cancelled() => return Ok(()),
            };
            let next = match opened {
                Ok(stream) => self.follow(stream).await?,
                Err(oldest) => Next::Compacted(oldest),
            };
            match next {
                Next::Stop => return Ok(()),
                Next::Again => {}
                Next::Compacted(oldest) => {
                    if !self.compacted(oldest).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One stream, until it ends.
    async fn follow(&mut self, mut stream: Stream) -> Result<Next, Ended> {
        let started_now = self.cursor.position().next_revision == 0;
        self.cursor.opened(stream.revision);
        self.sink.cluster = stream.cluster;
        if started_now {
            // From here on nothing may be missed, whatever happens before the first change.
            self.seen = true;
            self.sink.passed(self.cursor.position())?;
            self.sink.finish()?;
        }
        let stop = self.sink.stop.clone();
        let mut idle = tokio::time::interval(self.options.idle);
        idle.reset();
        let mut late = tokio::time::interval(LATE);
        let mut alive: Option<LocalBoxFuture<'static, Result<(), Fault>>> = None;
        loop {
            let told = tokio::select! {
                told = stream.next() => told,
                () = stop.cancelled() => return Ok(Next::Stop),
                _ = late.tick() => {
                    self.sink.save_if_late()?;
                    continue;
                }
                _ = idle.tick() => {
                    stream.ask_progress();
                    if alive.is_none() {
                        let (member, keys) = (stream.member.clone(), self.keys.clone());
                        alive = Some(sign_of_life(member, keys).boxed_local());
                    }
                    continue;
                }
                answer = async { match &mut alive {
                    Some(asked) => asked.await,
                    None => std::future::pending().await,
                } } => {
                    alive = None;
                    match answer {
                        Ok(()) => continue,
                        Err(fault) => Err(fault),
                    }
                }
            };
            let told = match told {
                Ok(told) => told,
                Err(fault) => {
                    let failed = stop.run_until_cancelled(self.source.failed(fault)).await;
                    return Ok(match failed.transpose()? {
                        Some(Some(oldest)) => Next::Compacted(oldest),
                        Some(None) => Next::Again,
                        None => Next::Stop,
                    });
                }
            };
            idle.reset();
            if !self.told(told).await? {
                return Ok(Next::Stop);
            }
        }
    }

    /// Hands on what is new; whether to go on.
    async fn told(&mut self, told: Told) -> Result<bool, Ended> {
        let lines = match told {
            Told::Nothing => return Ok(true),
            Told::Progress(revision) => {
                if !self.cursor.progress(revision) {
                    return Ok(true);
                }
                self.sink.passed(self.cursor.position())?;
                if !self.options.progress {
                    Vec::new()
                } else {
                    self.lone(json!({ "type": "PROGRESS", "revision": revision }))
                }
            }
            Told::Changes(events) => {
                let changes = self.cursor.take(events);
                let line = |one: super::cursor::Change| Line {
                    object: change(&one.event, one.more),
                    after: one.after,
                };
                changes.into_iter().map(line).collect()
            }
        };
        self.seen = true;
        self.oldest = false;
        self.sink.hand_on(lines).await
    }

    /// What comes next is gone; whether to go on.
    async fn compacted(&mut self, oldest: i64) -> Result<bool, Ended> {
        let wanted = self.cursor.position().next_revision;
        // Nothing was there yet to be missed: whatever is the oldest now is what was asked for.
        if self.oldest && oldest > wanted {
            self.cursor = Cursor::new(Position::at(oldest));
            return Ok(true);
        }
        match self.options.on_compaction {
            OnCompaction::Stop => {
                let options = self.options;
                let file = options.bookmark.as_ref();
                let file =
                    file.or(options.at_least_once.as_ref()).or(options.at_most_once.as_ref());
                let bookmark = match file {
                    Some(file) => format!("the bookmark {}", file.display()),
                    None => "--from".to_owned(),
                };
                Err(Ended::Compacted { wanted, oldest, bookmark })
            }
            OnCompaction::Oldest => {
                self.cursor = Cursor::new(Position::at(oldest));
                let line = json!({ "type": "COMPACTED", "wanted": wanted, "oldest": oldest });
                let lines = self.lone(line);
                self.sink.hand_on(lines).await
            }
            OnCompaction::Resync => self.resync().await,
        }
    }

    async fn resync(&mut self) -> Result<bool, Ended> {
        let before = self.cursor.position();
        let Some(after) = resync(self.source, self.sink, &self.keys, before).await? else {
            return Ok(false);
        };
        self.cursor = Cursor::new(after);
        self.seen = true;
        Ok(true)
    }

    /// A line that is no change.
    fn lone(&self, value: Value) -> Vec<Line> {
        vec![Line { object: object(value), after: self.cursor.position() }]
    }
}

/// Whether the member still answers for a majority.
async fn sign_of_life(member: Member, keys: Keys) -> Result<(), Fault> {
    match tokio::time::timeout(ANSWER_LIMIT, member.revision(&keys)).await {
        Err(_) => Err(Fault::Away("no answer".to_owned())),
        Ok(Err(Fault::Away(why))) => Err(Fault::Away(why)),
        // Any word of its own is one.
        Ok(_) => Ok(()),
    }
}
