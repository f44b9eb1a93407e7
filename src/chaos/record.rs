//! The record of a run: lines with times, in the order in which they were written.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use keelson_check::Line;

/// Where everybody writes down what happened; clones share all.
#[derive(Clone)]
pub struct Record {
    started: Instant,
    /// Microseconds from the epoch to the start.
    unix: u64,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Record {
    /// An empty one, whose time begins now.
    pub fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = u64::try_from(unix.as_micros()).unwrap_or(u64::MAX);
        Self { started: Instant::now(), unix, lines: Arc::default() }
    }

    /// Microseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A moment of the wall clock in microseconds since the start.
    pub fn of_unix_micros(&self, moment: u64) -> u64 {
        moment.saturating_sub(self.unix)
    }

    /// Writes a line.
    pub fn write(&self, line: Line) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Writes a word.
    pub fn note(&self, text: impl Into<String>) {
        self.write(Line::Note { at: self.now(), text: text.into() });
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
