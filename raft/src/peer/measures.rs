//! What goes to and comes from each of the other members, for whoever shows it.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use keelson_storage::measures::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Of one other member.
#[derive(Debug)]
pub struct PeerMeasures {
    /// Bytes sent to it.
    pub sent_bytes: Counter,
    /// Bytes it sent.
    pub received_bytes: Counter,
    /// Messages that could not be sent, or had no answer.
    pub send_failures: Counter,
    /// Heartbeats among them.
    pub heartbeat_failures: Counter,
    /// From a heartbeat to its answer.
    pub round_trips: Histogram,
    /// Connections that are open, either way.
    pub connections: Gauge,
}

impl Default for PeerMeasures {
    fn default() -> Self {
        let counter = Counter::default;
        Self {
            sent_bytes: counter(),
            received_bytes: counter(),
            send_failures: counter(),
            heartbeat_failures: counter(),
            round_trips: Histogram::new(0.0001, 16),
            connections: Gauge::default(),
        }
    }
}

/// Of all of them; clones share.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllPeers(Arc<Mutex<BTreeMap<u64, Arc<PeerMeasures>>>>);

impl AllPeers {
    /// Of one, from now on.
    pub(crate) fn of(&self, id: u64) -> Arc<PeerMeasures> {
        self.0.lock().entry(id).or_default().clone()
    }

    /// Those there was something to count of.
    pub(crate) fn all(&self) -> BTreeMap<u64, Arc<PeerMeasures>> {
        self.0.lock().clone()
    }
}

/// Tells whose a connection is, once that is known: its bytes are counted from then on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<OnceLock<Open>>);

#[derive(Debug)]
struct Open(Arc<PeerMeasures>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.add(-1);
    }
}

impl Meter {
    /// It is this member's.
    pub(crate) fn is_of(&self, peer: Arc<PeerMeasures>) {
        peer.connections.add(1);
        // Set once: a second greeting is no message of the protocol.
        if let Err(other) = self.0.set(Open(peer)) {
            drop(other);
        }
    }
}

/// One direction of a connection; the last to be dropped counts the connection as closed.
pub(crate) struct Metered<T> {
    pub(crate) inner: T,
    pub(crate) meter: Meter,
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Some(Open(peer)) = self.meter.0.get() {
            peer.received_bytes.add((buffer.filled().len() - before) as u64);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, buffer);
        if let (Poll::Ready(Ok(written)), Some(Open(peer))) = (&polled, self.meter.0.get()) {
            peer.sent_bytes.add(*written as u64);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
