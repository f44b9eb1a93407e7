//! Wake: which streams of a connection have something to do, told from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// The streams that have been woken; at most once each.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    streams: Mutex<Vec<u32>>,
    connection: AtomicWaker,
}

impl Ready {
    /// Wakes this task from now on.
    pub(crate) fn register(&self, context: &Context<'_>) {
        self.connection.register(context.waker());
    }

    /// Moves the streams that have been woken to `to`.
    pub(crate) fn take(&self, to: &mut Vec<u32>) {
        std::mem::swap(&mut *self.streams.lock(), to);
    }
}

/// Wakes one stream.
#[derive(Debug)]
pub(crate) struct StreamWaker {
    stream: u32,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl StreamWaker {
    pub(crate) fn new(stream: u32, ready: &Arc<Ready>) -> Arc<Self> {
        Arc::new(Self { stream, queued: AtomicBool::new(false), ready: ready.clone() })
    }

    /// The stream is looked after: the next call wakes it again.
    pub(crate) fn served(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            let first = {
                let mut streams = self.ready.streams.lock();
                streams.push(self.stream);
                streams.len() == 1
            };
            // Whoever was first has woken the task, and it takes all.
            if first {
                self.ready.connection.wake();
            }
        }
    }
}
