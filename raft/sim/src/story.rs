//! The story of a run: what happened to the cluster, and where a trace is wanted, everything else.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::executor::Control;

/// Lines in the order in which things happened; clones share them.
#[derive(Clone)]
pub(crate) struct Story {
    control: Control,
    lines: Arc<Mutex<Vec<String>>>,
    whole: bool,
}

impl Story {
    pub(crate) fn new(control: Control, whole: bool) -> Self {
        Self { control, lines: Arc::default(), whole }
    }

    /// Something that matters to whoever reads what led to a failure.
    pub(crate) fn tell(&self, text: impl std::fmt::Display) {
        self.add(self.control.now(), &text);
    }

    /// Something of which there is much; told where a trace is wanted.
    pub(crate) fn trace(&self, text: impl FnOnce() -> String) {
        if self.whole {
            self.add(self.control.now(), &text());
        }
    }

    fn add(&self, now: Duration, text: &dyn std::fmt::Display) {
        self.lines.lock().push(format!("{:>11.6} {text}", now.as_secs_f64()));
    }

    /// All lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }
}
