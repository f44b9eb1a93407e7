//! Channel: calls over one connection, many at a time; replies come by number.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use keelson_failpoint::failpoint;
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::frame::{Frame, FrameReader, Kind};
use super::measures::{Meter, Metered};
use super::transport::Connection;
use crate::runtime::Runtime;

/// Frames that wait to be written; a call beyond that fails.
pub(crate) const OUTBOX_FRAMES: usize = 4096;
/// Frames written between two flushes.
const FRAMES_A_FLUSH: usize = 64;

/// One connection's caller side.
#[derive(Debug)]
pub(crate) struct Channel {
    outbox: mpsc::Sender<Bytes>,
    calls: Arc<Mutex<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Frame>>,
    closed: bool,
}

/// A call's reply, some time later.
pub(crate) type Reply = oneshot::Receiver<Frame>;

impl Channel {
    /// Takes a connection whose greeting is done; so many frames may wait to be written.
    pub(crate) fn start(
        reader: FrameReader<Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>>,
        writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
        frames: usize,
    ) -> Self {
        let (outbox, inbox) = mpsc::channel(frames);
        let calls: Arc<Mutex<Calls>> = Arc::default();
        drop(Runtime::spawn(write_frames(writer, inbox)));
        drop(Runtime::spawn(read_replies(reader, calls.clone())));
        Self { outbox, calls }
    }

    /// Whether the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.outbox.is_closed() || self.calls.lock().closed
    }

    /// Sends a call at once. The reply's channel ends without a value if the connection does.
    pub(crate) fn call(&self, frame: impl FnOnce(u64) -> Bytes) -> io::Result<Reply> {
        let (sender, receiver) = oneshot::channel();
        // Numbers are given out and frames queued under one lock: calls stay in order.
        let mut calls = self.calls.lock();
        if calls.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        calls.next += 1;
        let number = calls.next;
        self.outbox.try_send(frame(number)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => io::Error::from(io::ErrorKind::WouldBlock),
            mpsc::error::TrySendError::Closed(_) => io::ErrorKind::NotConnected.into(),
        })?;
        calls.waiting.insert(number, sender);
        Ok(receiver)
    }

    /// Sends a frame that has no reply, waiting for room.
    pub(crate) async fn send(&self, frame: Bytes) -> io::Result<()> {
        self.outbox.send(frame).await.map_err(|_| io::ErrorKind::ConnectionReset.into())
    }
}

/// What a reply says, or why there is none.
pub(crate) fn reply_body(reply: Result<Frame, oneshot::error::RecvError>) -> io::Result<Frame> {
    let frame = reply.map_err(|_| io::Error::from(io::ErrorKind::ConnectionReset))?;
    match frame.kind {
        Kind::Reply => Ok(frame),
        _ => Err(io::Error::other(String::from_utf8_lossy(&frame.body).into_owned())),
    }
}

/// Writes what is queued, in large pieces, until the queue or the connection ends.
pub(crate) async fn write_frames(
    mut writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    mut inbox: mpsc::Receiver<Bytes>,
) {
    const JOIN_BYTES: usize = 16 * 1024;
    let mut frames = Vec::with_capacity(FRAMES_A_FLUSH);
    let mut joined = Vec::new();
    while inbox.recv_many(&mut frames, FRAMES_A_FLUSH).await > 0 {
        joined.clear();
        for frame in frames.drain(..) {
            if frame.len() < JOIN_BYTES {
                joined.extend_from_slice(&frame);
                continue;
            }
            if writer.write_all(&joined).await.is_err() || writer.write_all(&frame).await.is_err() {
                return;
            }
            joined.clear();
        }
        if writer.write_all(&joined).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

async fn read_replies(
    mut reader: FrameReader<Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>>,
    calls: Arc<Mutex<Calls>>,
) {
    while let Ok(Some(frame)) = reader.next().await {
        failpoint!(await raftDropHeartbeat => continue);
        let caller = calls.lock().waiting.remove(&frame.call);
        if let Some(caller) = caller {
            let _ = caller.send(frame);
        }
    }
    let mut calls = calls.lock();
    calls.closed = true;
    calls.waiting.clear();
}

/// Splits a connection for framing, and for counting what goes over it.
pub(crate) fn framed(
    connection: Connection,
    meter: &Meter,
) -> (
    FrameReader<Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>>,
    Box<dyn AsyncWrite + Send + Sync + Unpin>,
) {
    let reader = Metered { inner: connection.reader, meter: meter.clone() };
    let writer = Metered { inner: connection.writer, meter: meter.clone() };
    (FrameReader::new(Box::new(reader)), Box::new(writer))
}
