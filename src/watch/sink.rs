//! Where lines go: to standard output, or to a command; and when the position is written.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::io::{AsyncWriteExt as _, Stdout};
use tokio_util::sync::CancellationToken;

use super::bookmark::Bookmark;
use super::command::Runner;
use super::cursor::Position;
use super::ended::Ended;
use super::options::Options;

/// Between two writings of a position that may be late.
pub const LATE: Duration = Duration::from_secs(1);

/// When the position is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before what leads to it is handed on.
    Before,
    /// After it.
    After,
    /// Some time after it.
    Late,
}

/// A line, and the position when it was handed on.
#[derive(Debug, Clone)]
pub struct Line {
    /// What is handed on.
    pub object: Map<String, Value>,
    /// Where the watcher is then.
    pub after: Position,
}

/// Hands lines on.
pub struct Sink {
    out: Stdout,
    runner: Option<Runner>,
    kept: Option<(Bookmark, When)>,
    /// The cluster of the positions.
    pub cluster: u64,
    /// What is handed on, and when that was last written.
    position: Option<Position>,
    written: Instant,
    /// Lines that may still be handed on.
    left: Option<u64>,
    /// End when it is convenient.
    pub stop: CancellationToken,
    /// End now.
    pub now: CancellationToken,
}

impl Sink {
    /// By what the command line says.
    pub fn new(options: &Options, bookmark: Option<Bookmark>) -> Self {
        let when = match () {
            () if options.at_most_once.is_some() => When::Before,
            () if options.at_least_once.is_some() => When::After,
            () => When::Late,
        };
        Self {
            out: tokio::io::stdout(),
            runner: Runner::new(options),
            kept: bookmark.map(|bookmark| (bookmark, when)),
            cluster: 0,
            position: None,
            written: Instant::now(),
            left: options.count,
            stop: CancellationToken::new(),
            now: CancellationToken::new(),
        }
    }

    /// Hands lines on, one after the other; whether to go on.
    pub async fn hand_on(&mut self, mut lines: Vec<Line>) -> Result<bool, Ended> {
        if let Some(left) = self.left {
            lines.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        let one_by_one = self.runner.is_some()
            || self.kept.as_ref().is_some_and(|(_, when)| *when == When::Before);
        let size = if one_by_one { 1 } else { lines.len().max(1) };
        for piece in lines.chunks(size) {
            let Some(last) = piece.last() else { continue };
            if self.now.is_cancelled() || (one_by_one && self.stop.is_cancelled()) {
                return Ok(false);
            }
            self.save(last.after, When::Before)?;
            let done = match self.runner.clone() {
                Some(runner) => runner.run(&last.object, &self.stop, &self.now).await?,
                None => self.print(piece).await?,
            };
            if !done {
                return Ok(false);
            }
            self.save(last.after, When::After)?;
            self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
        }
        Ok(self.left != Some(0))
    }

    /// The watcher has come further without a line.
    pub fn passed(&mut self, position: Position) -> Result<(), Ended> {
        self.position = Some(position);
        self.save_if_late()
    }

    /// Writes the position if that is due.
    pub fn save_if_late(&mut self) -> Result<(), Ended> {
        if self.written.elapsed() >= LATE { self.finish() } else { Ok(()) }
    }

    /// Writes the position.
    pub fn finish(&mut self) -> Result<(), Ended> {
        self.written = Instant::now();
        match (&mut self.kept, self.position) {
            (Some((bookmark, _)), Some(position)) if position != Position::default() => {
                bookmark.save(self.cluster, position)
            }
            _ => Ok(()),
        }
    }

    fn save(&mut self, position: Position, now: When) -> Result<(), Ended> {
        let when = self.kept.as_ref().map(|(_, when)| *when);
        match (when, now) {
            (Some(When::Before), When::Before) | (Some(When::After), When::After) => {
                self.position = Some(position);
                self.finish()
            }
            (Some(When::Late), When::After) => {
                self.position = Some(position);
                self.save_if_late()
            }
            _ => Ok(()),
        }
    }

    async fn print(&mut self, lines: &[Line]) -> Result<bool, Ended> {
        let mut text = Vec::new();
        for line in lines {
            // Writing to memory does not fail.
            let _written = serde_json::to_writer(&mut text, &line.object);
            text.push(b'\n');
        }
        let out = &mut self.out;
        let write = async {
            out.write_all(&text).await?;
            out.flush().await
        };
        tokio::select! {
            written = write => written.map(|()| true).map_err(Ended::Output),
            () = self.now.cancelled() => Ok(false),
        }
    }
}
