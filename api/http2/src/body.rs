//! Body: what comes of a request after its head, read by whoever answers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake as _, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use crate::wake::StreamWaker;

/// Bytes that have been read before the client is told that it may send as much again.
const TOLD_AFTER: i64 = 64 << 10;

/// The client has given the stream up, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has ended the stream")]
pub struct Reset;

/// Between the connection, which fills it, and the reader; bounded by the stream's window.
#[derive(Debug, Default)]
struct Inbox {
    chunks: VecDeque<Bytes>,
    ended: bool,
    reset: bool,
    /// Nobody will read.
    dropped: bool,
    reader: Option<Waker>,
    /// Bytes that were read since the connection looked; below zero: it was told before of so many
    /// that are to be read.
    read: i64,
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Feed(Arc<Mutex<Inbox>>);

/// A request's body.
#[derive(Debug)]
pub struct Body {
    inbox: Arc<Mutex<Inbox>>,
    /// Of the stream; none for a body that is all there.
    stream: Option<Arc<StreamWaker>>,
}

/// A body that is filled as the client sends it.
pub(crate) fn fed(stream: Arc<StreamWaker>) -> (Feed, Body) {
    let inbox = Arc::<Mutex<Inbox>>::default();
    (Feed(inbox.clone()), Body { inbox, stream: Some(stream) })
}

impl Feed {
    /// Appends what has come.
    pub(crate) fn push(&self, chunk: Bytes) {
        let mut inbox = self.0.lock();
        if inbox.dropped {
            inbox.read += length(&chunk);
            return;
        }
        inbox.chunks.push_back(chunk);
        inbox.wake();
    }

    /// Appends what has come before, of which the client was told that it was read.
    pub(crate) fn begin(&self, chunk: Bytes) {
        let mut inbox = self.0.lock();
        inbox.read -= length(&chunk);
        inbox.chunks.push_back(chunk);
    }

    /// All has come.
    pub(crate) fn end(&self) {
        let mut inbox = self.0.lock();
        inbox.ended = true;
        inbox.wake();
    }

    /// Bytes that the client may send again, if it is worth telling.
    pub(crate) fn take_read(&self) -> usize {
        let mut inbox = self.0.lock();
        match inbox.read {
            read if read >= TOLD_AFTER || inbox.dropped => {
                inbox.read = 0;
                usize::try_from(read).unwrap_or(0)
            }
            _ => 0,
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut inbox = self.0.lock();
        inbox.reset = !inbox.ended;
        inbox.wake();
    }
}

impl Inbox {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn length(chunk: &Bytes) -> i64 {
    i64::try_from(chunk.len()).unwrap_or(i64::MAX)
}

impl Body {
    /// A body of which all is there.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let chunks = VecDeque::from_iter((!bytes.is_empty()).then_some(bytes));
        let inbox = Inbox { chunks, ended: true, ..Inbox::default() };
        Self { inbox: Arc::new(Mutex::new(inbox)), stream: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        let mut inbox = self.inbox.lock();
        if let Some(chunk) = inbox.chunks.pop_front() {
            inbox.read += length(&chunk);
            let tell = inbox.read >= TOLD_AFTER;
            drop(inbox);
            if tell && let Some(stream) = &self.stream {
                stream.wake_by_ref();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if inbox.ended {
            return Poll::Ready(None);
        }
        if inbox.reset {
            return Poll::Ready(Some(Err(Reset)));
        }
        inbox.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let inbox = self.inbox.lock();
        inbox.ended && inbox.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let inbox = self.inbox.lock();
        let here = inbox.chunks.iter().map(Bytes::len).sum::<usize>() as u64;
        let mut hint = SizeHint::new();
        match inbox.ended {
            true => hint.set_exact(here),
            false => hint.set_lower(here),
        }
        hint
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut inbox = self.inbox.lock();
        inbox.dropped = true;
        inbox.read += inbox.chunks.drain(..).map(|chunk| length(&chunk)).sum::<i64>();
        let tell = inbox.read > 0;
        drop(inbox);
        if tell && let Some(stream) = &self.stream {
            stream.wake_by_ref();
        }
    }
}
